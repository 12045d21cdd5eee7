'use strict';
/*
 * Listens to a runner of Mocha. In parallel mode Mocha tells what a file did when the file is over. A hook that fails is told, as
 * Mocha tells it, as a failed test of the hook's name; the test before which it failed is then left unfinished.
 */
const path = require('node:path');
const { Names, failureOf } = require('./testwire_events.cjs');

exports.listen = (events, runner) => {
  const names = new Names();
  const ids = new Map();
  let open = null;

  const suite = (test) => (test.file ? path.relative(process.cwd(), test.file) : undefined);
  const attempt = (test) => (typeof test.currentRetry === 'function' ? test.currentRetry() : (test._currentRetry ?? 0)) + 1;
  // A retry is a clone that knows what it is a clone of. In parallel mode each event has an object of its own, and the same key.
  const original = (test) => {
    const before = typeof test.retriedTest === 'function' ? test.retriedTest() : test.$$retriedTest;
    return before ? original(before) : test;
  };
  const id = (test) => {
    const first = original(test);
    const key = first.id ?? first.__mocha_id__ ?? first;
    let found = ids.get(key);
    if (found === undefined) {
      found = names.next(typeof first.fullTitle === 'function' ? first.fullTitle() : first.$$fullTitle);
      ids.set(key, found);
    }
    return found;
  };
  const finished = (test, status, error) => {
    open = null;
    events.write({
      event: 'test_finished',
      test: id(test),
      suite: suite(test),
      status,
      attempt: test.type === 'hook' ? undefined : attempt(test),
      duration_ms: test.duration ?? undefined,
      ...failureOf(error),
    });
  };
  const on = (event, listener) =>
    runner.on(event, (...args) => {
      try {
        listener(...args);
      } catch {
        // A report must not break a run.
      }
    });

  on('start', () => {
    if (runner.total > 0) events.write({ event: 'planned', total: runner.total });
  });
  on('test', (test) => {
    if (open) events.write({ event: 'test_finished', test: id(open), suite: suite(open), status: 'unfinished' });
    open = test;
    events.write({ event: 'test_started', test: id(test), suite: suite(test), attempt: attempt(test) });
  });
  on('pass', (test) => finished(test, 'passed'));
  on('pending', (test) => finished(test, 'skipped'));
  on('retry', (test, error) => finished(test, 'retried', error));
  on('fail', (test, error) => {
    if (test.type === 'hook') {
      const cut = open;
      finished(test, 'failed', error);
      open = cut;
    } else {
      finished(test, 'failed', error);
    }
  });
  on('end', () => events.write({ event: 'run_finished' }));
};
