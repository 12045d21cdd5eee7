"""Events over HTTP: TESTWIRE_URL instead of TESTWIRE_EVENTS."""
import json
import os
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from runners import PYTEST, ROBOT, WITH_LISTENER, WITH_PLUGIN, environment
from testwire_events import EventSender

TESTS = """
import pytest
@pytest.mark.parametrize("n", range(5))
def test_it(n):
    assert n != 3
"""


class Server(ThreadingHTTPServer):
    """Takes lines as `testwire listen` does. `script` gives the answer to the request with this number: a status, or
    None for none although the lines are taken."""

    daemon_threads = True

    def __init__(self, script=lambda number: 204, address=("127.0.0.1", 0)):
        super().__init__(address, Handler)
        self.script = script
        self.requests = []
        self.taken = {}  # run id → events
        self.next = {}  # writer → number of its next line
        self.lock = threading.Lock()
        self.url = "http://127.0.0.1:%d" % self.server_port
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def take(self, query, body):
        run, writer, line = query["run_id"][0], query["writer"][0], int(query["line"][0])
        for text in body.decode("utf-8").splitlines():
            if line == self.next.setdefault(writer, 1):
                self.taken.setdefault(run, []).append(json.loads(text))
                self.next[writer] += 1
            line += 1

    def events(self):
        (events,) = self.taken.values()
        return events


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            number = len(self.server.requests)
            parts = urlsplit(self.path)
            query = parse_qs(parts.query)
            self.server.requests.append((parts.path, query, self.headers.get("Authorization")))
            status = self.server.script(number)
            if status in (204, None):
                self.server.take(query, body)
        if status is None:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = Server()
    yield server
    server.shutdown()


def remotely(command, cwd, url, **more):
    env = environment()
    env.update(TESTWIRE_URL=url, **more)
    command = [str(part) for part in command]
    return subprocess.run(command, cwd=str(cwd), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)


