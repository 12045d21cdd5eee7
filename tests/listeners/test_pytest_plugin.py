"""What the pytest plugin writes."""
import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter, defaultdict

import execnet
import pytest
from runners import PROJECTS, PYTEST, WITH_PLUGIN, environment, read, run, truth

HAS_CORE_SUBTESTS = int(pytest.__version__.split(".")[0]) >= 9


def kinds(events):
    return [event["$report_type"] for event in events]


def reports(events, nodeid=None, kind="TestReport"):
    return [e for e in events if e["$report_type"] == kind and nodeid in (None, e.get("nodeid"))]


def final_status(attempts):
    """Status of a test from the reports of all its attempts, as a reader of the events has to work it out."""
    last = attempts[-1]
    if any(r["outcome"] == "rerun" for r in last):
        return "rerun"
    by_when = {r["when"]: r for r in last}
    if any(r["outcome"] == "failed" for when, r in by_when.items() if when == "call"):
        return "failed"
    if any(r["outcome"] == "failed" for r in last):
        return "errored"
    for report in last:
        if "wasxfail" in report:
            return "xfailed" if report["outcome"] == "skipped" else "xpassed"
        if report["outcome"] == "skipped":
            return "skipped"
    return "passed"


def attempts_of(events):
    attempts = defaultdict(list)
    for event in events:
        if event["$report_type"] == "TestStart":
            attempts[event["nodeid"]].append([])
        elif event["$report_type"] == "TestReport":
            attempts[event["nodeid"]][-1].append(event)
    return attempts


@pytest.mark.parametrize("arguments", [[], ["-n", "2"], ["-p", "no:xdist"], ["-p", "no:terminal"]], ids=" ".join)
def test_events_of_the_sample_project_add_up_to_its_truth(events, arguments):
    want = truth("pytest")
    done = run(PYTEST + WITH_PLUGIN + arguments, PROJECTS / "pytest", events)
    got = read(events)
    assert done.returncode == want["exit_code"], done.stdout.decode()

    attempts = attempts_of(got)
    status = {nodeid: final_status(tries) for nodeid, tries in attempts.items()}
    counts = Counter(status.values())
    assert {name: counts[name] for name in ("passed", "failed", "errored", "skipped", "xfailed", "xpassed")} == {
        name: want[name] for name in ("passed", "failed", "errored", "skipped", "xfailed", "xpassed")
    }
    named = {name: sorted(n for n, s in status.items() if s == name) for name in counts}
    assert sorted(named["failed"] + named["errored"]) == sorted(want["failing"])
    for name in ("errored", "skipped", "xfailed", "xpassed"):
        assert named[name] == sorted(want[name + "_tests"])
    flaky = [n for n, tries in attempts.items() if len(tries) > 1 and status[n] == "passed"]
    assert sorted(flaky) == sorted(want["flaky_tests"])
    assert sum(len(tries) - 1 for tries in attempts.values()) == want["retries"]

    (collected,) = reports(got, None, "Collected")
    assert collected["total"] == want["tests"]
    assert sorted(collected["nodeids"]) == sorted(status)
    assert kinds(got)[0] == "SessionStart" and kinds(got)[-1] == "SessionFinish"
    assert got[-1]["exitstatus"] == want["exit_code"]
    assert got[0]["pytest_version"] == pytest.__version__


def test_phases_follow_their_start_in_order_and_in_time(events):
    run(PYTEST + WITH_PLUGIN + ["-n", "2"], PROJECTS / "pytest", events)
    got = read(events)
    for nodeid, tries in attempts_of(got).items():
        for number, phases in enumerate(tries):
            whens = [r["when"] for r in phases]
            if phases[-1]["outcome"] == "rerun":
                assert whens == ["setup", "call"]  # rerunfailures before 16 leaves out this teardown
            else:
                assert whens in (["setup", "call", "teardown"], ["setup", "teardown"]), nodeid
            assert len({r["worker_id"] for r in phases}) == 1
            assert {r.get("rerun", 0) for r in phases} == {number}
            for report in phases:
                assert report["stop"] - report["start"] == pytest.approx(report["duration"], abs=0.02)
    starts = {}
    for event in got:
        if event["$report_type"] == "TestStart":
            starts[event["nodeid"]] = event["time"]
        elif event["$report_type"] == "TestReport":
            assert event["start"] >= starts[event["nodeid"]] - 0.005
    assert {e["worker_id"] for e in reports(got)} == {"gw0", "gw1"}


