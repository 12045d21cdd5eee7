"""What the Robot Framework listener writes."""
import re
import subprocess
import sys
from collections import Counter

import pytest
from robot.version import VERSION
from runners import LISTENERS, PROJECTS, ROBOT, WITH_LISTENER, environment, read, run, truth
from testwire_robot import _all_tests

MAJOR = int(VERSION.split(".")[0])
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]\d\d:\d\d$")


def of(events, name):
    return [event for event in events if event["event"] == name]


def results(events):
    """Final status of each test: what end_test said, as corrected by later ends of suites."""
    status = {event["full_name"]: event["status"] for event in of(events, "end_test")}
    for event in of(events, "end_suite"):
        for test in event.get("corrected", []):
            status[test["full_name"]] = test["status"]
    return status


def check_against_truth(events, want):
    status = results(events)
    counts = Counter(status.values())
    assert (counts["PASS"], counts["FAIL"], counts["SKIP"]) == (want["passed"], want["failed"], want["skipped"])
    assert sorted(name for name, s in status.items() if s == "FAIL") == sorted(want["failing"])
    assert sorted(name for name, s in status.items() if s == "SKIP") == sorted(want["skipped_tests"])
    suites = {e["full_name"]: e["statistics"] for e in of(events, "end_suite")}
    for name, numbers in want["suites"].items():
        assert {key: suites[name][key] for key in numbers} == numbers
    failed = {e["full_name"] for e in of(events, "end_suite") if e["status"] == "FAIL"}
    assert failed == set(want["suites_failed"])


def test_events_of_the_sample_project_add_up_to_its_truth(events):
    want = truth("robot")
    done = run(ROBOT + WITH_LISTENER + ["store"], PROJECTS / "robot", events)
    assert done.returncode == want["exit_code"], done.stdout.decode()
    got = read(events)
    check_against_truth(got, want)

    assert got[0]["event"] == "start_suite" and got[0]["robot"] == VERSION and got[0]["worker"] == ""
    assert got[0]["metadata"] == {"Shop": "Corner Store"}
    assert got[0]["total_tests"] == want["tests"]
    assert got[0]["all_tests"] == [e["full_name"] for e in of(got, "start_test")]
    assert got[-1]["event"] == "close"
    assert sum("all_tests" in e or "robot" in e for e in got) == 1
    assert "dropped" not in {e["event"] for e in got}


def test_events_are_nested_as_the_run_is_and_carry_their_place(events):
    run(ROBOT + WITH_LISTENER + ["store"], PROJECTS / "robot", events)
    stack = []
    for event in read(events):
        kind, _, what = event["event"].partition("_")
        if kind == "start":
            stack.append((what, event.get("full_name", event.get("name"))))
        elif kind == "end":
            assert stack.pop() == (what, event.get("full_name", event.get("name")))
        if what in ("keyword", "message") and "test" in event:
            tests = [name for level, name in stack if level == "test"]
            assert event["test"] == (tests[0] if tests else None)
            assert event["suite"] == [name for level, name in stack if level == "suite"][-1]
        for key in ("ts", "start_time", "end_time", "timestamp"):
            assert key not in event or TIME.match(event[key]), event
    assert stack == []


def test_under_pabot_each_process_says_who_it_is(events, tmp_path):
    want = truth("robot")
    command = [sys.executable, "-m", "pabot.pabot", "--processes", "2", "--outputdir", tmp_path / "out"]
    done = run(command + WITH_LISTENER + [PROJECTS / "robot" / "store"], tmp_path, events)
    assert done.returncode == want["exit_code"], done.stdout.decode()
    got = read(events)
    status = results(got)
    assert sorted(name for name, s in status.items() if s == "FAIL") == sorted(want["failing"])
    assert len(status) == want["tests"]
    roots = [e for e in got if e["event"] == "start_suite" and "worker" in e]
    assert len(roots) == len({e["pid"] for e in got}) == 3
    assert {root["worker"] for root in roots} == {"0", "1"}
    assert sorted(name for root in roots for name in root["all_tests"]) == sorted(status)


