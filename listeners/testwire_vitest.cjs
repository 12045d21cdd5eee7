'use strict';
/*
 * Vitest reporter. Vitest tells a test's start and end while its file runs, and its attempts with the end of the last one.
 */
const path = require('node:path');
const { harmless, Names, failureOf, plain, now } = require('./testwire_events.cjs');

class Reporter {
  constructor(events, context) {
    this.events = events;
    this.context = context;
    this.ids = new Map();
    this.names = new Names();
    this.ended = new Set();
  }

  /* `file`, or `project > file` where there are several projects. */
  suite(testModule) {
    const file = path.relative(this.context.config.root, testModule.moduleId);
    const project = testModule.project?.name;
    return project && (this.context.projects?.length ?? 0) > 1 ? `${project} > ${file}` : file;
  }

  id(test) {
    let id = this.ids.get(test.id);
    if (id === undefined) {
      id = this.names.next(`${this.suite(test.module)} > ${test.fullName}`);
      this.ids.set(test.id, id);
    }
    return id;
  }

  onTestRunStart() {
    // In watch mode each run begins with it.
    this.names = new Names();
    this.ids.clear();
    this.ended = new Set();
  }

  onTestModuleCollected(testModule) {
    const tests = [...testModule.children.allTests()].map((test) => this.id(test));
    this.events.write({ event: 'planned', tests });
  }

  onTestModuleStart(testModule) {
    this.events.write({ event: 'suite_started', suite: this.suite(testModule) });
  }

  onTestCaseReady(test) {
    if (test.options?.mode === 'skip' || test.options?.mode === 'todo') return;
    this.events.write({ event: 'test_started', test: this.id(test), suite: this.suite(test.module) });
  }

  onTestCaseResult(test) {
    const { state, errors = [], note } = test.result();
    const { duration, startTime, retryCount = 0 } = test.diagnostic() ?? {};
    const common = { event: 'test_finished', test: this.id(test), suite: this.suite(test.module), tags: test.options?.tags };
    const time = startTime && duration !== undefined ? Math.min(now(), startTime + duration) : undefined;
    for (let retry = 0; retry < retryCount; retry += 1) {
      this.events.write({ ...common, status: 'retried', attempt: retry + 1, duration_ms: 0, time, ...failureOf(errors[retry]) });
    }
    // With an error for every attempt, the last one is this attempt's.
    const error = state === 'failed' ? errors[errors.length - 1] : undefined;
    this.events.write({
      ...common,
      status: state === 'passed' || state === 'failed' ? state : 'skipped',
      attempt: retryCount + 1,
      duration_ms: duration,
      tags: test.options?.mode === 'todo' ? [...(common.tags ?? []), 'todo'] : common.tags,
      time,
      ...(error ? failureOf(error) : { message: note }),
    });
  }

  onTestModuleEnd(testModule) {
    const suite = this.suite(testModule);
    this.ended.add(testModule.id);
    for (const inner of testModule.children.allSuites()) {
      for (const error of inner.errors()) {
        const { message } = failureOf(error);
        this.events.write({ event: 'suite_finished', suite: `${suite} > ${inner.fullName}`, status: 'failed', message });
      }
    }
    const errors = testModule.errors();
    const { duration } = testModule.diagnostic?.() ?? {};
    this.events.write({
      event: 'suite_finished',
      suite,
      status: testModule.ok() ? (testModule.state() === 'skipped' ? 'skipped' : 'passed') : 'failed',
      duration_ms: duration,
      message: errors.map((error) => failureOf(error).message).join('\n') || undefined,
    });
  }

  onUserConsoleLog({ content, type, taskId, time }) {
    const test = taskId === undefined ? undefined : this.ids.get(taskId);
    const source = type === 'stderr' ? 'stderr' : 'stdout';
    this.events.write({ event: 'log', test, source, text: plain(content), time: time ?? undefined });
  }

  onTestRunEnd(modules, errors, reason) {
    // A file that cannot be loaded has no end of its own.
    for (const testModule of modules ?? []) if (!this.ended.has(testModule.id)) this.onTestModuleEnd(testModule);
    const messages = (errors ?? []).map((error) => `unhandled error: ${failureOf(error).message}`);
    const failed = messages.length > 0 || reason === 'failed';
    this.events.write({
      event: 'run_finished',
      status: reason === 'interrupted' ? 'aborted' : failed ? 'failed' : undefined,
      message: messages.join('\n') || undefined,
    });
  }
}

exports.reporter = (events, context) => harmless(new Reporter(events, context));
