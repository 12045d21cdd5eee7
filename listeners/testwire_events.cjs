'use strict';
/*
 * The event file that testwire's listeners for Node append to: the events of docs/events.md, one JSON object a line.
 *
 * TESTWIRE_EVENTS names the file; without it the listeners do nothing. A run that a test starts inside a run that is already
 * reported is not reported: it inherits TESTWIRE_EVENTS_OWNER, which the outer run sets to the same path.
 *
 * The lock of TESTWIRE_EVENTS_LOCK needs nothing here: Node keeps descriptors that it inherits open to its end, and passes them on
 * to nobody.
 */
const fs = require('node:fs');
const { stripVTControlCharacters } = require('node:util');

// Tests replace clocks and file systems while they run (fake timers, memfs); references that are kept are the real ones.
const { openSync, writeSync, constants } = fs;
const dateNow = Date.now;
const stringify = JSON.stringify;
const bufferFrom = Buffer.from;

const FLAGS = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT;
let claimed = null;

/* Appends events. `write` never throws and never waits for a reader; what cannot be written is counted, and told when it can. */
class Events {
  constructor(path) {
    this.path = path;
    this.fd = -1;
    this.dropped = 0;
    this.torn = false;
  }

  /* Appends `event`, whose time is now unless it says another. Fields that are undefined are left out. */
  write(event) {
    try {
      const line = stringify(event.time === undefined ? { ...event, time: dateNow() } : event);
      if (this.fd < 0) this.fd = openSync(this.path, FLAGS, 0o600);
      if (this.dropped > 0) {
        this.append(stringify({ event: 'note', level: 'warn', text: `${this.dropped} events could not be written` }));
        this.dropped = 0;
      }
      this.append(line);
    } catch {
      this.dropped += 1;
    }
  }

  append(line) {
    // One call a line keeps lines whole though several processes share the file. After a failure the file may end in the middle of
    // a line.
    const data = bufferFrom(`${this.torn ? '\n' : ''}${line}\n`);
    this.torn = true;
    if (writeSync(this.fd, data) !== data.length) throw new Error('short write');
    this.torn = false;
  }
}

/*
 * The event file, if this process is to report a run; else null. What runs below this process is part of its run: it gets
 * neither the preloaded module nor a report of its own.
 */
function claim(runner, title) {
  if (claimed) return claimed;
  const { env } = process;
  const path = env.TESTWIRE_EVENTS;
  if (!path || env.TESTWIRE_EVENTS_OWNER === path) return null;
  env.TESTWIRE_EVENTS_OWNER = path;
  const own = env.TESTWIRE_NODE_OPTIONS;
  if (own && env.NODE_OPTIONS !== undefined) {
    const rest = env.NODE_OPTIONS.replace(own, '').trim();
    if (rest) env.NODE_OPTIONS = rest;
    else delete env.NODE_OPTIONS;
    delete env.TESTWIRE_NODE_OPTIONS;
  }
  claimed = new Events(path);
  claimed.write({ testwire: 1, event: 'run_started', runner, title });
  return claimed;
}

/* Every method of `listener` that throws does nothing instead: a report must not break a run. */
function harmless(listener) {
  for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(listener))) {
    const method = listener[name];
    if (name === 'constructor' || typeof method !== 'function') continue;
    listener[name] = (...args) => {
      try {
        return method.apply(listener, args);
      } catch {
        return undefined;
      }
    };
  }
  return listener;
}

/* Tests that share a name: the second one of a name is `name (2)`. */
class Names {
  constructor() {
    this.counts = new Map();
  }

  next(name) {
    const count = (this.counts.get(name) ?? 0) + 1;
    this.counts.set(name, count);
    return count === 1 ? name : `${name} (${count})`;
  }
}

const plain = (text) => stripVTControlCharacters(String(text ?? ''));

/* `message` and `details` of a failure: what is wrong, and where. */
function failure(text) {
  const whole = plain(text).trim();
  const trace = whole.search(/\n\s+at \S/);
  if (trace < 0) return { message: whole || undefined };
  return { message: whole.slice(0, trace).trim(), details: whole.slice(trace + 1) };
}

/* The same of something that was thrown. */
function failureOf(error) {
  if (error === null || error === undefined) return {};
  if (typeof error !== 'object') return failure(error);
  const { stack, message } = error;
  const text = plain(message ?? '');
  if (typeof stack !== 'string' || !stack) return { message: text || plain(error.value) || undefined };
  const both = failure(stack);
  // Some runners give a stack that begins with the message, some one without it.
  return { message: text && !both.message?.includes(text) ? text : (both.message ?? text), details: both.details };
}

module.exports = { claim, harmless, Names, plain, failure, failureOf, now: () => dateNow() };