def test_a_listener_given_twice_reports_once(tmp_path, events):
    (tmp_path / "it.robot").write_text("*** Test Cases ***\nOne\n    No Operation\n")
    run(ROBOT + WITH_LISTENER + WITH_LISTENER + ["it.robot"], tmp_path, events)
    got = read(events)
    assert [len(of(got, name)) for name in ("start_suite", "end_test", "end_keyword", "close")] == [1, 1, 1, 1]


def test_pabot_takes_the_listener_from_the_environment(events, tmp_path):
    command = [sys.executable, "-m", "pabot.pabot", "--processes", "2", "--outputdir", tmp_path / "out"]
    env = dict(environment(events), ROBOT_OPTIONS=" ".join(WITH_LISTENER))
    tests = ["--include", "smoke", PROJECTS / "robot" / "store"]
    subprocess.run([str(part) for part in command + tests], cwd=str(tmp_path), env=env, timeout=60, check=True)
    names = [e["full_name"] for e in of(read(events), "end_test")]
    assert len(names) == len(set(names)) == 8


def test_tests_that_a_suite_teardown_fails_afterwards_are_corrected(run_robot):
    _, got = run_robot(
        """
*** Settings ***
Suite Teardown    Fail    door is stuck

*** Test Cases ***
Passes
    No Operation
Fails
    Fail    anyway
Skipped
    Skip    anyhow
"""
    )
    assert {e["name"]: e["status"] for e in of(got, "end_test")} == {
        "Passes": "PASS",
        "Fails": "FAIL",
        "Skipped": "SKIP",
    }
    (end,) = of(got, "end_suite")
    assert end["corrected"] == [
        {"full_name": "It.Passes", "status": "FAIL", "message": "Parent suite teardown failed:\ndoor is stuck"}
    ]
    assert end["statistics"] == {"total": 3, "passed": 0, "failed": 2, "skipped": 1}


def test_keywords_and_messages_of_all_kinds(run_robot):
    done, got = run_robot(
        """
*** Settings ***
Library    Nothing.py
Suite Setup    Log    at the start

*** Test Cases ***
One
    [Setup]    Log    <b>bold</b>    html=True
    FOR    ${x}    IN    a    b
        Log    ${x}    level=WARN
    END
    WHILE    True
        No Operation
        BREAK
    END
    IF    False
        Fail    not run
    ELSE
        Log Many    p    q
    END
    TRY
        Fail    oops
    EXCEPT    oops    AS    ${error}
        Log    ${error}
    END
    ${text} =    Set Variable    größe 📦
"""
    )
    assert done.returncode == 0, done.stdout.decode()
    ends = of(got, "end_keyword")
    types = {e["type"] for e in ends}
    assert {"KEYWORD", "SETUP", "FOR", "WHILE", "TRY", "EXCEPT"} <= types
    assert {"PASS", "FAIL", "NOT RUN"} == {e["status"] for e in ends}
    assert len(ends) == len(of(got, "start_keyword"))
    setup = [e for e in of(got, "start_keyword") if e["type"] == "SETUP"]
    assert [(e["name"], e["owner"], e["args"], e["test"]) for e in setup] == [
        ("Log", "BuiltIn", ["at the start"], None),
        ("Log", "BuiltIn", ["<b>bold</b>", "html=True"], "It.One"),
    ]
    assigned = [e for e in of(got, "start_keyword") if e["assign"]]
    assert [re.sub(r"\s*=$", "", a) for e in assigned for a in e["assign"]] == ["${text}"]
    messages = {e["message"]: e for e in of(got, "log_message")}
    assert messages["<b>bold</b>"]["html"] is True and messages["b"]["level"] == "WARN"
    assert messages["at the start"]["test"] is None and messages["at the start"]["suite"] == "It"
    assert messages["${text} = größe 📦"]["test"] == "It.One"
    system = [e["message"] for e in of(got, "message") if e["level"] == "ERROR"]
    assert len(system) == 1 and "Nothing.py" in system[0]


