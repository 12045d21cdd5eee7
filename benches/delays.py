"""How long it takes from a test's end to its entry in the answer of a query, for the sample project of each runner.

    cargo build --release
    LOKI_URL=http://127.0.0.1:3100 PATH=target/venv/bin:$PATH python3 benches/delays.py [RUNNER...]

Needs what tests/run.sh has made below target. Loki is asked every 10 ms while the command runs and until all ends are there. A
delay counts from the entry's time, which is the runner's own where it tells one, else when testwire read the line, to the
answer with the entry; the clock of Java counts whole milliseconds.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
TESTWIRE = os.environ.get("TESTWIRE", os.path.join(TARGET, "release", "testwire"))
NODE = os.path.join(os.environ.get("TESTWIRE_TEST_NODE", os.path.join(TARGET, "js")), "node_modules")
MAVEN = os.environ.get("TESTWIRE_TEST_MAVEN", os.path.join(TARGET, "maven", "repository"))
LOKI = os.environ.get("LOKI_URL", "http://127.0.0.1:3100")
EVERY = 0.01
ENDS = {"passed", "failed", "errored", "skipped", "xfailed", "xpassed", "retried"}

RUNNERS = {
    "pytest": ("pytest", "pytest -n 2"),
    "robot": ("robot", "robot --output NONE store"),
    "pabot": ("robot", "pabot --processes 2 --output NONE store"),
    "go": ("go", "go test -count=1 ./..."),
    "jest": ("js/jest", "npx jest"),
    "vitest": ("js/vitest", "npx vitest run"),
    "mocha": ("js/mocha", "npx mocha test"),
    "playwright": ("js/playwright", "npx playwright test"),
    "cucumber": ("js/cucumber", "npm -s test"),
    "node": ("js/node", "node --test test/"),
    "cargo": ("cargo", "cargo test --offline --no-fail-fast"),
    "nextest": ("cargo", "cargo nextest run --offline --no-fail-fast"),
    "unittest": ("unittest", "python -m unittest"),
    "prove": ("prove", "prove"),
    "ctest": ("ctest", "ctest"),
    "maven": ("maven", f"mvn -q -B -o -Dmaven.repo.local={MAVEN} test"),
}


class Poller(threading.Thread):
    """Notes when an end is seen first."""

    def __init__(self, project):
        super().__init__(daemon=True)
        self.query = f'{{service_name="{project}", kind="test", status=~"{"|".join(sorted(ENDS))}"}}'
        self.begun = time.time_ns() - 5_000_000_000
        self.delays, self.seen, self.stop = [], set(), False

    def run(self):
        while not self.stop:
            self.ask()
            time.sleep(EVERY)

    def ask(self):
        asked = {"query": self.query, "start": self.begun, "end": time.time_ns() + 10**9, "limit": 5000}
        with urllib.request.urlopen(f"{LOKI}/loki/api/v1/query_range?{urllib.parse.urlencode(asked)}") as answer:
            streams = json.load(answer)["data"]["result"]
        now = time.time_ns()
        for stream in streams:
            for value in stream["values"]:
                key = (value[0], stream["stream"].get("test"), value[1])
                if key not in self.seen:
                    self.seen.add(key)
                    self.delays.append((now - int(value[0])) / 1e6)


def measure(name):
    sample, command = RUNNERS[name]
    with tempfile.TemporaryDirectory() as folder:
        work = os.path.join(folder, "work")
        shutil.copytree(os.path.join(ROOT, "tests", "projects", sample), work)
        if sample.startswith("js/"):
            os.symlink(NODE, os.path.join(work, "node_modules"))
        # The first run builds, and fills caches.
        subprocess.run(command.split(), cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        project = f"delays-{name}-{time.time_ns()}"
        poller = Poller(project)
        poller.start()
        state = os.path.join(folder, "state")
        arguments = [TESTWIRE, "run", "--loki-url", LOKI, "--project", project, "--state-dir", state, "--", *command.split()]
        done = subprocess.run(arguments, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(0.5)
        poller.stop = True
        poller.join()
        poller.ask()
    if not poller.delays:
        return print(f"{name}: no test ended: {done.stderr[-500:]}", flush=True)
    delays = sorted(poller.delays)
    ninety = delays[max(0, round(len(delays) * 0.9) - 1)]
    figures = f"median {statistics.median(delays):.0f} ms, of nine in ten {ninety:.0f}, worst {delays[-1]:.0f}"
    print(f"{name}: {len(delays)} ends: {figures}", flush=True)


def main():
    for name in sys.argv[1:] or RUNNERS:
        measure(name)


if __name__ == "__main__":
    main()