def test_each_captured_section_is_written_once_though_phases_and_attempts_repeat_it(run_pytest):
    _, got = run_pytest(
        """
import pytest

@pytest.fixture
def noisy():
    print("set up")
    yield
    print("torn down")

tries = []

@pytest.mark.flaky(reruns=2)
def test_flaky(noisy):
    tries.append(1)
    print("same text")
    assert len(tries) > 1
"""
    )
    sections = [tuple(s) for r in reports(got) for s in r.get("sections", [])]
    assert Counter(sections) == {
        ("Captured stdout setup", "set up\n"): 2,
        ("Captured stdout call", "same text\n"): 2,
        ("Captured stdout teardown", "torn down\n"): 2,
    }
    calls = [r for r in reports(got) if r["when"] == "call"]
    assert [r["outcome"] for r in calls] == ["rerun", "passed"]
    assert [[s[0] for s in r["sections"]] for r in calls] == [["Captured stdout call"]] * 2


def test_messages_are_short_and_long_text_is_text(run_pytest):
    _, got = run_pytest(
        """
import pytest, unittest

def test_assert():
    assert 1 == 2, "one is not two"

def test_fixture(nothing_of_the_kind):
    pass

@pytest.mark.skip(reason="not today")
def test_skip():
    pass

@pytest.mark.xfail(strict=True, reason="bug 1")
def test_strict():
    pass

class Old(unittest.TestCase):
    @unittest.expectedFailure
    def test_surprise(self):
        pass

def test_chain():
    try:
        1 / 0
    except ZeroDivisionError as inner:
        raise ValueError("outer\\nsecond line") from inner
"""
    )
    failing = {r["nodeid"].split("::")[-1]: r for r in reports(got) if "longrepr" in r}
    assert failing["test_assert"]["message"].splitlines()[0] == "AssertionError: one is not two"
    assert "def test_assert" in failing["test_assert"]["longrepr"]
    assert failing["test_fixture"]["message"] == "fixture 'nothing_of_the_kind' not found"
    assert failing["test_skip"]["message"] == "not today"
    assert re.search(r"test_it\.py:\d+: not today$", failing["test_skip"]["longrepr"])
    assert failing["test_strict"]["message"] == "[XPASS(strict)] bug 1"
    assert failing["test_surprise"]["message"].endswith("Unexpected success")
    assert failing["test_chain"]["message"] == "ValueError: outer\nsecond line"
    assert "ZeroDivisionError" in failing["test_chain"]["longrepr"]


def test_markers_are_those_of_test_class_and_module_without_pytests_own(run_pytest):
    _, got = run_pytest(
        """
import pytest
pytestmark = pytest.mark.module

@pytest.mark.group
class TestIt:
    @pytest.mark.own(1)
    @pytest.mark.own(2)
    @pytest.mark.parametrize("x", [1])
    @pytest.mark.usefixtures()
    @pytest.mark.skipif(False, reason="-")
    def test_one(self, x):
        pass
"""
    )
    (start,) = reports(got, None, "TestStart")
    assert start["markers"] == ["own", "group", "module"]
    assert all(r["markers"] == ["own", "group", "module"] for r in reports(got))


def test_properties_become_text(run_pytest):
    _, got = run_pytest(
        """
def test_it(record_property):
    record_property("weight", float("nan"))
    record_property("thing", object)
"""
    )
    assert reports(got)[-1]["user_properties"] == [["weight", "nan"], ["thing", "<class 'object'>"]]


@pytest.mark.parametrize("arguments", [[], ["-n", "1"]], ids=["plain", "xdist"])
def test_subtests_are_reports_of_their_own(run_pytest, arguments):
    if not HAS_CORE_SUBTESTS:
        pytest.importorskip("pytest_subtests")
    _, got = run_pytest(
        """
import unittest

def test_parts(subtests):
    for i in range(3):
        with subtests.test("part", i=i):
            print("output of", i)
            assert i != 1

class Old(unittest.TestCase):
    def test_old(self):
        for i in range(2):
            with self.subTest(i=i):
                self.assertEqual(i, 0)
""",
        *arguments
    )
    parts = reports(got, "test_it.py::test_parts", "SubTestReport")
    assert [p["outcome"] for p in parts] == ["passed", "failed", "passed"]
    assert [p["_subtest.context"] for p in parts] == [{"msg": "part", "kwargs": {"i": str(i)}} for i in range(3)]
    if HAS_CORE_SUBTESTS:
        assert [p["sections"] for p in parts] == [[["Captured stdout call", "output of %d\n" % i]] for i in range(3)]
    old = [p for p in reports(got, "test_it.py::Old::test_old", "SubTestReport") if p["outcome"] == "failed"]
    assert [p["_subtest.context"]["kwargs"] for p in old] == [{"i": "1"}]
    assert all(p["stop"] > 1e9 for p in parts + old)


