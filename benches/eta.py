"""How wrong the time left is that testwire tells, on suites of real runners whose tests sleep, on two workers.

    cargo build --release
    PATH=target/venv/bin:$PATH python3 benches/eta.py [SECONDS] [RUNNER...]

Each suite has as many tests as fit into SECONDS (60) on two workers; most are short and a few long (log-normal). It runs once for
its history and once measured, the suites of all RUNNERs (robot pytest go) side by side, as they only sleep. At each percent of
the measured run, from 20 on, what testwire says is left is compared with what was. Printed are the mean error as a part of
what was left, and the mean error beside the mean of what was left. Give RUNNER=go:3 to measure three times.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

BUILT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "target", "release", "testwire")
TESTWIRE = os.environ.get("TESTWIRE", BUILT)
WORKERS = 2


def durations(seconds, seed):
    """Of a suite that takes so long on the workers."""
    rng, times = random.Random(seed), []
    while sum(times) < seconds * WORKERS:
        times.append(min(rng.lognormvariate(-0.6, 1.3), seconds / 6))
    return times


def write(folder, name, text):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def robot(folder, times):
    for suite in range(6):
        rows = [f"Test {i}\n    Sleep    {t:.3f}s\n" for i, t in enumerate(times) if i * 6 // len(times) == suite]
        write(folder, f"s{suite}.robot", "*** Test Cases ***\n" + "\n".join(rows))
    return ["pabot", "--processes", "2", "--output", "NONE", "."]


def pytest(folder, times):
    for part in range(4):
        rows = [f"def test_{i}():\n    time.sleep({t:.3f})\n" for i, t in enumerate(times) if i * 4 // len(times) == part]
        write(folder, f"test_{part}.py", "import time\n\n" + "\n".join(rows))
    return ["pytest", "-q", "-n", "2", "-p", "no:cacheprovider"]


def go(folder, times):
    write(folder, "go.mod", "module eta\n\ngo 1.21\n")
    for package in range(2):
        mine = [(i, t) for i, t in enumerate(times) if i * 2 // len(times) == package]
        rows = ["package p\n", 'import ("testing"; "time")\n']
        for i, t in mine[:-6]:
            rows.append(f"func TestT{i}(t *testing.T) {{ t.Parallel(); time.Sleep({int(t * 1e6)} * time.Microsecond) }}\n")
        # And some that run one after the other, as parts of another.
        rows.append("func TestAll(t *testing.T) {\n\tt.Parallel()\n")
        rows += [f'\tt.Run("part{i}", func(*testing.T) {{ time.Sleep({int(t * 1e6)} * time.Microsecond) }})\n' for i, t in mine[-6:]]
        rows.append("}\n")
        write(folder, f"p{package}/p_test.go", "\n".join(rows))
    return ["go", "test", "-count=1", "-p", "1", "-parallel", "2", "./..."]


def run(folder, command):
    """Metadata and times of the run's own entries."""
    arguments = ["run", "--output", "ndjson", "--project", "eta", "--state-dir", os.path.join(folder, ".state"), "--", *command]
    done = subprocess.run([TESTWIRE, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode not in (0, 1):
        sys.exit(f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    for line in done.stdout.splitlines():
        # What the runner prints itself may stand before an entry on its line.
        at = line.find('{"labels":')
        if at >= 0:
            entry = json.loads(line[at:])
            yield int(entry["timestamp"]) / 1e9, entry["labels"], entry["metadata"]


def errors(entries):
    """Error and truth in seconds at each percent from 20 on."""
    entries = list(entries)
    of_run = [(time, labels["status"]) for time, labels, _ in entries if labels["kind"] == "run"]
    begun, ended = of_run[0][0], of_run[-1][0]
    said = [(time, m.get("eta_ms")) for time, labels, m in entries if labels["kind"] == "progress"]
    found = []
    for percent in range(20, 100):
        now = begun + (ended - begun) * percent / 100
        time, eta = [one for one in said if one[0] <= now][-1]
        told = max(0, float(eta or 0) / 1e3 - (now - time))
        found.append((told - (ended - now), ended - now))
        if os.environ.get("ETA_SHOW"):
            print(f"{percent} % told {told:.2f} true {ended - now:.2f}", file=sys.stderr)
    return found


def measure(name, seconds, times_measured):
    make = {"robot": robot, "pytest": pytest, "go": go}[name]
    with tempfile.TemporaryDirectory() as folder:
        times = durations(seconds, name)
        command = make(folder, times)
        list(run(folder, command))
        for _ in range(times_measured):
            found = errors(run(folder, command))
            relative = sum(abs(error) / left for error, left in found) / len(found)
            beside = sum(abs(error) for error, _ in found) / sum(left for _, left in found)
            print(f"{name}: {len(times)} tests, {found[0][1] / 0.8:.1f} s: {relative:.1%} of what is left, {beside:.1%} of its mean", flush=True)


def main():
    arguments = sys.argv[1:]
    seconds = float(arguments.pop(0)) if arguments and arguments[0].replace(".", "").isdigit() else 60
    chosen = [name.partition(":") for name in arguments or ["robot", "pytest", "go"]]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda one: measure(one[0], seconds, int(one[2] or 1)), chosen))


if __name__ == "__main__":
    main()
