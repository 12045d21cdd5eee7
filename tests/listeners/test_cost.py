"""What an event costs. The figures are printed for people to compare: the promise is a median below 1 ms."""
import json
import statistics
import time

import testwire_robot
from runners import PYTEST, ROBOT, WITH_LISTENER, WITH_PLUGIN, read, run

TESTS = 300

PROBE = """
import atexit, json, sys, time
import testwire_events

costs = []

def timed(function):
    def call(*arguments, **named):
        start = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            costs.append(time.perf_counter() - start)
    return call

def save():
    with open("costs.json", "w") as file:
        json.dump(costs, file)

atexit.register(save)
"""

PYTEST_PROBE = PROBE + """
import testwire_pytest
recorder = testwire_pytest._Recorder
recorder._safely = timed(recorder._safely)
"""

ROBOT_PROBE = PROBE + """
import functools
import testwire_robot

for name in ("start_test", "end_test", "log_message", "start_body_item", "end_body_item"):
    if hasattr(testwire_robot.Listener, name):
        method = timed(getattr(testwire_robot.Listener, name))
        method.__name__ = name
        setattr(testwire_robot.Listener, name, method)

Listener, Keywords = testwire_robot.Listener, testwire_robot.Keywords
"""


def report(capsys, name, costs):
    costs = sorted(json.loads(costs.read_text()))
    median, p99 = statistics.median(costs), costs[int(len(costs) * 0.99)]
    with capsys.disabled():
        print("\n%s: %d events, median %.0f µs, p99 %.0f µs" % (name, len(costs), median * 1e6, p99 * 1e6))


def test_pytest_events_are_timed(tmp_path, events, capsys):
    (tmp_path / "probe.py").write_text(PYTEST_PROBE)
    (tmp_path / "test_it.py").write_text(
        "import pytest\n@pytest.mark.parametrize('i', range(%d))\n"
        "def test_a(i):\n    print('some output', i)\n    assert i %% 10\n" % TESTS
    )
    done = run(PYTEST + WITH_PLUGIN + ["-p", "probe", "-q", "-p", "no:cacheprovider", "--tb=short"], tmp_path, events)
    assert done.returncode == 1, done.stdout.decode()
    assert sum(e["$report_type"] == "TestReport" for e in read(events)) == 3 * TESTS
    report(capsys, "pytest", tmp_path / "costs.json")


def test_robot_events_are_timed(tmp_path, events, capsys):
    (tmp_path / "probe.py").write_text(ROBOT_PROBE)
    tests = "".join("Test %d\n    Log    message %d\n    No Operation\n" % (n, n) for n in range(TESTS))
    (tmp_path / "it.robot").write_text("*** Test Cases ***\n" + tests)
    listeners = ["--pythonpath", tmp_path, "--listener", "probe.Listener", "--listener", "probe.Keywords"]
    done = run(ROBOT + listeners + ["it.robot"], tmp_path, events)
    assert done.returncode == 0, done.stdout.decode()
    assert sum(e["event"] == "end_test" for e in read(events)) == TESTS
    report(capsys, "robot", tmp_path / "costs.json")


def test_calls_without_an_event_file_are_timed(tmp_path, capsys):
    listener = testwire_robot.Listener()
    assert listener._run.events is None
    start = time.perf_counter()
    for _ in range(10000):
        listener.log_message(None)
    cost = (time.perf_counter() - start) / 10000
    with capsys.disabled():
        print("\nrobot without an event file: %.2f µs a call" % (cost * 1e6))
