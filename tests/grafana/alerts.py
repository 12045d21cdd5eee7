#!/usr/bin/env python3
"""Alerts fire and resolve in a real Grafana: python3 tests/grafana/alerts.py GRAFANA_URL LOKI_URL

The Grafana has read the rules from a file, switched on, and may evaluate them more often than every minute:

    testwire dashboards alerts --on | sed 's/interval: 1m/interval: 10s/' > …/provisioning/alerting/testwire.yaml

For each rule this tells Loki of trouble, waits until Grafana calls it firing, tells of its end, and waits until it is over. Prints the
seconds that both took, and what the alert said. Exit code 1 if a rule did not fire or did not resolve within five minutes, or
if a text of it has a hole. GRAFANA_URL may have user:password@ in it.
"""

import base64
import json
import sys
import time
import urllib.parse
import urllib.request

PATIENCE = 300.0
MINUTE = 60.0


class Server:
    """JSON over HTTP, without proxies."""

    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self.headers = {"Content-Type": "application/json"}
        if parts.username:
            who = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
            self.headers["Authorization"] = f"Basic {who}"
        self.url = f"{parts.scheme}://{parts.netloc.rsplit('@', 1)[-1]}{parts.path.rstrip('/')}"
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with self.opener.open(urllib.request.Request(self.url + path, data, self.headers), timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None


class Story:
    """What is told of one project, whose name says which rule it is for."""

    def __init__(self, loki, rule):
        self.loki, self.project = loki, f"alert-{rule}-{int(time.time())}"
        self.number = 0

    def tell(self, ago, labels, facts):
        """An entry of so many seconds ago."""
        self.number += 1
        at = int((time.time() - ago) * 1000) * 1_000_000 + self.number
        stream = {"service_name": self.project, "env": "ci", "runner": "pytest", **labels}
        told = [str(at), "told by alerts.py", {name: str(value) for name, value in facts.items()}]
        self.loki.ask("/loki/api/v1/push", {"streams": [{"stream": stream, "values": [told]}]})

    def progress(self, ago, run, **facts):
        self.tell(ago, {"kind": "progress"}, {"run_id": run, "host": "h1", "done": 1, **facts})

    def end(self, ago, run, status, **facts):
        self.tell(ago, {"kind": "run", "status": status}, {"run_id": run, "host": "h1", "branch": "main", "elapsed_ms": 1000, **facts})

    def health(self, ago, **facts):
        # A process counts as the same one whatever it tells of.
        process = f"of {self.project}"
        self.tell(ago, {"kind": "metric", "source": "testwire", "runner": "app"}, {"host": "h1", "process": process, **facts})


def stalled(s):
    s.progress(3 * MINUTE, "r1")
    yield
    s.end(0, "r1", "aborted")


def hung(s):
    s.progress(0, "r1")
    s.tell(1, {"kind": "test", "status": "started"}, {"run_id": "r1", "test": "a.hangs", "worker": "gw1", "hung": "true", "duration_ms": 300500})
    yield
    s.tell(0, {"kind": "test", "status": "failed"}, {"run_id": "r1", "test": "a.hangs", "worker": "gw1", "hung": "false", "duration_ms": 310000})


def failed(s):
    s.end(5, "r1", "failed")
    yield
    s.end(0, "r2", "passed")


def new_failure(s):
    # Over a quarter of an hour after the run's end.
    s.end(14 * MINUTE, "r1", "failed", new_failures=2)
    yield


def pass_rate(s):
    s.end(3 * 24 * 60 * MINUTE, "r1", "passed", passed=90, failed=10, errored=0)
    s.end(10, "r2", "failed", passed=5, failed=95, errored=0)
    yield
    s.end(0, "r3", "passed", passed=1000, failed=0, errored=0)


def backlog(s):
    s.health(1, waiting_ms=400_000, rejected=0)
    yield
    # Counts for two minutes after it was told.
    s.health(0, waiting_ms=0, rejected=0)


def rejections(s):
    # Over a quarter of an hour after the last one.
    s.health(14 * MINUTE, waiting_ms=0, rejected=3)
    s.health(0, waiting_ms=0, rejected=3)
    yield


CASES = {"run-stalled": stalled, "test-hung": hung, "run-failed": failed, "new-failure": new_failure, "pass-rate": pass_rate, "backlog": backlog,
         "rejections": rejections}


def firing(grafana, rule, project):
    """Alerts of the rule about the project that fire; None if the rule is not there."""
    for group in grafana.ask("/api/prometheus/grafana/api/v1/rules")["data"]["groups"]:
        for found in group["rules"]:
            if found.get("labels", {}).get("testwire") != rule:
                continue
            if found["health"] == "error":
                raise SystemExit(f"{rule}: {found.get('lastError')}")
            about = [a for a in found.get("alerts") or [] if a["labels"].get("service_name") == project]
            return [a for a in about if a["state"].startswith("Alerting")]
    return None


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    grafana, loki = map(Server, sys.argv[1:])
    stories = {rule: Story(loki, rule) for rule in CASES}
    told = {rule: case(stories[rule]) for rule, case in CASES.items()}
    begun, fired, over, wrong = {}, {}, {}, []
    for rule, story in told.items():
        if firing(grafana, rule, "") is None:
            raise SystemExit(f"{rule}: Grafana has no such rule")
        next(story)
        begun[rule] = time.monotonic()
    end = time.monotonic() + PATIENCE
    while len(over) < len(CASES) and time.monotonic() < end:
        for rule, story in told.items():
            alerts = firing(grafana, rule, stories[rule].project)
            took = time.monotonic() - begun[rule]
            if rule not in fired and alerts:
                fired[rule] = took
                said = alerts[0]["annotations"]
                print(f"{rule:12} fires after {took:5.1f} s: {said['summary']} | {said['description']}", flush=True)
                wrong += [f"{rule}: {text}" for text in said.values() if "no value" in text or "{{" in text or "error" in text]
                next(story, None)
                begun[rule] = time.monotonic()
            elif rule in fired and rule not in over and not alerts:
                over[rule] = took
                print(f"{rule:12} is over after {took:5.1f} s", flush=True)
        time.sleep(1)
    wrong += [f"{rule}: did not fire" for rule in CASES if rule not in fired]
    wrong += [f"{rule}: fires still" for rule in fired if rule not in over]
    print("\n".join(wrong) or "each rule fired and resolved")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
