'use strict';
/*
 * Playwright Test reporter, added by PW_TEST_REPORTER. Everything is live: tests, attempts, workers, steps, output.
 */
const { claim, harmless, Names, failureOf, plain } = require('./testwire_events.cjs');

class Reporter {
  constructor() {
    // Listing tests is no run.
    this.events = process.argv.includes('--list') ? null : claim('playwright', 'Playwright');
    this.ids = new Map();
    this.names = new Names();
  }

  version() {
    return 'v1';
  }

  /* Playwright adds a reporter for the terminal where none prints to it: ours must not stand in its way. */
  printsToStdio() {
    return false;
  }

  id(test) {
    let id = this.ids.get(test.id);
    if (id === undefined) {
      id = this.names.next(test.titlePath().filter(Boolean).join(' > '));
      this.ids.set(test.id, id);
    }
    return id;
  }

  of(test, result) {
    const [, project, file] = test.titlePath();
    const worker = result && result.workerIndex >= 0 ? String(result.workerIndex) : undefined;
    return { test: this.id(test), suite: [project, file].filter(Boolean).join(' > '), worker };
  }

  onBegin(_, root) {
    this.events?.write({ event: 'planned', tests: root.allTests().map((test) => this.id(test)) });
  }

  onTestBegin(test, result) {
    const tags = test.tags?.map((tag) => tag.replace(/^@/, ''));
    this.events?.write({ event: 'test_started', ...this.of(test, result), attempt: result.retry + 1, tags });
  }

  onTestEnd(test, result) {
    const errors = result.errors?.map((error) => failureOf(error)) ?? [];
    const reason = test.annotations?.find(({ type }) => type === 'skip' || type === 'fixme')?.description;
    this.events?.write({
      event: 'test_finished',
      ...this.of(test, result),
      attempt: result.retry + 1,
      status: status(test, result),
      duration_ms: result.duration,
      message: errors.map(({ message }) => message).join('\n') || reason || unexpected(test, result),
      details: errors.map(({ details }) => details ?? '').join('\n') || undefined,
    });
  }

  onStepEnd(test, result, step) {
    if (step.category !== 'test.step') return;
    let depth = 0;
    for (let { parent } = step; parent; { parent } = parent) depth += parent.category === 'test.step' ? 1 : 0;
    const message = step.error ? failureOf(step.error).message : undefined;
    const status = step.error ? 'failed' : 'passed';
    this.events?.write({
      event: 'step_finished',
      ...this.of(test, result),
      name: step.title,
      status,
      duration_ms: step.duration,
      message,
      depth,
    });
  }

  onStdOut(chunk, test, result) {
    this.output('stdout', chunk, test, result);
  }

  onStdErr(chunk, test, result) {
    this.output('stderr', chunk, test, result);
  }

  output(source, chunk, test, result) {
    this.events?.write({ event: 'log', ...(test ? this.of(test, result) : {}), source, text: plain(chunk) });
  }

  onError(error) {
    const { message } = failureOf(error);
    if (message) this.events?.write({ event: 'log', source: 'runner', level: 'error', text: message });
  }

  onEnd({ status }) {
    const verdict = { passed: 'passed', interrupted: 'aborted' }[status] ?? 'failed';
    this.events?.write({ event: 'run_finished', status: verdict, message: status === 'timedout' ? 'timed out' : undefined });
  }
}

function status(test, { status }) {
  if (status === 'skipped') return 'skipped';
  if (status === 'interrupted') return 'unfinished';
  if (status !== test.expectedStatus) return 'failed';
  return status === 'passed' ? 'passed' : 'xfailed';
}

function unexpected(test, { status }) {
  return status === 'passed' && test.expectedStatus === 'failed' ? 'Expected to fail, but passed.' : undefined;
}

module.exports = class {
  constructor() {
    return harmless(new Reporter());
  }
};
