"""Helpers: the runners are those of the environment that runs these tests."""
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LISTENERS = ROOT / "listeners"
PROJECTS = ROOT / "tests" / "projects"

PYTEST = [sys.executable, "-m", "pytest"]
ROBOT = [sys.executable, "-m", "robot", "--output", "NONE", "--log", "NONE", "--report", "NONE"]
WITH_PLUGIN = ["-p", "testwire_pytest"]
WITH_LISTENER = ["--listener", "testwire_robot.Listener", "--listener", "testwire_robot.Keywords"]


def environment(events=None):
    """The environment of a runner; nothing of an outer run leaks in."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TESTWIRE_", "PYTEST_"))}
    env.update(PYTHONPATH=str(LISTENERS), PYTHONDONTWRITEBYTECODE="1", PYTHONIOENCODING="utf-8", COLUMNS="100")
    env["PATH"] = os.path.dirname(sys.executable) + os.pathsep + env["PATH"]
    if events is not None:
        env["TESTWIRE_EVENTS"] = str(events)
    return env


def run(command, cwd, events=None, **options):
    """Run to the end; at most a minute."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=str(cwd),
        env=environment(events),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        **options
    )


def read(path):
    """Events of a file, every line of which has to be empty or one JSON object in UTF-8."""
    text = Path(path).read_bytes().decode("utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.split("\n") if line]


def truth(project):
    return json.loads((PROJECTS / project / "truth.json").read_text(encoding="utf-8"))
