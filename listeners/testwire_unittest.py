"""unittest with testwire: `python -m testwire_unittest …` is `python -m unittest …` that also says what it does.

The environment variable TESTWIRE_EVENTS names the file that events are appended to, or TESTWIRE_URL the `testwire listen`
that they are sent to; without both it is just unittest. Events are those of docs/events.md.

Methods of unittest.TestResult are wrapped, because every class of results calls them. What a test prints goes to the terminal
only. A failure in setUpClass or setUpModule is a failed test of that name, as unittest counts it. A test with failed
subtests has failed; all of them stand in its details.
"""

import functools
import os
import platform
import runpy
import sys
import time
import traceback
from unittest import TestResult, TestSuite, TextTestRunner

from testwire_events import claim, events_at, safe_text

_NAMES_PER_LINE = 1000


class _Recorder:
    # Tests replace functions of `time`; a reference in a class is not found.
    _time, _monotonic = staticmethod(time.time), staticmethod(time.monotonic)

    def __init__(self, place):
        self._events = events_at(place, self._dropped)
        self._first = True
        self._test = None  # what runs now, and since when
        self._outcomes = []  # what was told of it: status, exception, reason, name of the subtest

    def _dropped(self, count):
        return self._event("note", level="error", text="%d events could not be written" % count)

    def _event(self, kind, **fields):
        event = {"event": kind, "time": self._time()}
        event.update((name, value) for name, value in fields.items() if value not in (None, ""))
        if self._first:
            self._first = False
            event.update(testwire=1, runner="unittest")
        return event

    def write(self, kind, **fields):
        self._events.write(self._event(kind, **fields))

    def begin(self):
        self.write("run_started", title="unittest, Python %s" % platform.python_version())

    def plan(self, suite):
        names = list(_names(suite))
        for at in range(0, len(names), _NAMES_PER_LINE):
            self.write("planned", tests=names[at : at + _NAMES_PER_LINE])

    def end(self, result):
        message = "stopped early" if result.shouldStop else ""
        self.write("run_finished", status="passed" if result.wasSuccessful() else "failed", message=message)
        self._events.close()

    def started(self, test):
        self._test = (test, self._monotonic())
        self._outcomes = []
        self.write("test_started", test=test.id(), suite=_suite(test))

    def outcome(self, test, status, error=None, reason=None, name=None):
        """A test may have several: a failure, another in its teardown, those of its subtests. Its end is when it stops."""
        # What is skipped in a subtest is told of the subtest, which starts and stops nothing either.
        whole = getattr(test, "test_case", test)
        if self._test is not None and self._test[0] is whole:
            self._outcomes.append((status, error, reason, name))
        else:
            # A stand-in for a set-up, which starts and stops nothing.
            self._finished(test, [(status, error, reason, name)], None)

    def stopped(self, result, test):
        if self._test is not None and self._test[0] is test:
            duration = (self._monotonic() - self._test[1]) * 1000
            self._test = None
            self._finished(test, self._outcomes, duration)

    def _finished(self, test, outcomes, duration):
        failures = [outcome for outcome in outcomes if outcome[0] in ("failed", "errored")]
        status, error, reason, _ = (failures or outcomes or [("unfinished", None, None, None)])[0]
        message = reason if error is None else _message(error)
        if len(failures) > 1:
            message += " (and %d more)" % (len(failures) - 1)
        traces = ((name, error) for _, error, _, name in failures or outcomes if error is not None)
        details = "\n".join((name + "\n" if name else "") + _trace(error) for name, error in traces)
        fields = dict(status=status, duration_ms=duration, message=message, details=details)
        self.write("test_finished", test=test.id(), suite=_suite(test), **fields)


def _names(suite):
    if isinstance(suite, TestSuite):
        for test in suite:
            for name in _names(test):
                yield name
    elif suite is not None:
        yield suite.id()


def _suite(test):
    """Module and class; nothing for the stand-ins of failed set-ups."""
    return "%s.%s" % (type(test).__module__, type(test).__qualname__) if hasattr(test, "_testMethodName") else None


def _trace(error):
    """As unittest shows it: without its own frames."""
    kind, value, trace = error
    while trace is not None and "__unittest" in trace.tb_frame.f_globals:
        trace = trace.tb_next
    return "".join(traceback.format_exception(kind, value, trace))


def _message(error):
    kind, value, _ = error
    text = safe_text(value)
    return "%s: %s" % (kind.__name__, text) if text else kind.__name__


def _wrap(recorder):
    """Tells the recorder of each call, then goes on. Nothing that goes wrong in it reaches the tests."""

    def before(owner, name, tell):
        inner = getattr(owner, name, None)
        if inner is None:
            return

        @functools.wraps(inner)
        def outer(self, *arguments, **named):
            try:
                tell(self, *arguments, **named)
            except Exception:
                pass
            return inner(self, *arguments, **named)

        setattr(owner, name, outer)

    def ends(status):
        return lambda result, test, error=None: recorder.outcome(test, status, error)

    def skipped(result, test, reason):
        recorder.outcome(test, "skipped", reason=reason)

    def subtest(result, test, inner, error):
        if error is not None:
            status = "failed" if issubclass(error[0], test.failureException) else "errored"
            recorder.outcome(test, status, error, name=str(inner))

    before(TestResult, "startTest", lambda result, test: recorder.started(test))
    before(TestResult, "stopTest", recorder.stopped)
    before(TestResult, "addSuccess", ends("passed"))
    before(TestResult, "addFailure", ends("failed"))
    before(TestResult, "addError", ends("errored"))
    before(TestResult, "addExpectedFailure", ends("xfailed"))
    before(TestResult, "addUnexpectedSuccess", ends("xpassed"))
    before(TestResult, "addSkip", skipped)
    before(TestResult, "addSubTest", subtest)

    inner = TextTestRunner.run

    @functools.wraps(inner)
    def run(self, test):
        try:
            recorder.begin()
            recorder.plan(test)
        except Exception:
            pass
        result = inner(self, test)
        try:
            recorder.end(result)
        except Exception:
            pass
        return result

    TextTestRunner.run = run


def main():
    place = claim("testwire")
    if place:
        _wrap(_Recorder(place))
    # `python -m unittest` has put the current directory there, `-m testwire_unittest` does so too.
    import unittest

    # By this name unittest knows how it was started, for its usage.
    sys.argv[0] = os.path.join(os.path.dirname(unittest.__file__), "__main__.py")
    runpy.run_module("unittest", run_name="__main__")


if __name__ == "__main__":
    main()
