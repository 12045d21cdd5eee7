// Are the dashboards what Grafana 10, 11, 12 and 13 take? Checked against the types that each publishes (@grafana/schema):
//
//   node types.mjs MODULES DASHBOARDS SCRATCH
//
// MODULES is the node_modules of package.json beside this file. Each dashboard becomes a literal in a TypeScript file, so that
// the compiler also finds properties that Grafana does not know. What it says is printed with panel and place; exit 1.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const [modules, dashboards, scratch] = process.argv.slice(2).map((path) => resolve(path));
const versions = readdirSync(modules).filter((name) => name.startsWith('grafana-schema-'));

// Panel types and where their options are described.
const panelTypes = {
  barchart: 'BarChart', bargauge: 'BarGauge', gauge: 'Gauge', heatmap: 'Heatmap', histogram: 'Histogram', logs: 'Logs',
  piechart: 'PieChart', stat: 'Stat', 'state-timeline': 'StateTimeline', 'status-history': 'StatusHistory', table: 'Table',
  text: 'Text', timeseries: 'TimeSeries', trend: 'Trend', xychart: 'XYChart',
};

// JSON has the values of enumerations, not their names. Options may be left out: Grafana has defaults for all of them.
const header = `
type Plain<T> = unknown extends T ? T
  : T extends string ? \`\${T}\`
  : T extends number ? (number extends T ? number : \`\${T}\` extends \`\${infer N extends number}\` ? N : never)
  : T extends readonly (infer U)[] ? Plain<U>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> }
  : T;
type Some<T> = T extends readonly (infer U)[] ? Some<U>[] : T extends object ? { [K in keyof T]?: Some<T[K]> } : T;
`;

const panelsOf = (list) => list.flatMap((panel) => [panel, ...panelsOf(panel.panels ?? [])]);

// The library of a version that a panel type is in; some types are younger than Grafana 10.
function panelModule(version, type) {
  const name = panelTypes[type];
  const folder = `composable/${name.toLowerCase()}/panelcfg/x`;
  const places = [`dist/esm/raw/${folder}/${name}PanelCfg_types.gen`, `dist/types/raw/${folder}/types.gen`];
  const found = places.find((place) => existsSync(join(modules, version, `${place}.d.ts`)));
  if (!found) throw new Error(`${version} does not describe the panel type ${type}`);
  return join(modules, version, found);
}

function source(version, name, dashboard) {
  const lines = [`import type { Dashboard } from '@grafana/schema';`, header];
  const json = (value) => JSON.stringify(value, null, 1);
  const declared = [];
  const panels = panelsOf(dashboard.panels);
  for (const type of new Set(panels.map((panel) => panel.type)).values()) {
    if (type === 'row') continue;
    if (!panelTypes[type]) throw new Error(`${name}: no types are known for the panel type ${type}`);
    const local = type.replace('-', '_');
    const text = readFileSync(`${panelModule(version, type)}.d.ts`, 'utf8');
    lines.push(`import type * as ${local} from '${panelModule(version, type)}';`);
    const named = (what) => (new RegExp(`export interface ${what} `).test(text) ? `Some<Plain<${local}.${what}>>` : '{}');
    for (const panel of panels.filter((panel) => panel.type === type)) {
      declared.push(`// panel ${panel.id}: ${panel.title}`);
      declared.push(`export const options_${panel.id}: ${named('Options')} = ${json(panel.options ?? {})};`);
      declared.push(`export const custom_${panel.id}: ${named('FieldConfig')} = ${json(panel.fieldConfig?.defaults?.custom ?? {})};`);
    }
  }
  return [...lines, ...declared, `export const dashboard: Plain<Dashboard> = ${json(dashboard)};`, ''].join('\n');
}

let complaints = 0;
for (const version of versions) {
  const folder = join(scratch, version);
  mkdirSync(folder, { recursive: true });
  const names = readdirSync(dashboards).filter((file) => file.endsWith('.json'));
  for (const file of names) {
    const dashboard = JSON.parse(readFileSync(join(dashboards, file), 'utf8'));
    writeFileSync(join(folder, file.replace('.json', '.ts')), source(version, file, dashboard));
  }
  const types = JSON.parse(readFileSync(join(modules, version, 'package.json'), 'utf8')).types
    ?? JSON.parse(readFileSync(join(modules, version, 'package.json'), 'utf8')).exports['.'].types;
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({
    compilerOptions: {
      noEmit: true, strict: true, skipLibCheck: true, module: 'esnext', moduleResolution: 'bundler', target: 'es2022',
      types: [], paths: { '@grafana/schema': [join(modules, version, types)] },
    },
    files: names.map((file) => file.replace('.json', '.ts')),
  }));
  try {
    execFileSync(process.execPath, [join(modules, 'typescript/lib/tsc.js'), '-p', folder], { encoding: 'utf8' });
    console.log(`${version}: ${names.length} dashboards are accepted`);
  } catch (error) {
    complaints += 1;
    console.log(`${version}:\n${error.stdout ?? error}`);
  }
}
if (versions.length === 0) throw new Error(`no grafana-schema-* in ${modules}`);
process.exit(complaints ? 1 : 0);
