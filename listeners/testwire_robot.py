"""Robot Framework listener of testwire: what a run does, as JSON lines, the moment it happens.

    robot --pythonpath DIR --listener testwire_robot.Listener --listener testwire_robot.Keywords …

For Robot Framework 5, 6 and 7, also under pabot. `Keywords` reports keywords where listener API 3 cannot (Robot
before 7) and does nothing elsewhere, so both can always be given.

The environment variable TESTWIRE_EVENTS names the file that events are appended to, or TESTWIRE_URL the `testwire listen`
that they are sent to; without both nothing is done.

Every event has `event` (its name), `pid` and `ts` (when it was written). Times are ISO 8601 with microseconds and zone,
`elapsed` is in seconds. Fields in brackets are left out when there is nothing to say.

    start_suite    id, name, full_name, [source], [metadata], total_tests, start_time; of the root suite also
                   [robot] (version, in the first event of a process), worker ("" unless pabot), [all_tests] (full
                   names of all tests that will run, left out beyond 20,000)
    end_suite      id, full_name, status (PASS, FAIL, SKIP), message, elapsed, end_time, statistics {total, passed,
                   failed, skipped}, [corrected]: tests whose status the suite's teardown changed after their
                   end_test, each {full_name, status, message}
    start_test     name, full_name, tags, [lineno], start_time
    end_test       name, full_name, tags, status, message, elapsed, end_time
    start_keyword  type (KEYWORD, SETUP, TEARDOWN, FOR, IF, …), name, owner (library or resource), args, assign, test,
                   suite (full names; test is null in a suite's set-up and teardown)
    end_keyword    type, name, status (also NOT RUN), message, elapsed, test, suite
    log_message    level, html, message, timestamp, test, suite
    message        level, message, timestamp: what Robot itself has to say, WARN and ERROR only
    dropped        count: so many events before this one could not be written
    close          no more fields; the process is done
"""

import os
from datetime import datetime, timedelta

import robot.errors
from robot.libraries.BuiltIn import BuiltIn
from robot.version import VERSION

from testwire_events import claim, events_at, release, safe_text

_MAX_NAMES = 20000
_HAS_BODY_ITEMS = int(VERSION.split(".")[0]) >= 7

# Robot stops a keyword that is out of time by raising inside whatever runs, which may be a listener. Up to Robot 7.2
# this is an Exception like any other.
_LET_THROUGH = tuple(
    getattr(robot.errors, name) for name in ("TimeoutError", "TimeoutExceeded") if hasattr(robot.errors, name)
)


def _iso(moment):
    """ISO time with zone; of a local datetime or, before Robot 7, a local `20260101 12:00:00.000`."""
    if not moment:
        return None
    if isinstance(moment, str):
        digits = [moment[0:4], moment[4:6], moment[6:8], moment[9:11], moment[12:14], moment[15:17]]
        moment = datetime(*map(int, digits)) + timedelta(milliseconds=int(moment[18:21] or 0))
    return moment.astimezone().isoformat(timespec="microseconds")


def _full_name(item):
    return item.full_name if _HAS_BODY_ITEMS else item.longname


def _seconds(result):
    return result.elapsed_time.total_seconds() if _HAS_BODY_ITEMS else result.elapsedtime / 1000


def _start(result):
    return _iso(result.start_time if _HAS_BODY_ITEMS else result.starttime)


def _end(result):
    return _iso(result.end_time if _HAS_BODY_ITEMS else result.endtime)


def _all_tests(suite):
    """Full names of the tests below `suite` in running order, or None if there are too many."""
    if suite.test_count > _MAX_NAMES:
        return None
    names = [_full_name(test) for test in suite.tests]
    for child in suite.suites:
        names += _all_tests(child)
    return names


def _pabot_worker():
    """Which of pabot's parallel places this process has; else which job it is; else nothing."""
    for name in ("PABOTEXECUTIONPOOLID", "PABOTQUEUEINDEX"):
        value = BuiltIn().get_variable_value("${%s}" % name)
        if value is None:
            value = os.environ.get(name)
        if value not in (None, ""):
            return str(value)
    return ""


class _Run:
    """What both listeners of a process share: the event file, and where in the run they are."""

    def __init__(self):
        self.events = None
        self.test = None
        self.suites = []  # full name, and (result, status) of each test that ended, of every open suite
        self.joined = set()  # kinds of listeners that report this run
        self._described = False
        self._pid = os.getpid()
        path = claim("robot")
        if path:
            self.events = events_at(path, lambda count: self._record("dropped", count=count), _LET_THROUGH)

    def _record(self, event, **fields):
        record = {"event": event, "pid": self._pid, "ts": _iso(datetime.now())}
        record.update(fields)
        return record

    def emit(self, event, **fields):
        self.events.write(self._record(event, **fields))

    def place(self):
        return {"test": self.test, "suite": self.suites[-1][0] if self.suites else None}

    def root(self, suite):
        """What only a root suite tells."""
        fields = {} if self._described else {"robot": VERSION}
        self._described = True
        fields["worker"] = _pabot_worker()
        names = _all_tests(suite)
        if names is not None:
            fields["all_tests"] = names
        return fields

    def close(self):
        self.emit("close")
        self.events.close()
        self.events = None
        release()


class _NoRun:
    """The run of a listener that has nothing to do."""

    events = None


_run = None


