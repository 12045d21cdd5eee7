"""pytest plugin of testwire: what a session does, as JSON lines, the moment it happens.

    PYTHONPATH=DIR pytest -p testwire_pytest …

For pytest 7, 8 and 9, with and without xdist, rerunfailures and subtests.

The environment variable TESTWIRE_EVENTS names the file that events are appended to, or TESTWIRE_URL the `testwire listen`
that they are sent to; without both nothing is done.

Events are those of pytest-reportlog, less what nobody needs and with what it lacks. Times are seconds since the
epoch, durations are seconds. Fields in brackets are left out when there is nothing to say.

    SessionStart    pytest_version, python, pid, time
    Collected       nodeids, total, time: what will run. Long lists take several lines, each with the next names.
    TestStart       nodeid, time, [markers], [worker_id]; once per attempt
    TestReport      nodeid, when (setup, call, teardown; ??? for a crashed worker), outcome (passed, failed, skipped,
                    rerun), duration, start, stop, [longrepr] (text), [message] (of the exception, or the reason of a
                    skip), [sections] ([title, text] of captured output; each once per test), [wasxfail] (reason),
                    [rerun] (number of attempts before this one), [markers], [user_properties] ([name, text]),
                    [worker_id]
    SubTestReport   as TestReport, and _subtest.context {msg, kwargs}
    CollectReport   nodeid, outcome (failed, skipped), [longrepr], [message], time
    WarningMessage  category, message (at most 1,000 characters), when, [nodeid], filename, lineno
    Dropped         count, time, [worker_id]: so many events before this one could not be written
    SessionFinish   exitstatus, pid, time, [message]: why it ended early

Under xdist each worker writes TestStart, TestReport and SubTestReport itself, at once; all else is written by the
controller, which also speaks for crashed workers (???) and, without TestStart, for workers on other machines.
"""

import os
import platform
import time
from collections import Counter

import pytest

from testwire_events import claim, events_at, release, safe_text

_NAMES_PER_LINE = 1000  # keeps a line of Collected around 100 KB
_NOT_TAGS = frozenset(("parametrize", "usefixtures", "filterwarnings", "skip", "skipif", "xfail"))


def pytest_configure(config):
    worker = getattr(config, "workerinput", None)
    if worker is None:
        path = claim("pytest")
        recorder = path and _Controller(path)
    else:
        # Only the controller knows whether this session is one that is reported.
        path = worker.get("testwire_events")
        recorder = path and _Recorder(path, worker["workerid"])
    if recorder:
        config.pluginmanager.register(recorder, "testwire-recorder")


def pytest_unconfigure(config):
    recorder = config.pluginmanager.get_plugin("testwire-recorder")
    if recorder is not None:
        recorder.close()


class _Recorder:
    """Writes tests; all that an xdist worker does."""

    # freezegun does not look for the clock in a class.
    _time = staticmethod(time.time)

    def __init__(self, path, worker_id):
        self.events = events_at(path, lambda count: self._record("Dropped", count=count, time=self._time()))
        self._worker_id = worker_id
        self._item = None
        self._calls = {}  # phase → its start and stop; reports have them only since pytest 8
        self._sections = {}  # worker → its current test, and how often each captured section of it is written

    def _record(self, kind, **fields):
        record = {"$report_type": kind}
        record.update(fields)
        if self._worker_id:
            record.setdefault("worker_id", self._worker_id)
        return record

    def _emit(self, kind, **fields):
        self.events.write(self._record(kind, **fields))

    def _safely(self, step, *arguments):
        """What other plugins put into reports and items must not break the run here."""
        try:
            step(*arguments)
        except Exception:
            self.events.lost()

    def close(self):
        self.events.close()

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item):
        # Lasts over all attempts of rerunfailures.
        self._item = item
        self._sections.clear()
        self._calls.clear()
        yield
        self._item = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid):
        self._safely(self._start, nodeid)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, call):
        self._calls[call.when] = (call.start, call.stop)
        yield

    # After the other plugins: the terminal's turns a pass with failed subtests into a failure.
    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report):
        yield
        self._safely(self._report, report)

    def _start(self, nodeid):
        self._emit("TestStart", nodeid=nodeid, time=self._time(), **self._markers(nodeid))

    def _report(self, report):
        self._emit(**self._fields(report))

    def _markers(self, nodeid):
        if self._item is None or self._item.nodeid != nodeid:
            return {}
        names = dict.fromkeys(mark.name for mark in self._item.iter_markers())
        names = [name for name in names if name not in _NOT_TAGS]
        return {"markers": names} if names else {}

    def _fields(self, report):
        context = _subtest_context(report)
        fields = {
            "kind": "TestReport" if context is None else "SubTestReport",
            "nodeid": report.nodeid,
            "when": report.when,
            "outcome": report.outcome,
            "duration": report.duration,
        }
        if context is not None:
            fields["_subtest.context"] = context
        fields["start"], fields["stop"] = self._span(report)
        fields.update(_failure(report))
        sections = self._new_sections(report, is_subtest=context is not None)
        if sections:
            fields["sections"] = sections
        if hasattr(report, "wasxfail"):
            fields["wasxfail"] = safe_text(report.wasxfail)
        if getattr(report, "rerun", None) is not None:
            fields["rerun"] = report.rerun
        if report.user_properties:
            fields["user_properties"] = [[safe_text(name), safe_text(value)] for name, value in report.user_properties]
        fields.update(self._markers(report.nodeid))
        return fields

    def _span(self, report):
        """Start and stop of a report; of unittest's subtests and crashed workers nobody knows them."""
        stop = getattr(report, "stop", 0)
        if stop:
            return report.start, stop
        start, stop = self._calls.get(report.when, (0, 0))
        if not stop or _subtest_context(report) is not None:
            stop = self._time()
            start = stop - report.duration
        return start, stop

    def _new_sections(self, report, is_subtest):
        """Sections not yet written: pytest repeats those of earlier phases, and of earlier attempts, in each report."""
        if is_subtest:
            # Its own output is not repeated anywhere; the set-up's is left to the report of the set-up.
            return [list(section) for section in report.sections if not section[0].endswith(" setup")]
        worker = _worker_of(report)
        nodeid, written = self._sections.get(worker, ("", None))
        if nodeid != report.nodeid:
            written = Counter()
            self._sections[worker] = (report.nodeid, written)
        seen = Counter()
        new = []
        for title, text in report.sections:
            seen[title, text] += 1
            if seen[title, text] > written[title, text]:
                new.append([title, text])
        written |= seen
        return new


