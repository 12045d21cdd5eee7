"""The event file under bad conditions."""
import json
import os
import subprocess
import sys
import textwrap

import pytest
from runners import LISTENERS, environment, read
from testwire_events import EventFile


def dropped(count):
    return {"event": "dropped", "count": count}


@pytest.fixture
def file(events):
    file = EventFile(str(events), dropped)
    yield file
    file.close()


def test_one_line_per_event(file, events):
    file.write({"n": 1, "text": "two\nlines größe \x00"})
    file.write({"n": 2})
    assert events.read_bytes() == '{"n":1,"text":"two\\nlines größe \\u0000"}\n{"n":2}\n'.encode("utf-8")


def test_nothing_is_opened_before_the_first_event(file, events):
    assert not events.exists()


def test_lone_surrogates_become_visible_text(file, events):
    file.write({"text": "\udc80 and \ud83d\ude00 and \\ud800"})
    (event,) = read(events)
    assert event["text"].startswith("\\udc80 and ") and event["text"].endswith(" and \\ud800")


def test_values_that_json_does_not_know_become_text(file, events):
    class Broken:
        def __str__(self):
            raise RuntimeError("no")

    file.write({"a": {1, 1}, "b": Broken()})
    assert read(events) == [{"a": "{1}", "b": "<Broken>"}]


def test_an_event_that_cannot_be_encoded_is_counted(file, events):
    loop = []
    loop.append(loop)
    file.write({"loop": loop})
    file.lost()
    file.write({"n": 1})
    assert read(events) == [dropped(2), {"n": 1}]


def test_a_removed_file_is_made_anew(file, events):
    file.write({"n": 1})
    events.unlink()
    file.write({"n": 2})
    assert read(events) == [{"n": 2}]


def test_a_replaced_file_is_followed_by_name(file, events, tmp_path):
    file.write({"n": 1})
    other = tmp_path / "other"
    other.write_text('{"n":0}\n')
    os.replace(str(other), str(events))
    file.write({"n": 2})
    assert read(events) == [{"n": 0}, {"n": 2}]


def test_a_truncated_file_is_appended_to_without_a_hole(file, events):
    file.write({"n": 1})
    os.truncate(str(events), 0)
    file.write({"n": 2})
    assert read(events) == [{"n": 2}]


def test_a_missing_directory_costs_events_until_it_is_there(tmp_path):
    path = tmp_path / "later" / "run.jsonl"
    file = EventFile(str(path), dropped)
    file.write({"n": 1})
    file.write({"n": 2})
    path.parent.mkdir()
    file._retry_at = 0.0
    file.write({"n": 3})
    file.close()
    assert read(path) == [dropped(2), {"n": 3}]


def test_opening_is_not_tried_for_every_event(tmp_path):
    tries = []

    class Counting(EventFile):
        @staticmethod
        def _open(*arguments):
            tries.append(arguments)
            raise PermissionError

    file = Counting(str(tmp_path / "x"), dropped)
    for n in range(100):
        file.write({"n": n})
    assert len(tries) == 1


@pytest.mark.parametrize("path", ["/dev/full", "."], ids=["full", "directory"])
def test_a_file_that_takes_nothing_raises_nothing(path):
    file = EventFile(path, dropped)
    for n in range(3):
        file.write({"n": n})
    file.close()


def test_a_pipe_without_a_reader_blocks_nobody(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(str(path))
    file = EventFile(str(path), dropped)
    file.write({"n": 1})
    reader = os.open(str(path), os.O_RDONLY | os.O_NONBLOCK)
    file._retry_at = 0.0
    for n in range(2000):
        file.write({"n": n, "text": "x" * 100})
    file.close()
    assert os.read(reader, 100).startswith(b'{"event":"dropped","count":1}\n{"n":0,')
    os.close(reader)


def script(code, path):
    """Run code that has `file` in a process of its own, for limits that cannot be taken back."""
    code = "import os, sys\nfrom testwire_events import EventFile\n" + textwrap.dedent(
        """
        file = EventFile(sys.argv[1], lambda count: {"event": "dropped", "count": count})
        """
    ) + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", code, str(path)], env=environment(), timeout=30, check=True)


def test_after_a_short_write_the_next_line_starts_afresh(events):
    # A file-size limit acts like a full disk: the line that crosses it is cut, the next ones fail.
    script(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (50, resource.RLIM_INFINITY))
        for n in range(10):
            file.write({"n": n, "text": "0123456789"})
        assert os.path.getsize(sys.argv[1]) == 50
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        file.write({"n": 10})
        file.close()
        """,
        events,
    )
    lines = events.read_bytes().split(b"\n")
    assert [json.loads(line) for line in (lines[0], *lines[2:-1])] == [
        {"n": 0, "text": "0123456789"},
        dropped(9),
        {"n": 10},
    ]
    assert b'{"n":1,"text":"0123456789"}'.startswith(lines[1]) and lines[1]


def test_drops_at_the_very_end_are_told_on_closing(events):
    script(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        file.write({"n": 1})
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        file.close()
        """,
        events,
    )
    assert events.read_bytes().strip() == b'{"event":"dropped","count":1}'


def test_a_forked_child_and_an_executed_one_have_no_part_in_it(events):
    script(
        """
        import subprocess
        file.write({"n": 1})
        child = os.fork()
        file.write({"n": 2})
        if child == 0:
            file.close()
            os._exit(0)
        os.waitpid(child, 0)
        listing = subprocess.run(["ls", "-l", "/proc/self/fd"], close_fds=False, stdout=subprocess.PIPE).stdout
        assert b"run.jsonl" not in listing, listing
        file.close()
        """,
        events,
    )
    assert read(events) == [{"n": 1}, {"n": 2}]


def test_a_descriptor_that_was_closed_and_given_away_is_not_written_to(events, tmp_path):
    other = tmp_path / "other"
    script(
        """
        file.write({"n": 1})
        os.closerange(3, 100)
        stolen = os.open(sys.argv[1] + ".other", os.O_CREAT | os.O_WRONLY)
        file.write({"n": 2})
        os.write(stolen, b"mine")
        file.close()
        os.write(stolen, b" still")
        """,
        events,
    )
    assert read(events) == [{"n": 1}, {"n": 2}]
    assert (events.parent / (events.name + ".other")).read_text() == "mine still"


def test_lines_of_several_processes_stay_whole(events):
    code = (
        "import sys; from testwire_events import EventFile\n"
        "file = EventFile(sys.argv[1], None)\n"
        "for n in range(500): file.write({'who': sys.argv[2], 'n': n, 'text': 'x' * (n * 37 % 5000)})\n"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(events), str(who)], env=environment()) for who in range(4)
    ]
    assert [worker.wait(timeout=60) for worker in workers] == [0] * 4
    got = read(events)
    for who in range(4):
        assert [e["n"] for e in got if e["who"] == str(who)] == list(range(500))


def test_the_event_file_is_for_its_owner_only(file, events):
    file.write({"n": 1})
    assert events.stat().st_mode & 0o777 == 0o600


def test_listeners_import_nothing_beyond_the_standard_library_and_their_runner():
    allowed = {"json", "os", "re", "time", "collections", "datetime", "platform", "pytest", "robot", "testwire_events"}
    allowed |= {"queue", "sys", "threading"}
    allowed |= {"functools", "runpy", "traceback", "unittest"}
    for source in LISTENERS.glob("*.py"):
        for line in source.read_text(encoding="utf-8").splitlines():
            if line.startswith(("import ", "from ")):
                assert line.split()[1].split(".")[0] in allowed, line
