"""What a post costs pytest-rt: to testwire, to testwire while Loki is down, and to a server that does nothing.

    cargo build --release
    target/clients/venv/bin/python benches/clients.py [POSTS] [LOKI_URL]

tests/run.sh installs that Python. The servers take turns post by post, so that whatever else the machine does hits all alike.
Loki need not be there: without its URL, the one that is up takes its entries nowhere (`--output none`).
"""

import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time

import requests

TESTWIRE = os.path.join(os.path.dirname(__file__), "..", "target", "release", "testwire")
HEADERS = {"Content-type": "application/json", "Accept": "text/plain"}


async def nothing(reader, writer):
    """Answers as Testgr does, and that is all."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    await reader.readexactly(int(lengths[0]))
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


def serve_nothing(port):
    async def serve():
        server = await asyncio.start_server(nothing, "127.0.0.1", port)
        await server.serve_forever()

    asyncio.run(serve())


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(port):
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.02)
    sys.exit("a server did not start")


def start(command, port):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(port)
    return process


def testwire(port, *more):
    state = tempfile.mkdtemp()
    return start([TESTWIRE, "listen", "--listen", f"127.0.0.1:{port}", "--state-dir", state, *more], port)


def post(port, message):
    """As the plugin does it: `requests.post`, a connection each."""
    begun = time.perf_counter()
    answer = requests.post(f"http://127.0.0.1:{port}/loader", data=json.dumps(message), headers=HEADERS)
    assert answer.status_code == 200, answer
    return time.perf_counter() - begun


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    up = ["--loki-url", sys.argv[2]] if len(sys.argv) > 2 else ["--output", "none"]
    ports = {"a server that does nothing": free_port(), "testwire": free_port(), "testwire, Loki down": free_port()}
    empty, shipping, spooling = ports.values()
    processes = [
        start([sys.executable, __file__, "serve", str(empty)], empty),
        testwire(shipping, *up),
        # Nobody answers there.
        testwire(spooling, "--loki-url", "http://127.0.0.1:9", "--drain-timeout", "0s"),
    ]
    tests = [{"nodeid": f"bench.py::test[{n}]", "uuid": str(n)} for n in range(count)]
    for name, port in ports.items():
        post(port, {"fw": "2", "type": "startTestRun", "tests": tests, "startTime": time.time(), "job_id": name})
    took = {name: [] for name in ports}
    for n in range(count):
        for name in random.sample(list(ports), len(ports)):
            item = {"fw": "2", "job_id": name, "uuid": str(n // 2), "custom_id": None}
            if n % 2 == 0:
                item |= {"type": "startTestItem", "startTime": str(time.time())}
            else:
                item |= {"type": "stopTestItem", "stopTime": str(time.time()), "status": "passed", "msg": "", "screens": ""}
            took[name].append(post(ports[name], item))
    for name, times in took.items():
        times.sort()
        shown = [f"{what} {times[int(share * (count - 1))] * 1000:6.2f}" for what, share in
                 [("min", 0), ("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1)]]
        print(f"{name:26} {'  '.join(shown)} ms")
    for process in processes:
        process.terminate()
        process.wait()


if sys.argv[1:2] == ["serve"]:
    serve_nothing(int(sys.argv[2]))
else:
    main()
