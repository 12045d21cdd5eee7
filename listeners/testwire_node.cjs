'use strict';
/*
 * Preloaded into Node by NODE_OPTIONS. In the process of a test runner it adds testwire's reporter to those that are there; in
 * any other process it does nothing.
 *
 * The runner is known by the package of the script that runs, so it is found behind npm, npx, yarn, pnpm and shells. The options
 * of a runner would replace the reporters of its configuration, so its own classes are asked instead, where they are set up.
 */
const fs = require('node:fs');
const Module = require('node:module');
const path = require('node:path');
const { pathToFileURL } = require('node:url');

/* Directory and content of the package that `file` belongs to. */
function packageOf(file) {
  for (let dir = path.dirname(file); dir !== path.dirname(dir); dir = path.dirname(dir)) {
    try {
      const json = JSON.parse(fs.readFileSync(path.join(dir, 'package.json'), 'utf8'));
      if (json.name) return { dir, json };
    } catch {
      // Not here.
    }
  }
  return null;
}

/* jest asks `jest-config` once for its configuration, whatever it comes from. */
function jest({ json }) {
  const load = Module._load;
  Module._load = function (request, ...rest) {
    const loaded = load.call(this, request, ...rest);
    if (request !== 'jest-config' || typeof loaded?.readConfigs !== 'function') return loaded;
    const readConfigs = async (...args) => {
      const read = await loaded.readConfigs(...args);
      try {
        const { globalConfig } = read;
        const events = require('./testwire_events.cjs').claim('jest', `jest ${json.version}`);
        if (!events) return read;
        const reporters = [...(globalConfig.reporters ?? [['default', {}]])];
        reporters.push([path.join(__dirname, 'testwire_jest.cjs'), {}]);
        return { ...read, globalConfig: Object.freeze({ ...globalConfig, reporters }) };
      } catch {
        return read;
      }
    };
    return new Proxy(loaded, { get: (from, name) => (name === 'readConfigs' ? readConfigs : Reflect.get(from, name)) });
  };
}

/* Vitest's own reporters, or the sequencer where it has none of them, get the run's object. */
async function vitest({ dir, json }) {
  const dist = (name) => import(pathToFileURL(path.join(dir, 'dist', name)).href).catch(() => ({}));
  const [node, reporters] = await Promise.all([dist('node.js'), dist('reporters.js')]);
  const seen = new WeakSet();
  const add = (context) => {
    if (!context || seen.has(context) || !Array.isArray(context.reporters)) return;
    seen.add(context);
    const events = require('./testwire_events.cjs').claim('vitest', `vitest ${json.version}`);
    if (events) context.reporters.push(require('./testwire_vitest.cjs').reporter(events, context));
  };
  const before = (prototype, name, contextOf) => {
    const original = prototype?.[name];
    if (typeof original !== 'function') return;
    prototype[name] = function (...args) {
      try {
        add(contextOf(this, args));
      } catch {
        // Without reports, then.
      }
      return original.apply(this, args);
    };
  };
  for (const one of Object.values(node.ReportersMap ?? reporters.ReportersMap ?? {})) {
    before(one.prototype, 'onInit', (_, [context]) => context);
  }
  before(node.BaseSequencer?.prototype, 'sort', (sequencer) => sequencer.ctx);
}

/* Mocha makes one reporter; ours listens to the same runner before it does. */
function mocha({ dir, json }) {
  const wrap = (Mocha) => {
    const { run } = Mocha.prototype;
    Mocha.prototype.run = function (...args) {
      const Reporter = this._reporter;
      this._reporter = function (runner, options) {
        try {
          const events = require('./testwire_events.cjs').claim('mocha', `mocha ${json.version}`);
          if (events) require('./testwire_mocha.cjs').listen(events, runner);
        } catch {
          // Without reports, then.
        }
        return new Reporter(runner, options);
      };
      try {
        return run.apply(this, args);
      } finally {
        this._reporter = Reporter;
      }
    };
  };
  // From version 12 on the package is an ES module around this file, which the main script loads too.
  const core = path.join(dir, 'lib/mocha.cjs');
  wrap(require(fs.existsSync(core) ? core : dir));
}

/* Cucumber adds the formats of its command line to those of its configuration. */
function cucumber({ json }) {
  if (!require('./testwire_events.cjs').claim('cucumber', `cucumber-js ${json.version}`)) return;
  const url = pathToFileURL(path.join(__dirname, 'testwire_cucumber.cjs')).href;
  process.argv.splice(2, 0, '--format', `"${url}":"/dev/null"`);
}

function preload() {
  const { env } = process;
  if (!env.TESTWIRE_EVENTS || env.TESTWIRE_EVENTS_OWNER === env.TESTWIRE_EVENTS) return;
  if (!require('node:worker_threads').isMainThread) return;
  if (process.execArgv.includes('--test')) {
    // Before node starts the files, which inherit the environment. The reporter comes by its option.
    require('./testwire_events.cjs').claim('node', `node ${process.versions.node}`);
    return;
  }
  if (!process.argv[1]) return;
  const found = packageOf(fs.realpathSync(process.argv[1]));
  const add = {
    jest,
    'jest-cli': jest,
    'react-scripts': jest,
    vitest,
    mocha,
    '@cucumber/cucumber': cucumber,
  }[found?.json.name];
  Promise.resolve(add?.(found)).catch(() => {});
}

try {
  preload();
} catch {
  // Without reports, then.
}