def test_a_timeout_reaches_the_keyword_through_the_listener(run_robot, tmp_path):
    (tmp_path / "Chatty.py").write_text(
        "import time\nfrom robot.api import logger\n"
        "def chatter():\n"
        "    end = time.time() + 5\n"
        "    while time.time() < end:\n"
        "        logger.info('still here')\n"
        "        time.sleep(0.001)\n"
    )
    done, got = run_robot(
        """
*** Settings ***
Library    %s

*** Test Cases ***
One
    [Timeout]    300 ms
    Chatter
"""
        % (tmp_path / "Chatty.py")
    )
    assert done.returncode == 1
    (end,) = of(got, "end_test")
    assert end["message"] == "Test timeout 300 milliseconds exceeded." and end["elapsed"] < 3
    assert of(got, "log_message")


def test_text_that_is_no_unicode_is_spelled_out(run_robot):
    _, got = run_robot("*** Test Cases ***\nOne\n    Fail    ${{'half \\ud83d of a smile'}}\n")
    (end,) = of(got, "end_test")
    assert end["message"] in ("half \\ud83d of a smile", "half \ufffd of a smile")


def test_duplicate_names_and_dots_are_left_as_they_are(run_robot):
    _, got = run_robot("*** Test Cases ***\nSame\n    No Operation\nSame\n    Fail    x\nv1.2\n    No Operation\n")
    assert [(e["full_name"], e["status"]) for e in of(got, "end_test")] == [
        ("It.Same", "PASS"),
        ("It.Same", "FAIL"),
        ("It.v1.2", "PASS"),
    ]
    assert got[0]["all_tests"] == ["It.Same", "It.Same", "It.v1.2"]


def test_a_run_inside_a_test_is_not_reported(run_robot, tmp_path):
    (tmp_path / "inner.robot").write_text("*** Test Cases ***\nInner\n    No Operation\n")
    command = [*ROBOT, *WITH_LISTENER, str(tmp_path / "inner.robot")]
    done, got = run_robot(
        "*** Settings ***\nLibrary    Process\n\n*** Test Cases ***\nOuter\n    ${r} =    Run Process    %s\n"
        "    Should Be Equal As Integers    ${r.rc}    0\n" % "    ".join(command)
    )
    assert done.returncode == 0, done.stdout.decode()
    assert [e["name"] for e in of(got, "end_test")] == ["Outer"]
    assert len(of(got, "close")) == 1


def test_two_runs_of_one_process_are_both_reported(tmp_path, events):
    (tmp_path / "it.robot").write_text("*** Test Cases ***\nOne\n    No Operation\n")
    code = (
        "import robot\n"
        "for _ in range(2):\n"
        "    robot.run('it.robot', output=None, log=None, report=None, listener=['testwire_robot.Listener'])\n"
    )
    done = run([sys.executable, "-c", code], tmp_path, events)
    assert done.returncode == 0, done.stdout.decode()
    assert len(of(read(events), "close")) == 2


def test_the_path_of_the_file_is_a_listener_too(tmp_path, events):
    (tmp_path / "it.robot").write_text("*** Test Cases ***\nOne\n    No Operation\n")
    done = run(ROBOT + ["--listener", LISTENERS / "testwire_robot.py", "it.robot"], tmp_path, events)
    assert done.returncode == 0 and b"ERROR" not in done.stdout, done.stdout.decode()
    assert [e["event"] for e in read(events)][0] == "start_suite"
    assert len(of(read(events), "end_test")) == 1


@pytest.mark.skipif(MAJOR < 7, reason="listener API 3 has no keywords before Robot 7")
def test_keywords_are_not_reported_twice_where_api_3_has_them(run_robot):
    _, got = run_robot("*** Test Cases ***\nOne\n    No Operation\n")
    assert len(of(got, "start_keyword")) == 1


def test_stopping_at_the_first_failure_ends_well(run_robot):
    code = "*** Test Cases ***\nOne\n    Fail    x\nTwo\n    No Operation\n"
    _, got = run_robot(code, "--exitonfailure")
    assert [e["status"] for e in of(got, "end_test")] == ["FAIL", "FAIL"]
    assert got[-1]["event"] == "close"


def test_more_names_than_are_listed_leave_the_number():
    class Suite:
        def __init__(self, count):
            self.test_count, self.tests, self.suites = count, [], []

    assert _all_tests(Suite(20000)) == []
    assert _all_tests(Suite(20001)) is None
