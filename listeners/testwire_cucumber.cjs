'use strict';
/*
 * Cucumber-JS formatter: turns Cucumber's messages into events. Everything is live: scenarios, attempts, workers, steps.
 */
const { claim, harmless, failure } = require('./testwire_events.cjs');

/* The worst result of its steps is a scenario's. */
const ORDER = ['UNKNOWN', 'PASSED', 'SKIPPED', 'PENDING', 'UNDEFINED', 'AMBIGUOUS', 'FAILED'];
const STATUS = { UNKNOWN: 'passed', PASSED: 'passed', SKIPPED: 'skipped' };

const millis = ({ seconds, nanos }) => Number(seconds) * 1000 + nanos / 1e6;

class Formatter {
  constructor(events, broadcaster) {
    this.events = events;
    this.lines = new Map();
    this.pickles = new Map();
    this.cases = new Map();
    this.open = new Map();
    broadcaster.on('envelope', (envelope) => this.envelope(envelope));
  }

  envelope(envelope) {
    const [kind] = Object.keys(envelope);
    if (kind !== 'constructor' && typeof this[kind] === 'function' && KINDS.has(kind)) this[kind](envelope[kind]);
  }

  gherkinDocument(document) {
    // Lines of scenarios and rows of examples, by the ids that pickles name.
    const visit = (node) => {
      if (!node || typeof node !== 'object') return;
      if (typeof node.id === 'string' && node.location) this.lines.set(node.id, node.location.line);
      Object.values(node).forEach(visit);
    };
    visit(document.feature);
  }

  pickle(pickle) {
    const line = this.lines.get(pickle.astNodeIds.at(-1)) ?? pickle.location?.line;
    this.pickles.set(pickle.id, { ...pickle, test: line === undefined ? `${pickle.uri}: ${pickle.name}` : `${pickle.uri}:${line}` });
  }

  testCase(testCase) {
    const pickle = this.pickles.get(testCase.pickleId);
    this.cases.set(testCase.id, { pickle, steps: new Map(testCase.testSteps.map((step) => [step.id, step])) });
    this.events.write({ event: 'planned', tests: [pickle.test] });
  }

  testCaseStarted({ id, testCaseId, attempt, workerId, timestamp }) {
    const { pickle, steps } = this.cases.get(testCaseId);
    const common = { test: pickle.test, suite: pickle.uri, worker: workerId };
    const run = { common, pickle, steps, attempt: attempt + 1, start: millis(timestamp), worst: 0 };
    this.open.set(id, run);
    const tags = pickle.tags.map(({ name }) => name.replace(/^@/, ''));
    this.events.write({ event: 'test_started', ...common, attempt: run.attempt, tags, time: run.start });
  }

  testStepFinished({ testCaseStartedId, testStepId, testStepResult, timestamp }) {
    const run = this.open.get(testCaseStartedId);
    const { status, message } = testStepResult;
    const worst = ORDER.indexOf(status);
    if (worst > run.worst || (worst === run.worst && !run.message)) Object.assign(run, { worst, message });
    const { pickleStepId } = run.steps.get(testStepId);
    const text = run.pickle.steps.find(({ id }) => id === pickleStepId)?.text;
    if (text === undefined && status === 'PASSED') return;
    this.events.write({
      event: 'step_finished',
      ...run.common,
      name: text ?? 'hook',
      status: STATUS[status] ?? 'failed',
      duration_ms: millis(testStepResult.duration),
      message: failure(message).message,
      time: millis(timestamp),
    });
  }

  attachment({ testCaseStartedId, body, mediaType, contentEncoding }) {
    const run = this.open.get(testCaseStartedId);
    if (contentEncoding === 'IDENTITY' && mediaType.startsWith('text/')) {
      this.events.write({ event: 'log', ...run?.common, source: 'runner', text: body });
    }
  }

  testCaseFinished({ testCaseStartedId, willBeRetried, timestamp }) {
    const run = this.open.get(testCaseStartedId);
    this.open.delete(testCaseStartedId);
    const word = ORDER[run.worst];
    const told = failure(run.message);
    const time = millis(timestamp);
    this.events.write({
      event: 'test_finished',
      ...run.common,
      status: willBeRetried ? 'retried' : (STATUS[word] ?? 'failed'),
      attempt: run.attempt,
      duration_ms: time - run.start,
      message: told.message ?? (run.worst > 2 ? word.toLowerCase() : undefined),
      details: told.details,
      time,
    });
  }

  testRunFinished({ success, message }) {
    this.events.write({ event: 'run_finished', status: success ? 'passed' : 'failed', message });
  }
}

const KINDS = new Set([
  'gherkinDocument',
  'pickle',
  'testCase',
  'testCaseStarted',
  'testStepFinished',
  'attachment',
  'testCaseFinished',
  'testRunFinished',
]);

module.exports = class {
  constructor({ eventBroadcaster }) {
    const events = claim('cucumber', 'cucumber-js');
    if (!events) return;
    const quiet = { on: (name, listener) => eventBroadcaster.on(name, (envelope) => guarded(listener, envelope)) };
    harmless(new Formatter(events, quiet));
  }

  async finished() {}
};

function guarded(listener, envelope) {
  try {
    listener(envelope);
  } catch {
    // A report must not break a run.
  }
}
