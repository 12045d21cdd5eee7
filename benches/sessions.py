"""How much longer a pytest session takes that pytest-rt reports to `testwire listen`, whatever becomes of Loki and of testwire.

    python3 benches/sessions.py TESTWIRE PYTEST [ROUNDS]

TESTWIRE is a release build; PYTEST lies beside an installed pytest-rt (tests/requirements-clients.txt). LOKI_URL names a Loki;
else a server takes everything. A session is 25 tests that sleep for 0.2 s, so that what else the machine does hardly counts.
The ways take turns, so that they share what the machine is like; medians are printed, and the spread of the bare session.
"""

import http.client
import http.server
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

TESTS, SLEEP = 25, 0.2
BUSY_PER_SECOND = 500
BUSY_BODY = b'{"event_type": "app_log", "message": "others are busy", "source": "other"}'


class Sink(http.server.BaseHTTPRequestHandler):
    """A Loki that takes everything."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class Daemon:
    def __init__(self, binary, state, loki, address="127.0.0.1:0"):
        command = [binary, "listen", "--listen", address, "--state-dir", state, "--loki-url", loki, "--project", "sessions"]
        self.arguments = (binary, state, loki)
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.address = self.process.stderr.readline().strip().rsplit("/", 1)[1]
        # Nobody reads on; it says little.

    def end(self, with_signal=signal.SIGTERM):
        self.process.send_signal(with_signal)
        self.process.wait()


def free_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return "127.0.0.1:%d" % free.getsockname()[1]


def keep_busy(address, over):
    host, port = address.split(":")
    begun, sent = time.monotonic(), 0
    while not over.is_set():
        connection = http.client.HTTPConnection(host, int(port))
        connection.request("POST", "/log", BUSY_BODY)
        assert connection.getresponse().status == 200
        connection.close()
        sent += 1
        time.sleep(max(0, begun + sent / BUSY_PER_SECOND - time.monotonic()))


def session(pytest, folder, daemon=None):
    options = ["--rt", f"--rtu=http://{daemon.address}/loader"] if daemon else []
    begun = time.monotonic()
    done = subprocess.run([pytest, "-q", "-p", "no:cacheprovider", *options], cwd=folder, capture_output=True, text=True)
    took = time.monotonic() - begun
    assert done.returncode == 0 and f"{TESTS} passed" in done.stdout, done.stdout + done.stderr
    return took


def kill_and_restart(daemon, after):
    def work():
        time.sleep(after)
        daemon.end(signal.SIGKILL)
        time.sleep(0.5)
        daemon.process = Daemon(*daemon.arguments, daemon.address).process

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def measure(way, binary, pytest, folder, loki):
    with tempfile.TemporaryDirectory() as state:
        daemon = Daemon(binary, state, f"http://{free_address()}" if way == "Loki down" else loki)
        over, others = threading.Event(), []
        try:
            if way.startswith("busy"):
                others.append(threading.Thread(target=keep_busy, args=(daemon.address, over)))
                others[0].start()
            if way == "killed and restarted":
                others.append(kill_and_restart(daemon, TESTS * SLEEP / 2))
            return session(pytest, folder, None if way in ("bare", "busy, bare") else daemon)
        finally:
            over.set()
            for thread in others:
                thread.join()
            daemon.end(signal.SIGKILL)


def main():
    binary, pytest = map(os.path.abspath, sys.argv[1:3])
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    loki = os.environ.get("LOKI_URL")
    if not loki:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        loki = f"http://127.0.0.1:{server.server_port}"
    ways = ["bare", "reported", "Loki down", "killed and restarted", "busy, bare", "busy"]
    times = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "test_sleep.py"), "w") as file:
            file.write("import pytest, time\n")
            file.write(f"@pytest.mark.parametrize('n', range({TESTS}))\ndef test_sleep(n):\n    time.sleep({SLEEP})\n")
        print("load before:", open("/proc/loadavg").read().strip())
        for _ in range(rounds):
            for way in ways:
                times[way].append(measure(way, binary, pytest, folder, loki))
    bare = statistics.median(times["bare"])
    print(f"bare sessions took {min(times['bare']):.3f} to {max(times['bare']):.3f} s")
    for way in ways:
        median = statistics.median(times[way])
        print(f"{way:22} {median:.3f} s  {100 * (median / bare - 1):+.1f} %  slowest {max(times[way]):.3f} s")


main()
