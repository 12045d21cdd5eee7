'use strict';
/*
 * Jest reporter. Jest says when a test case starts and ends while its file runs; a retry is told as one more case of the same
 * name. Several tests may have one name, too (`test.each` with a title that names no parameter): once one of them has failed,
 * only the result of the next case says which of the two it is, and its start is told with it. What a file printed comes with
 * its end.
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
    this.files.set(test.path, { suite, names: new Names(), cases: new Map() });
    this.events.write({ event: 'suite_started', suite });
  }

  onTestCaseStart(test, info) {
    const file = this.files.get(test.path);
    const key = name(file, info);
    const cases = this.cases(file, key);
    if (cases.tests.some((other) => other.status === 'failed')) {
      cases.held = info;
      return;
    }
    const running = cases.tests.find((other) => other.running) ?? this.add(file, key);
    running.running = true;
    this.started(file, running, info);
  }

  /* The tests of a name. */
  cases(file, key) {
    if (!file.cases.has(key)) file.cases.set(key, { tests: [] });
    return file.cases.get(key);
  }

  add(file, key) {
    const added = { id: file.names.next(key), running: false, status: undefined, invocations: 0 };
    this.cases(file, key).tests.push(added);
    return added;
  }

  started(file, { id }, info) {
    this.events.write({ event: 'test_started', test: id, suite: file.suite, time: info.startedAt ?? undefined });
  }

  onTestCaseResult(test, result) {
    this.result(this.files.get(test.path), result);
  }

  result(file, result, isOther = false) {
    const key = name(file, result);
    const cases = this.cases(file, key);
    const known = cases.tests.find((test) => test.running);
    const last = known ?? (isOther ? undefined : retried(cases.tests, result.invocations)) ?? this.add(file, key);
    if (cases.held) this.started(file, last, cases.held);
    cases.held = undefined;
    Object.assign(last, { running: false, status: result.status, invocations: result.invocations ?? last.invocations + 1 });
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
    const told = new Map([...file.cases].map(([key, { tests }]) => [key, tests.map(({ status }) => status)]));
    for (const result of results.testResults) {
      const statuses = told.get(name(file, result)) ?? [];
      const at = statuses.indexOf(result.status);
      if (at < 0) this.result(file, result, true);
      else statuses.splice(at, 1);
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

/* The failed test that a case is another attempt of. Jest may retry a test after others of the same name. */
function retried(tests, invocations) {
  if (invocations === 1) return undefined;
  const failed = tests.filter(({ status }) => status === 'failed');
  if (invocations > 1) return failed.find((test) => test.invocations + 1 === invocations) ?? failed.at(-1);
  return tests.at(-1)?.status === 'failed' ? tests.at(-1) : undefined;
}

function name(file, { ancestorTitles, title }) {
  return [file.suite, ...(ancestorTitles ?? []), title].join(' > ');
}

module.exports = class {
  constructor(...args) {
    return harmless(new Reporter(...args));
  }
};
