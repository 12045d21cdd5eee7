/*
 * node:test reporter. A test's start is `test:dequeue` and its end `test:complete`, which are live; `test:pass` and `test:fail`
 * come in the order of files, and are the end only of what was not told before. With `?default` it is the reporter that node
 * would use, for a command that names none: an option for ours would else replace it.
 */
import { createRequire } from 'node:module';
import path from 'node:path';
import { spec, tap } from 'node:test/reporters';

const { claim, Names, failureOf, now, plain } = createRequire(import.meta.url)('./testwire_events.cjs');

/*
 * Holds what is known of the files' tests. Events name a test by file, place and nesting, and not its parents. Where node does not
 * say whether what begins is a test or a suite (before version 24), the start is told with the end.
 */
class Tests {
  constructor(events) {
    this.events = events;
    this.names = new Names();
    this.around = new Map();
    this.open = new Map();
    this.told = new Map();
  }

  dequeue(data) {
    if (isFile(data)) return;
    const { file = '', nesting, name, type } = data;
    const around = this.around.get(file) ?? [];
    around.length = nesting;
    const parent = around[nesting - 1];
    if (parent) parent.leaf = false;
    const time = now();
    const test = { file, time, leaf: true, path: parent ? `${parent.path} > ${name}` : name };
    around[nesting] = test;
    this.around.set(file, around);
    push(this.open, key(data), test);
    if (type === 'test') this.start(test);
  }

  start(test) {
    if (test.id !== undefined) return;
    test.id = this.names.next(test.path);
    this.events.write({ event: 'test_started', test: test.id, suite: suite(test.file), time: test.time });
  }

  /* `live`: by test:complete, which is told again later. */
  end(data, live, failed) {
    const { details = {}, skip, todo } = data;
    if (live && isFile(data)) return;
    if (!live && shift(this.told, key(data))) return;
    if (live) push(this.told, key(data), true);
    // A file is a test if it has none or died; what it was at stays open.
    if (isFile(data)) this.stopped(data.file);
    const test = shift(this.open, key(data)) ?? { file: data.file ?? '', path: this.pathOf(data), time: now() };
    if (details.type === 'suite') return;
    this.start(test);
    const error = details.error?.cause ?? details.error;
    const skipped = skip !== undefined && skip !== false;
    const expected = todo !== undefined && todo !== false;
    const reason = [skip, todo].find((text) => typeof text === 'string');
    this.events.write({
      event: 'test_finished',
      test: test.id,
      suite: suite(test.file),
      status: skipped ? 'skipped' : expected ? (failed ? 'xfailed' : 'xpassed') : failed ? 'failed' : 'passed',
      duration_ms: details.duration_ms,
      ...(failed && !skipped ? failureOf(error) : { message: reason || undefined }),
    });
  }

  stopped(file) {
    for (const tests of this.open.values()) {
      for (const test of tests) if (test.file === file && test.leaf) this.start(test);
    }
  }

  pathOf({ file = '', nesting, name }) {
    const parent = this.around.get(file)?.[nesting - 1];
    if (file && isFile({ file, nesting, name })) return suite(file);
    return parent ? `${parent.path} > ${name}` : name;
  }

  output({ file, message }, source) {
    this.events.write({ event: 'log', suite: file ? suite(file) : undefined, source, text: plain(message) });
  }
}

const suite = (file) => path.relative(process.cwd(), file) || file;
const key = ({ file, line, column, nesting, name }) => JSON.stringify([file, line, column, nesting, name]);
const isFile = ({ file, nesting, name }) => nesting === 0 && file !== undefined && path.resolve(name) === file;

function push(map, key, value) {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}

function shift(map, key) {
  const list = map.get(key);
  const value = list?.shift();
  if (list?.length === 0) map.delete(key);
  return value;
}

function take(tests, { type, data }) {
  switch (type) {
    case 'test:dequeue':
      return tests.dequeue(data);
    case 'test:complete':
      return tests.end(data, true, data.details?.passed === false);
    case 'test:pass':
      return tests.end(data, false, false);
    case 'test:fail':
      return tests.end(data, false, true);
    case 'test:stdout':
      return tests.output(data, 'stdout');
    case 'test:stderr':
      return tests.output(data, 'stderr');
    default:
      return undefined;
  }
}

async function* report(source) {
  const events = claim('node', `node ${process.versions.node}`);
  const tests = events ? new Tests(events) : null;
  for await (const event of source) {
    try {
      if (tests) take(tests, event);
    } catch {
      // A report must not break a run.
    }
  }
  events?.write({ event: 'run_finished' });
  yield '';
}

/* Before version 23 node chose by the terminal. */
const usual = process.stdout.isTTY || Number(process.versions.node.split('.')[0]) >= 23 ? spec : tap;

export default import.meta.url.endsWith('?default') ? usual : report;
