"""Fixtures of the listeners' tests."""
import sys

import pytest
from runners import LISTENERS, PYTEST, ROBOT, WITH_LISTENER, WITH_PLUGIN, read, run

sys.path.insert(0, str(LISTENERS))


@pytest.fixture
def events(tmp_path):
    return tmp_path / "events" / "run.jsonl"


@pytest.fixture(autouse=True)
def _events_directory(events):
    events.parent.mkdir()


@pytest.fixture
def run_pytest(tmp_path, events):
    """Run pytest with the plugin on one file of tests; gives the process and its events."""

    def start(code, *arguments, plugin=WITH_PLUGIN):
        project = tmp_path / "project"
        project.mkdir(exist_ok=True)
        (project / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
        (project / "test_it.py").write_text(code, encoding="utf-8")
        done = run(PYTEST + plugin + list(arguments), project, events)
        return done, read(events) if events.exists() else []

    return start


@pytest.fixture
def run_robot(tmp_path, events):
    """Run robot with the listener on one suite file; gives the process and its events."""

    def start(code, *arguments):
        suite = tmp_path / "it.robot"
        suite.write_text(code, encoding="utf-8")
        done = run(ROBOT + WITH_LISTENER + list(arguments) + [suite], tmp_path, events)
        return done, read(events) if events.exists() else []

    return start
