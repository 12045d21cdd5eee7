'use strict';
/*
 * Jest reporter. Jest says when a test case starts and ends while its file runs; a retry is told as one more case of the same
 * name. What a file printed comes with its end.
 */
const path = require('node:path');
const { claim, harmless, Names, failure, plain } = require('./testwire_events.cjs');

const STATUS = { passed: 'passed', failed: 'failed', pending: 'skipped', skipped: 'skipped', disabled: 'skipped', todo: 'skipped' };
const LEVEL = { error: 'error', warn: 'warn', debug: 'debug', assert: 'error' };

class Reporter {
  constructor(globalConfig) {
    this.events = claim('jest', 'jest');
    this.root = globalConfig.rootDir;
    this.files = new Map();
  }

  onTestFileStart(test) {
    const suite = path.relative(this.root, test.path);
    this.files.set(test.path, { suite, names: new Names(), last: new Map() });
    this.events.write({ event: 'suite_started', suite });
  }

  onTestCaseStart(test, info) {
    const file = this.files.get(test.path);
    const id = this.begin(file, name(file, info));
    this.events.write({ event: 'test_started', test: id, suite: file.suite, time: info.startedAt ?? undefined });
  }

  /* A name that comes again is a retry if its last attempt failed, else another test. */
  begin(file, key) {
    const last = file.last.get(key);
    const id = last?.failed || last?.running ? last.id : file.names.next(key);
    file.last.set(key, { id, running: true, failed: false, told: last?.told ?? 0 });
    return id;
  }

  onTestCaseResult(test, result) {
    this.result(this.files.get(test.path), result);
  }

  result(file, result) {
    const key = name(file, result);
    let last = file.last.get(key);
    if (!last?.running) {
      this.begin(file, key);
      last = file.last.get(key);
    }
    const failed = result.status === 'failed';
    Object.assign(last, { running: false, failed, told: last.told + 1 });
    this.events.write({
      event: 'test_finished',
      test: last.id,
      suite: file.suite,
      status: STATUS[result.status] ?? 'skipped',
      attempt: result.invocations > 0 ? result.invocations : undefined,
      duration_ms: result.duration ?? undefined,
      tags: result.status === 'todo' ? ['todo'] : undefined,
      ...failure((result.failureMessages ?? []).join('\n')),
    });
  }

  onTestFileResult(test, results) {
    const file = this.files.get(test.path);
    // Runners other than circus do not tell of cases while they run.
    const told = new Map([...file.last].map(([key, { told }]) => [key, told]));
    for (const result of results.testResults) {
      const key = name(file, result);
      const times = told.get(key) ?? 0;
      told.set(key, times - 1);
      if (times <= 0) this.result(file, result);
    }
    for (const { message, type } of results.console ?? []) {
      const source = type === 'error' || type === 'warn' ? 'stderr' : 'stdout';
      this.events.write({ event: 'log', suite: file.suite, source, level: LEVEL[type], text: plain(message) });
    }
    const broken = results.testExecError || (results.failureMessage && results.numFailingTests === 0);
    const { start, end } = results.perfStats ?? {};
    this.events.write({
      event: 'suite_finished',
      suite: file.suite,
      status: broken || results.numFailingTests > 0 ? 'failed' : results.skipped ? 'skipped' : 'passed',
      duration_ms: end >= start ? end - start : undefined,
      message: broken ? plain(results.failureMessage ?? results.testExecError.message).trim() : undefined,
    });
    this.files.delete(test.path);
  }

  onRunComplete(_, results) {
    const { wasInterrupted, runExecError } = results;
    const message = runExecError?.message ? plain(runExecError.message) : undefined;
    this.events.write({ event: 'run_finished', status: wasInterrupted || runExecError ? 'failed' : undefined, message });
  }
}

function name(file, { ancestorTitles, title }) {
  return [file.suite, ...(ancestorTitles ?? []), title].join(' > ');
}

module.exports = class {
  constructor(...args) {
    return harmless(new Reporter(...args));
  }
};
