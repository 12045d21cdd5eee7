"""An uploader of WebKit's results database, with an archive if there is one. Standard library only.

Usage: upload.py URL TESTS BEGAN [ARCHIVE], with BEGAN in seconds since the epoch. It uploads that many results, of which all but a few are as expected, and prints its own
counts as JSON. As the original, it takes nothing but 200 for success, shows the `description` of what else it is answered,
and fails then.
"""

import json
import sys
import urllib.error
import urllib.request

# The same at every call: a run is known by its configuration, its commits and when it began.
COMMIT = {
    "hash": "75eaef1c9242f92a8d7694e8ccd310f69cf9683b",
    "branch": "main",
    "order": 0,
    "identifier": "283000@main",
    "message": "Fix a thing",
    "author": {"name": "A B", "emails": ["a@b.c"]},
    "repository_id": "webkit",
}
CONFIGURATION = {
    "platform": "mac",
    "is_simulator": False,
    "version": "14.5",
    "architecture": "arm64",
    "version_name": "Sonoma",
    "style": "release",
    "flavor": "wk2",
    "sdk": "23F79",
}
# What the n-th result of a hundred is, where it is not an expected pass; and what that counts as.
ODD = {
    3: ({"actual": "TEXT", "log": "--- expected\n+++ actual"}, "failed"),
    11: ({"actual": "IMAGE TEXT", "expected": "FAIL"}, "expected"),
    29: ({"actual": "CRASH"}, "errored"),
    31: ({"actual": "TIMEOUT", "expected": "PASS TIMEOUT"}, "expected"),
    57: ({"flakiness_num_tries": 10, "flakiness_num_passes": 7}, "flaky"),
    # Words that the server does not know mean that it passed.
    83: ({"actual": "LEAK"}, "passed"),
}


def results(count):
    trie, counts = {}, {}
    for n in range(count):
        odd, counted = ODD.get(n % 100, ({}, "passed"))
        counts[counted] = counts.get(counted, 0) + 1
        suite = trie.setdefault(f"dir{n // 1000}", {}).setdefault(f"sub{n // 100 % 10}", {})
        suite[f"test-{n % 100}.html?variant={n % 3}"] = {"time": n % 977, **odd}
    return trie, counts


def send(url, body, headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
    except urllib.error.URLError:
        print(f"Failed to upload to {url}, results server not online", file=sys.stderr)
        sys.exit(255)


def check(status, answer, wanted):
    if status != 200 or wanted not in answer:
        print(f"Error uploading:\n        {answer.get('description')}", file=sys.stderr)
        sys.exit(255)


def main():
    url, count, began = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    trie, counts = results(count)
    commits = [{**COMMIT, "timestamp": began - 3600}]
    document = {
        "version": 0,
        "suite": "layout-tests",
        "configuration": CONFIGURATION,
        "commits": commits,
        "test_results": {
            "details": {"link": "https://build.example/#/builders/1/builds/5", "buildbot-worker": "bot198"},
            "run_stats": {"start_time": began + 0.25, "end_time": began + 60.5, "tests_skipped": 3},
            "results": trie,
        },
        "timestamp": began,
        "api_key": "sekret",
    }
    status, answer = send(url + "/api/upload", json.dumps(document).encode(), {"Content-type": "application/json"})
    check(status, answer, "processing")
    assert all(part["status"] == "ok" for part in answer["processing"].values()), answer
    if len(sys.argv) > 4:
        fields = [
            ("version", "0"),
            ("suite", "layout-tests"),
            ("configuration", json.dumps(CONFIGURATION)),
            ("commits", json.dumps(commits)),
            ("timestamp", str(began)),
            ("api_key", "sekret"),
            ("Content-type", "application/octet-stream"),
        ]
        parts = [f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields]
        parts.append('--B\r\nContent-Disposition: form-data; name="file"; filename="test-archive.zip"\r\n\r\n')
        with open(sys.argv[4], "rb") as archive:
            body = "".join(parts).encode() + archive.read() + b"\r\n--B--\r\n"
        status, answer = send(url + "/api/upload/archive", body, {"Content-Type": "multipart/form-data; boundary=B"})
        check(status, answer, "status")
    print(json.dumps(counts))


main()