def _join(listener):
    """The run of this process; pabot may give Robot each listener twice, then the second has nothing to do."""
    global _run
    if _run is None or _run.events is None:
        _run = _Run()
    if type(listener) in _run.joined:
        return _NoRun
    _run.joined.add(type(listener))
    return _run


def _guarded(method):
    """A listener method that costs nothing without an event file and never breaks the run."""

    def call(self, *args):
        if self._run.events is None:
            return
        try:
            method(self, *args)
        except _LET_THROUGH:
            raise
        except Exception:
            self._run.events.lost()

    call.__name__ = method.__name__
    call.__doc__ = method.__doc__
    return call


class Listener:
    """Suites, tests and log messages; on Robot 7 and later keywords, too."""

    ROBOT_LISTENER_API_VERSION = 3

    def __init__(self):
        self._run = _join(self)

    @_guarded
    def start_suite(self, data, result):
        fields = {"id": data.id, "name": result.name, "full_name": _full_name(result)}
        if data.source:
            fields["source"] = str(data.source)
        if result.metadata:
            fields["metadata"] = dict(result.metadata)
        self._run.suites.append((fields["full_name"], []))
        if data.parent is None:
            fields.update(self._run.root(data))
        self._run.emit("start_suite", total_tests=data.test_count, start_time=_start(result), **fields)

    @_guarded
    def end_suite(self, data, result):
        _, ended = self._run.suites.pop()
        fields = {}
        corrected = [test for test, status in ended if test.status != status]
        if corrected:
            fields["corrected"] = [
                {"full_name": _full_name(test), "status": test.status, "message": test.message} for test in corrected
            ]
        if self._run.suites:
            self._run.suites[-1][1].extend((test, test.status) for test, _ in ended)
        counts = result.statistics
        self._run.emit(
            "end_suite",
            id=data.id,
            full_name=_full_name(result),
            status=result.status,
            message=result.message,
            elapsed=_seconds(result),
            end_time=_end(result),
            statistics={name: getattr(counts, name) for name in ("total", "passed", "failed", "skipped")},
            **fields
        )

    @_guarded
    def start_test(self, data, result):
        self._run.test = _full_name(result)
        fields = {"lineno": data.lineno} if data.lineno else {}
        self._run.emit(
            "start_test",
            name=result.name,
            full_name=self._run.test,
            tags=list(result.tags),
            start_time=_start(result),
            **fields
        )

    @_guarded
    def end_test(self, data, result):
        self._run.test = None
        if self._run.suites:
            self._run.suites[-1][1].append((result, result.status))
        self._run.emit(
            "end_test",
            name=result.name,
            full_name=_full_name(result),
            tags=list(result.tags),
            status=result.status,
            message=result.message,
            elapsed=_seconds(result),
            end_time=_end(result),
        )

    @_guarded
    def log_message(self, message):
        self._run.emit(
            "log_message",
            level=message.level,
            html=bool(message.html),
            message=message.message,
            timestamp=_iso(message.timestamp),
            **self._run.place()
        )

    @_guarded
    def message(self, message):
        if message.level in ("WARN", "ERROR"):
            self._run.emit(
                "message", level=message.level, message=message.message, timestamp=_iso(message.timestamp)
            )

    @_guarded
    def close(self):
        self._run.close()

    if _HAS_BODY_ITEMS:

        @_guarded
        def start_body_item(self, data, result):
            if result.type in ("KEYWORD", "SETUP", "TEARDOWN"):
                what = {
                    "name": result.name,
                    "owner": result.owner,
                    "args": [safe_text(arg) for arg in result.args],
                    "assign": list(result.assign),
                }
            else:
                what = {"name": _head(result), "owner": None, "args": [], "assign": []}
            self._run.emit("start_keyword", type=result.type, **dict(what, **self._run.place()))

        @_guarded
        def end_body_item(self, data, result):
            name = result.name if result.type in ("KEYWORD", "SETUP", "TEARDOWN") else _head(result)
            self._run.emit(
                "end_keyword",
                type=result.type,
                name=name,
                status=result.status,
                message=result.message,
                elapsed=_seconds(result),
                **self._run.place()
            )


def _head(result):
    """Source line of a control structure; their `name` and `args` are deprecated and warn."""
    if type(result).__name__ == "ForIteration":
        return ", ".join("%s = %s" % pair for pair in result.assign.items())
    if result.type.endswith("ROOT") or result.type == "ITERATION":
        return ""
    return str(result)


class Keywords:
    """Keywords for Robot before 7, by listener API 2."""

    ROBOT_LISTENER_API_VERSION = 2

    def __init__(self):
        self._run = _join(self)

    if not _HAS_BODY_ITEMS:

        @_guarded
        def start_keyword(self, name, attributes):
            self._run.emit(
                "start_keyword",
                type=attributes["type"],
                name=attributes["kwname"],
                owner=attributes["libname"] or None,
                args=[safe_text(arg) for arg in attributes["args"]],
                assign=list(attributes["assign"]),
                **self._run.place()
            )

        @_guarded
        def end_keyword(self, name, attributes):
            self._run.emit(
                "end_keyword",
                type=attributes["type"],
                name=attributes["kwname"],
                status=attributes["status"],
                message="",
                elapsed=attributes["elapsedtime"] / 1000,
                **self._run.place()
            )


# So that `--listener DIR/testwire_robot.py` works as well, without the keywords of Robot before 7.
testwire_robot = Listener