class _Controller(_Recorder):
    """Writes what concerns the session, and the tests unless xdist's workers do."""

    def __init__(self, path):
        super().__init__(path, "")
        self._path = path
        self._xdist = False
        self._collected = False
        self._end = ""

    def close(self):
        super().close()
        release()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session):
        self._xdist = session.config.pluginmanager.hasplugin("dsession")
        self._emit(
            "SessionStart",
            pytest_version=pytest.__version__,
            python=platform.python_version(),
            pid=os.getpid(),
            time=self._time(),
        )

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node):
        if _is_local(node):
            node.workerinput["testwire_events"] = self._path

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids):
        self._safely(self._announce, ids)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session):
        if not session.config.option.collectonly:
            self._safely(self._announce, [item.nodeid for item in session.items])

    def _announce(self, nodeids):
        if self._collected:
            return
        self._collected = True
        for first in range(0, len(nodeids), _NAMES_PER_LINE):
            names = [str(nodeid) for nodeid in nodeids[first : first + _NAMES_PER_LINE]]
            self._emit("Collected", nodeids=names, total=len(nodeids), time=self._time())

    def _start(self, nodeid):
        if not self._xdist:
            super()._start(nodeid)

    def _report(self, report):
        node = getattr(report, "node", None)
        if node is None or report.when == "???" or not _is_local(node):
            super()._report(report)

    def _fields(self, report):
        fields = super()._fields(report)
        if _worker_of(report):
            fields["worker_id"] = _worker_of(report)
        return fields

    @pytest.hookimpl(trylast=True)
    def pytest_collectreport(self, report):
        if not report.passed:
            self._safely(self._collect_report, report)

    def _collect_report(self, report):
        fields = _failure(report)
        self._emit("CollectReport", nodeid=report.nodeid, outcome=report.outcome, time=self._time(), **fields)

    @pytest.hookimpl(trylast=True)
    def pytest_warning_recorded(self, warning_message, when, nodeid):
        self._safely(self._warning, warning_message, when, nodeid)

    def _warning(self, warning, when, nodeid):
        fields = {
            "category": warning.category.__name__,
            "message": safe_text(warning.message)[:1000],
            "when": when,
            "filename": warning.filename,
            "lineno": warning.lineno,
        }
        if nodeid:
            fields["nodeid"] = nodeid
        self._emit("WarningMessage", **fields)

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self, excinfo):
        self._end = ("%s: %s" % (excinfo.typename, safe_text(excinfo.value))).rstrip(": ")

    @pytest.hookimpl(tryfirst=True)
    def pytest_internalerror(self, excrepr):
        self._end = "INTERNALERROR: " + _last_line(safe_text(excrepr))

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session):
        # After the other plugins, which may change the exit status.
        yield
        self._safely(self._finish, session)

    def _finish(self, session):
        message = self._end or session.shouldfail or session.shouldstop
        fields = {"message": safe_text(message)} if message else {}
        self._emit("SessionFinish", exitstatus=int(session.exitstatus), pid=os.getpid(), time=self._time(), **fields)


def _is_local(node):
    """True for an xdist worker that runs on this machine and so can write to the file."""
    spec = node.gateway.spec
    return bool(spec.popen and not spec.via)


def _worker_of(report):
    """Id of the xdist worker that the controller has a report from; "" in the process that made the report."""
    node = getattr(report, "node", None)
    return "" if node is None else node.gateway.id


def _subtest_context(report):
    """What a subtest says about itself; None for a test. pytest < 9 has subtests from the plugin pytest-subtests."""
    if type(report).__name__.lower() != "subtestreport":
        return None
    context = report.context
    return {
        "msg": None if context.msg is None else safe_text(context.msg),
        "kwargs": {safe_text(name): safe_text(value) for name, value in context.kwargs.items()},
    }


def _failure(report):
    """The long text of a report and its message, as far as there are any."""
    longrepr = report.longrepr
    if not longrepr:
        return {}
    if isinstance(longrepr, tuple) and len(longrepr) == 3:
        path, line, reason = longrepr
        reason = safe_text(reason)
        if reason.startswith("Skipped: "):
            reason = reason[len("Skipped: ") :]
        return {"longrepr": "%s:%s: %s" % (path, line, reason), "message": reason}
    text = report.longreprtext
    crash = getattr(longrepr, "reprcrash", None)
    if crash is not None:
        return {"longrepr": text, "message": safe_text(crash.message)}
    marked = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")]
    return {"longrepr": text, "message": marked[0] if marked else _last_line(text)}


def _last_line(text):
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""
