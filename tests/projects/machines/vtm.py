"""A machine of System Test Progress Tracking: posts a dry run, then the start and stop of each test. Standard library only.

Usage: vtm.py BASE_URL [ITEMS]. With ITEMS, the script of that test raises, which ends the client before it says so. Prints its own counts as JSON. As the original, it opens a connection for each post, waits
without a limit, and ignores what it is answered; it goes on when nobody answers.
"""

import datetime
import json
import sys
import urllib.request

# Scenario, and its tests as directory, file and status. One file is there twice; the last script sets no status.
PLAN = [
    ("scenario_lamp.py", [("lamp", "01_on.py", "passed"), ("lamp", "02_off.py", "failed"), ("lamp", "03_dim.py", "warning")]),
    ("scenario_door.py", [("door", "01_open.py", "error"), ("door", "01_open.py", "passed"), ("door", "02_lock.py", "unknown")]),
    ("scenario_trunk.py", [("trunk", "01_open.py", "passed"), ("trunk", "02_häuser.py", "passed"), ("trunk", "03_shut.py", None)]),
]
ROOT = "/vtm/test_cases"


def now():
    """Local, without a zone; without a fraction when there is none."""
    return str(datetime.datetime.now())


def post(base, path, body):
    request = urllib.request.Request(base + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    except Exception as error:
        print(error, file=sys.stderr)
        return None
    return status


def item(directory, name, script):
    return {"file_path": f"{ROOT}/{directory}", "file_name": name, "script": script}


def main():
    base = sys.argv[1].rstrip("/") + "/tm_api/"
    machine, last = "machine #1", int(sys.argv[2]) if len(sys.argv) > 2 else None
    scenarios = []
    for name, tests in PLAN:
        tests = [item(directory, file, f"print('{file}')\n" * 3) for directory, file, _ in tests]
        scenarios.append({"tests": tests, **item("scenarios", name, "run_test_case()\n")})
    master = {"scenarios": scenarios, **item("scenarios", "scenario_master.py", "")}
    answers = [post(base, "dry_run/", {"machine_name": machine, "timestamp": now(), "master_scenario": master})]
    counts = {}
    for _, tests in PLAN:
        for directory, file, status in tests:
            where = {"machine_name": machine, "file_path": f"{ROOT}/{directory}", "file_name": file}
            answers.append(post(base, "test_start/", {**where, "timestamp_start": now()}))
            if sum(counts.values()) + 1 == last:
                return {"answers": answers, "counts": counts}
            answers.append(post(base, "test_stop/", {**where, "status": status, "timestamp_stop": now()}))
            counts[str(status)] = counts.get(str(status), 0) + 1
    return {"answers": answers, "counts": counts}


print(json.dumps(main()))
