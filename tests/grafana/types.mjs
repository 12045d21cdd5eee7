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
  : T extends number ? number
  : T extends readonly (infer U)[] ? Plain<U>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> }
  : T;
type Some<T> = T extends readonly (infer U)[] ? Some<U>[] : T extends object ? { [K in keyof T]?: Some<T[K]> } : T;
`;

// What Grafana itself writes and reads, but its published types do not say.
function withoutWhatTypesLack(dashboard) {
  const copy = structuredClone(dashboard);
  for (const variable of copy.templating.list) {
    // What a query variable asks for, as text.
    delete variable.definition;
  }
  for (const annotation of copy.annotations?.list ?? []) {
    // What is asked for is the data source's own, and how it is shown too.
    for (const field of ['expr', 'queryType', 'maxLines', 'legendFormat', 'datasource', 'instant', 'range']) {
      delete annotation.target?.[field];
      if (field !== 'datasource') delete annotation[field];
    }
    for (const field of ['titleFormat', 'textFormat', 'tagKeys']) delete annotation[field];
  }
  for (const panel of panelsOf(copy.panels)) {
    // Footers moved from the table to its fields with Grafana 12, which moves those of older dashboards; before, the fields of a
    // footer were a list, or "" for all.
    if (panel.type === 'table') delete panel.options?.footer;
    // It is an option of the state timeline in its editor only.
    if (panel.type === 'state-timeline') delete panel.fieldConfig?.defaults?.custom?.spanNulls;
  }
  return copy;
}

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

// What the compiler says of these dashboards with this version's types; empty if it takes them all.
function complaintsOf(version, named) {
  const folder = join(scratch, version);
  mkdirSync(folder, { recursive: true });
  for (const [name, dashboard] of named) {
    writeFileSync(join(folder, `${name}.ts`), source(version, name, withoutWhatTypesLack(dashboard)));
  }
  const manifest = JSON.parse(readFileSync(join(modules, version, 'package.json'), 'utf8'));
  const types = manifest.types ?? manifest.exports['.'].types;
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({
    compilerOptions: {
      noEmit: true, strict: true, skipLibCheck: true, module: 'esnext', moduleResolution: 'bundler', target: 'es2022',
      types: [], paths: { '@grafana/schema': [join(modules, version, types)] },
    },
    files: named.map(([name]) => `${name}.ts`),
  }));
  try {
    execFileSync(process.execPath, [join(modules, 'typescript/lib/tsc.js'), '-p', folder], { encoding: 'utf8' });
    return '';
  } catch (error) {
    return error.stdout || String(error);
  }
}

const files = readdirSync(dashboards).filter((file) => file.endsWith('.json'));
const named = files.map((file) => [file.replace('.json', ''), JSON.parse(readFileSync(join(dashboards, file), 'utf8'))]);
if (versions.length === 0 || named.length === 0) throw new Error(`nothing to check: ${modules}, ${dashboards}`);
let complaints = 0;
for (const version of versions) {
  // The check itself is checked: a panel option, a setting of fields and an enumeration that no Grafana has.
  const broken = structuredClone(named[0][1]);
  const panel = broken.panels.find((panel) => panel.type === 'table' || panel.type === 'timeseries' || panel.type === 'stat');
  panel.options.colour = 'red';
  panel.fieldConfig.defaults.unitt = 'ms';
  broken.templating.list[0].type = 'sauce';
  const found = complaintsOf(version, [...named, ['broken', broken]]).split('\n');
  const caught = ['colour', 'unitt', 'sauce'].filter((what) => found.some((line) => line.includes('broken.ts') && line.includes(what)));
  const real = found.filter((line) => line && !line.includes('broken.ts') && !line.startsWith(' '));
  if (caught.length < 3) real.push(`the check does not see what is wrong with a broken dashboard; it saw ${caught.join(', ') || 'nothing'}`);
  console.log(real.length ? `${version}:\n${real.join('\n')}` : `${version}: ${named.length} dashboards are accepted`);
  complaints += real.length;
}
process.exit(complaints ? 1 : 0);