CRASHING = """
import os, pytest

@pytest.mark.parametrize("i", range(6))
def test_it(i):
    if i == 2:
        os._exit(7)
"""


def test_a_crashed_worker_leaves_a_start_and_the_controllers_report(run_pytest):
    done, got = run_pytest(CRASHING, "-n", "2")
    assert done.returncode == 1
    assert len(reports(got, "test_it.py::test_it[2]", "TestStart")) == 1
    assert reports(got, "test_it.py::test_it[2]")[0]["when"] == "setup"
    crash = reports(got, "test_it.py::test_it[2]")[-1]
    assert (crash["when"], crash["outcome"]) == ("???", "failed")
    worker = reports(got, "test_it.py::test_it[2]", "TestStart")[0]["worker_id"]
    assert crash["worker_id"] == worker and worker in crash["message"] and crash["stop"] > 1e9
    assert sum(r["when"] == "teardown" for r in reports(got)) == 5
    assert got[-1]["$report_type"] == "SessionFinish" and got[-1]["exitstatus"] == 1


def test_a_crash_without_xdist_leaves_whole_lines_up_to_the_culprit(run_pytest):
    done, got = run_pytest(CRASHING)
    assert done.returncode == 7
    assert got[-1]["$report_type"] == "TestReport" and got[-1]["nodeid"] == "test_it.py::test_it[2]"
    assert "SessionFinish" not in kinds(got)


def test_a_forked_child_writes_nothing(run_pytest):
    done, got = run_pytest(
        """
import os, sys

def test_fork():
    child = os.fork()
    if child == 0:
        return  # goes on as if it were pytest
    os.waitpid(child, 0)

def test_after():
    pass
"""
    )
    assert done.returncode == 0
    assert len(reports(got)) == 6
    assert kinds(got).count("SessionFinish") == 1


@pytest.mark.parametrize("arguments", [[], ["-n", "2"]], ids=["plain", "xdist"])
@pytest.mark.parametrize(
    "code, extra, exitstatus, message",
    [
        ("def test_a():\n    assert 0\ndef test_b(): pass\n", ["-x"], 1, "stopping after 1 failures"),
        ("import nothing_of_the_kind\n", [], 2, "error"),
        ("def test_a(): pass\n", ["-k", "nothing"], 5, None),
        ("import pytest\ndef test_a():\n    pytest.exit('enough')\n", [], 2, ""),
    ],
    ids=["exitfirst", "collection-error", "nothing-left", "exit"],
)
def test_the_end_says_how_and_why(run_pytest, arguments, code, extra, exitstatus, message):
    done, got = run_pytest(code, *(extra + arguments))
    assert got[-1]["$report_type"] == "SessionFinish"
    assert got[-1]["exitstatus"] == done.returncode
    if not arguments:
        assert done.returncode == exitstatus
        assert ("message" not in got[-1]) if message is None else (message in got[-1]["message"])
    if "nothing_of_the_kind" in code:
        (error,) = reports(got, "test_it.py", "CollectReport")
        assert error["outcome"] == "failed"
        assert error["message"] == "ModuleNotFoundError: No module named 'nothing_of_the_kind'"


def test_ctrl_c_ends_the_session_with_status_2(run_pytest):
    done, got = run_pytest(
        "import os, signal\ndef test_a():\n    os.kill(os.getpid(), signal.SIGINT)\n    import time; time.sleep(5)\n"
    )
    assert done.returncode == 2
    assert got[-1]["exitstatus"] == 2 and got[-1]["message"] == "KeyboardInterrupt"
    assert [e["$report_type"] for e in got[2:]] == ["TestStart", "TestReport", "SessionFinish"]


def test_collecting_only_announces_nothing(run_pytest):
    _, got = run_pytest("def test_a(): pass\n", "--collect-only")
    assert kinds(got) == ["SessionStart", "SessionFinish"]


def test_long_lists_are_announced_in_several_lines(run_pytest):
    code = "import pytest\n@pytest.mark.parametrize('i', range(2500))\ndef test_a(i): pass\n"
    _, got = run_pytest(code, "-x", "--deselect", "test_it.py::test_a[7]", "-q")
    lines = reports(got, None, "Collected")
    assert [len(line["nodeids"]) for line in lines] == [1000, 1000, 499]
    assert {line["total"] for line in lines} == {2499}


