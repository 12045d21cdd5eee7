"""The module that runs unittest and tells what it does."""
import sys

from runners import PROJECTS, read, run

UNITTEST = [sys.executable, "-m", "testwire_unittest"]


def test_every_test_has_a_start_and_one_end_and_the_plan_names_them(events):
    done = run(UNITTEST, PROJECTS / "unittest", events)
    assert done.returncode == 1, done.stdout
    seen = read(events)
    assert seen[0]["testwire"] == 1 and seen[0]["runner"] == "unittest"
    planned = [name for event in seen if event["event"] == "planned" for name in event["tests"]]
    ends = [event["test"] for event in seen if event["event"] == "test_finished"]
    starts = [event["test"] for event in seen if event["event"] == "test_started"]
    assert len(ends) == len(set(ends))
    assert set(starts) == set(ends) - {"setUpClass (test_till.NoPower)"}
    assert set(planned) - set(ends) == {"test_till.NoPower.test_never"}


def test_without_a_place_to_write_to_it_is_unittest(tmp_path):
    bare = run([sys.executable, "-m", "unittest", "-h"], tmp_path)
    assert run(UNITTEST + ["-h"], tmp_path).stdout == bare.stdout


def test_a_file_that_cannot_be_written_changes_nothing(tmp_path, events):
    events.parent.rmdir()
    done = run(UNITTEST, PROJECTS / "unittest", events)
    assert done.returncode == 1
    assert b"failures=4, errors=3" in done.stdout


def test_a_clock_that_tests_replace_is_not_used(tmp_path, events):
    code = "import time, unittest\ntime.time = None\nclass A(unittest.TestCase):\n def test_a(self): pass\n"
    (tmp_path / "test_a.py").write_text(code)
    done = run(UNITTEST + ["test_a"], tmp_path, events)
    assert done.returncode == 0, done.stdout
    assert [event["status"] for event in read(events) if event["event"] == "test_finished"] == ["passed"]


def test_a_skip_in_a_subtest_skips_the_test_once(tmp_path, events):
    code = (
        "import unittest\nclass A(unittest.TestCase):\n def test_a(self):\n  for i in range(3):\n"
        "   with self.subTest(i=i):\n    if i == 1: self.skipTest('no power')\n"
        " def test_b(self):\n  with self.subTest(i=1): self.skipTest('dark')\n  self.fail('after all')\n"
    )
    (tmp_path / "test_a.py").write_text(code)
    done = run(UNITTEST + ["test_a"], tmp_path, events)
    assert done.returncode == 1, done.stdout
    ends = [(event["test"], event["status"]) for event in read(events) if event["event"] == "test_finished"]
    assert ends == [("test_a.A.test_a", "skipped"), ("test_a.A.test_b", "failed")]