def project(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    (tmp_path / "test_it.py").write_text(TESTS)
    return tmp_path


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_pytest_session_arrives_whole_and_in_order(server, tmp_path):
    more = {"TESTWIRE_TOKEN": "s3cret", "TESTWIRE_RUN_ID": "r 1"}
    done = remotely(PYTEST + WITH_PLUGIN, project(tmp_path), server.url + "/t/x/", **more)
    assert done.returncode == 1, done.stdout
    assert done.stderr == b""
    kinds = [event["$report_type"] for event in server.taken["r 1"]]
    assert kinds[:2] == ["SessionStart", "Collected"] and kinds[-1] == "SessionFinish"
    assert kinds.count("TestReport") == 15
    path, query, token = server.requests[0]
    assert (path, query["format"], token) == ("/t/x/v1/events", ["pytest"], "Bearer s3cret")


def test_xdist_workers_write_to_the_same_run(server, tmp_path):
    done = remotely(PYTEST + WITH_PLUGIN + ["-n", "2"], project(tmp_path), server.url)
    assert done.returncode == 1, done.stdout
    events = server.events()
    assert sum(event["$report_type"] == "TestStart" for event in events) == 5
    assert len(server.next) == 3, "the controller and two workers"


def test_a_robot_run_arrives_whole(server, tmp_path):
    (tmp_path / "it.robot").write_text("*** Test Cases ***\nOne\n    Log    hello\nTwo\n    Fail    no\n")
    done = remotely(ROBOT + WITH_LISTENER + ["it.robot"], tmp_path, server.url)
    assert done.returncode == 1, done.stdout
    names = [event["event"] for event in server.events()]
    assert names[0] == "start_suite" and names[-1] == "close" and names.count("end_test") == 2
    assert server.requests[0][1]["format"] == ["robot"]


def test_a_test_run_inside_a_reported_run_is_not_reported(server, tmp_path):
    project(tmp_path)
    (tmp_path / "test_it.py").write_text(
        "import subprocess, sys\ndef test_outer(tmp_path):\n"
        "    (tmp_path / 'test_inner.py').write_text('def test_inner(): pass')\n"
        "    subprocess.run([sys.executable, '-m', 'pytest', '-p', 'testwire_pytest', str(tmp_path)], check=True)\n"
    )
    assert remotely(PYTEST + WITH_PLUGIN, tmp_path, server.url).returncode == 0
    assert sum(event["$report_type"] == "SessionStart" for event in server.events()) == 1


def test_what_is_not_answered_is_sent_again_and_taken_once(tmp_path):
    script = {0: 503, 1: None, 2: 500, 4: None, 5: 429}
    server = Server(lambda number: script.get(number, 204))
    sender = EventSender(server.url + "/v1/events?run_id=r&format=pytest", None)
    for number in range(200):
        sender.write({"number": number})
        if number % 50 == 0:
            time.sleep(0.15)
    sender.close()
    assert [event["number"] for event in server.taken["r"]] == list(range(200))
    server.shutdown()


def test_events_wait_for_a_server_that_comes_later(tmp_path):
    port = closed_port()
    sender = EventSender("http://127.0.0.1:%d/v1/events?run_id=r" % port, None)
    for number in range(10):
        sender.write({"number": number})
    time.sleep(0.5)
    server = Server(address=("127.0.0.1", port))
    sender.close()
    assert len(server.taken["r"]) == 10
    server.shutdown()


def test_a_server_that_is_not_there_costs_a_bounded_wait_and_is_said(tmp_path):
    plain = remotely(PYTEST, project(tmp_path), "http://127.0.0.1:1")
    begun = time.monotonic()
    done = remotely(PYTEST + WITH_PLUGIN, tmp_path, "http://127.0.0.1:%d" % closed_port())
    assert time.monotonic() - begun < 30
    assert done.returncode == plain.returncode == 1
    assert b"events could not be sent to http://127.0.0.1:" in done.stderr, done.stderr


def test_a_server_that_hangs_does_not_hold_up_the_tests(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        sender = EventSender("http://127.0.0.1:%d/v1/events?run_id=r" % silent.getsockname()[1], None)
        begun = time.monotonic()
        for number in range(20000):
            sender.write({"number": number})
        assert time.monotonic() - begun < 5
        sender.close()
        assert time.monotonic() - begun < 20


def test_a_refusal_is_not_tried_again_and_is_said(tmp_path):
    server = Server(lambda number: 401)
    done = remotely(PYTEST + WITH_PLUGIN, project(tmp_path), server.url)
    assert done.returncode == 1
    assert len(server.requests) == 1
    assert b"could not be sent" in done.stderr and b"it answers 401" in done.stderr, done.stderr
    server.shutdown()


def test_what_does_not_fit_is_dropped_counted_and_reported(capsys):
    class Small(EventSender):
        _MOST_WAITING = 1000

    gate = threading.Event()
    server = Server(lambda number: 204 if gate.is_set() else 503)
    sender = Small(server.url + "/v1/events?run_id=r", lambda count: {"dropped": count})
    for number in range(300):
        sender.write({"number": number})
    gate.set()
    sender.close()
    events = server.taken["r"]
    assert 0 < len(events) < 300
    assert events[-1]["dropped"] + len(events) - 1 == 300
    assert "could not be sent" in capsys.readouterr().err
    server.shutdown()


@pytest.mark.parametrize("url", ["127.0.0.1:8765", "ftp://x", "http://", "http://x:port"])
def test_an_address_that_is_none_is_said_and_the_run_goes_on(tmp_path, url):
    done = remotely(PYTEST + WITH_PLUGIN, project(tmp_path), url)
    assert done.returncode == 1, done.stdout
    assert b"TESTWIRE_URL is not usable" in done.stderr


def test_a_forked_child_does_not_write(server):
    sender = EventSender(server.url + "/v1/events?run_id=r", None)
    sender.write({"number": 1})
    child = os.fork()
    if child == 0:
        sender.write({"number": 2})
        sender.close()
        os._exit(0)
    os.waitpid(child, 0)
    sender.close()
    assert server.events() == [{"number": 1}]