def test_a_session_inside_a_test_is_not_reported(run_pytest):
    done, got = run_pytest(
        """
import subprocess, sys
pytest_plugins = "pytester"

INNER = "def test_inner(): pass"

def test_process(tmp_path):
    (tmp_path / "test_inner.py").write_text(INNER)
    command = [sys.executable, "-m", "pytest", "-p", "testwire_pytest", "-p", "no:cacheprovider"]
    assert subprocess.run(command, cwd=str(tmp_path)).returncode == 0
    assert subprocess.run(command + ["-n", "1"], cwd=str(tmp_path)).returncode == 0

def test_same_process(pytester):
    pytester.makepyfile(INNER)
    pytester.inline_run("-p", "testwire_pytest").assertoutcome(passed=1)
"""
    )
    assert done.returncode == 0, done.stdout.decode()
    assert {e["nodeid"] for e in reports(got)} == {"test_it.py::test_process", "test_it.py::test_same_process"}
    assert kinds(got).count("SessionStart") == kinds(got).count("SessionFinish") == 1


def test_two_sessions_one_after_the_other_are_both_reported(tmp_path, events):
    (tmp_path / "test_it.py").write_text("def test_a(): pass\n")
    code = "import pytest; [pytest.main(['-p', 'testwire_pytest', '-p', 'no:cacheprovider']) for _ in range(2)]"
    run([sys.executable, "-c", code], tmp_path, events)
    assert kinds(read(events)).count("SessionFinish") == 2


def test_a_plugin_given_twice_reports_once(run_pytest):
    _, got = run_pytest("def test_a(): pass\n", "-p", "testwire_pytest", "-o", "addopts=-p testwire_pytest")
    assert len(reports(got)) == 3


def test_text_that_is_no_unicode_is_spelled_out(run_pytest):
    _, got = run_pytest("def test_a():\n    raise ValueError('half \\ud83d of a smile')\n", "-p", "no:terminal")
    assert reports(got)[1]["message"] == "ValueError: half \\ud83d of a smile"


def test_tests_may_replace_the_functions_that_the_plugin_needs(run_pytest):
    done, got = run_pytest(
        """
import os, time, json
from unittest import mock

def test_a(monkeypatch):
    calls = mock.Mock(return_value=0)
    for name in ("write", "stat", "fstat", "open", "getpid"):
        monkeypatch.setattr(os, name, calls)
    monkeypatch.setattr(time, "monotonic", lambda: -1.0)
    monkeypatch.setattr(json, "dumps", None)

def test_descriptors():
    os.closerange(3, 64)
    mine = os.open("other.txt", os.O_CREAT | os.O_WRONLY)
    more = [os.dup(mine) for _ in range(20)]

def test_last():
    assert open("other.txt").read() == ""
""",
        "-s",
    )
    assert done.returncode == 0, done.stdout.decode()
    assert len(reports(got)) == 9
    assert "Dropped" not in kinds(got)


def test_warnings_as_errors_do_not_meet_the_plugin(run_pytest):
    done, got = run_pytest("def test_a(): pass\n", "-W", "error")
    assert done.returncode == 0, done.stdout.decode()
    assert len(reports(got)) == 3


def test_a_remote_workers_tests_are_written_by_the_controller(run_pytest, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = os.path.join(os.path.dirname(execnet.__file__), "script", "socketserver.py")
    server = subprocess.Popen(
        ["timeout", "60", sys.executable, script, "127.0.0.1:%s" % port],
        cwd=str(tmp_path),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        code = "def test_a():\n    print('same')\ndef test_b():\n    print('same')\n    assert 0\n"
        time.sleep(1)  # a connection to see whether it listens would count as a gateway
        place = "socket=127.0.0.1:%s//chdir=%s" % (port, tmp_path / "project")
        done, got = run_pytest(code, "--dist", "load", "--tx", place)
    finally:
        server.terminate()
        server.wait()
    assert done.returncode == 1, done.stdout.decode()
    assert Counter(r["nodeid"] for r in reports(got)) == {"test_it.py::test_a": 3, "test_it.py::test_b": 3}
    assert {r["worker_id"] for r in reports(got)} == {"gw0"}
    assert [r["sections"] for r in reports(got) if "sections" in r] == [[["Captured stdout call", "same\n"]]] * 2


def test_without_an_event_file_the_plugin_registers_nothing(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "def test_a(pytestconfig):\n    assert not pytestconfig.pluginmanager.has_plugin('testwire-recorder')\n"
    )
    done = run(PYTEST + WITH_PLUGIN + ["-p", "no:cacheprovider"], tmp_path)
    assert done.returncode == 0, done.stdout.decode()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["events", "test_it.py"]
