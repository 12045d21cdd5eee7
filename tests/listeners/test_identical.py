"""A run is the same with the listener, without it, and with one that cannot write."""
import os
import re
import shutil
import threading

import pytest
from runners import LISTENERS, PROJECTS, PYTEST, ROBOT, WITH_LISTENER, WITH_PLUGIN, run

RUNS = {
    "pytest": (PYTEST, WITH_PLUGIN, ["test_output.py", "test_flaky.py"], "pytest"),
    "xdist": (PYTEST, WITH_PLUGIN, ["-n", "1", "test_output.py", "test_flaky.py"], "pytest"),
    "robot": (ROBOT, WITH_LISTENER, ["--include", "payments", "--include", "warehouse", "store"], "robot"),
}


def unchanging(output):
    """Output less what differs from run to run: times and addresses."""
    text = output.decode("utf-8")
    text = re.sub(r"in \d+\.\d+s(?: \(.*?\))?|\bin \d.*seconds?.*", "in TIME", text)
    text = re.sub(r"0x[0-9a-f]{6,}", "ADDRESS", text)
    return re.sub(r"=+( .* )=+", r"=\1=", text)


@pytest.fixture(scope="module")
def bare():
    """Exit code and output of each runner without any listener."""
    known = {}

    def get(runner):
        if runner not in known:
            command, _, arguments, project = RUNS[runner]
            done = run(command + arguments, PROJECTS / project)
            known[runner] = (done.returncode, unchanging(done.stdout))
        return known[runner]

    return get


@pytest.fixture
def places(tmp_path, events):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    os.mkfifo(str(tmp_path / "pipe"))
    return {
        "unset": None,
        "empty": "",
        "good": events,  # the control: here everything is written
        "full": "/dev/full",
        "directory": tmp_path,
        "missing": tmp_path / "no" / "such" / "run.jsonl",
        "locked": locked / "run.jsonl",
        "impossible": "/proc/run.jsonl",
        "pipe": tmp_path / "pipe",
    }


PLACES = ["unset", "empty", "good", "full", "directory", "missing", "locked", "impossible", "pipe"]


@pytest.mark.parametrize(
    "runner, place",
    [(runner, place) for runner in ("pytest", "robot") for place in PLACES] + [("xdist", "good"), ("xdist", "full")],
)
def test_exit_code_and_output_are_those_of_the_bare_run(bare, places, runner, place):
    command, listener, arguments, project = RUNS[runner]
    done = run(command + listener + arguments, PROJECTS / project, places[place])
    assert (done.returncode, unchanging(done.stdout)) == bare(runner)
    assert done.returncode not in (0, 2, 3, 4)


@pytest.mark.parametrize("runner", ["pytest", "robot"])
@pytest.mark.parametrize("deed", ["remove", "replace", "truncate", "remove_directory"])
def test_whatever_happens_to_the_file_the_run_goes_on(bare, events, runner, deed, tmp_path):
    stop = threading.Event()

    def meddle():
        while not stop.wait(0.05):
            try:
                if deed == "remove":
                    events.unlink()
                elif deed == "replace":
                    (tmp_path / "new").write_text("")
                    os.replace(str(tmp_path / "new"), str(events))
                elif deed == "truncate":
                    os.truncate(str(events), 0)
                else:
                    shutil.rmtree(str(events.parent))
            except OSError:
                pass

    thread = threading.Thread(target=meddle)
    thread.start()
    try:
        command, listener, arguments, project = RUNS[runner]
        done = run(command + listener + arguments, PROJECTS / project, events)
    finally:
        stop.set()
        thread.join()
    assert (done.returncode, unchanging(done.stdout)) == bare(runner)


def test_listeners_leave_nothing_behind_in_their_directory():
    # junit is the source of the jar.
    left = sorted(p.name for p in LISTENERS.iterdir() if p.name not in ("__pycache__", "junit"))
    assert [name for name in left if not name.lower().startswith("testwire")] == []
    assert [name for name in left if name.endswith(".py")] == [
        "testwire_events.py",
        "testwire_pytest.py",
        "testwire_robot.py",
        "testwire_unittest.py",
    ]
