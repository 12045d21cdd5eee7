#!/usr/bin/env python3
"""Pictures of the dashboards in a Grafana: python3 tests/grafana/pictures.py GRAFANA_URL DIRECTORY [NAME…]

For each dashboard (or each NAME) a PNG; what looks wrong on it is printed and makes the exit code 1: an error message, a panel
with an error, a panel still loading after a while. Needs Chromium with chromedriver; no other library. A Grafana where
everybody may look, the dashboards in it, and a Loki that tests/grafana/feed.sh has filled make the pictures of docs/dashboards.md.

--theme light|dark   --size 1440x900   --kiosk (the wall: 1920x1080, no menus)   --fold (only what fits in the window)
--set name=value     a variable of all pages, such as project=shop; repeatable
"""

import argparse
import base64
import json
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
import zlib
from collections import Counter
from pathlib import Path

DASHBOARDS = Path(__file__).parents[2] / "grafana" / "dashboards"

# How much of the past each page shows; the rest is as the dashboard opens.
RANGES = {"live": "now-5m"}

CHROMIUM = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]

# What the page is like now. Grafana's names for these things differ between its versions.
LOOK = """
const all = (selector) => [...document.querySelectorAll(selector)];
const text = (element) => (element.innerText || element.getAttribute('aria-label') || '').trim();
return {
  panels: all('[data-panelid], .panel-container, [data-testid^="data-testid Panel header"]').length,
  loading: all('.panel-loading, [aria-label="Panel loading bar"], .preloader, [data-testid="Spinner"]').length,
  wrong: all('[data-testid="data-testid Alert error"], [aria-label="Alert error"], .panel-info-corner--error, ' +
             '[data-testid="data-testid Panel status error"], [aria-label="Panel status"]').map(text),
  // Not the height of whatever scrolls: the list of a log is much longer than its panel.
  height: Math.max(document.body.scrollHeight, ...all('.react-grid-layout').map((e) => e.getBoundingClientRect().bottom)),
  text: document.body.innerText,
};
"""


class Browser:
    """Headless Chromium, driven over the WebDriver protocol."""

    def __init__(self, width, height):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.profile = tempfile.mkdtemp(prefix="pictures-")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.driver = subprocess.Popen(["chromedriver", f"--port={self.port}"], **quiet)
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.width, self.height = width, height
        options = {"args": [*CHROMIUM, f"--user-data-dir={self.profile}"]}
        wanted = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
        self._until_up()
        self.session = "/session/" + self.call("POST", "/session", {"capabilities": wanted})["sessionId"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.call("DELETE", self.session)
        self.driver.terminate()
        self.driver.wait()
        shutil.rmtree(self.profile, ignore_errors=True)

    def _until_up(self):
        for _ in range(200):
            try:
                return self.call("GET", "/status")
            except OSError:
                time.sleep(0.1)
        raise SystemExit("chromedriver does not start")

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, method=method)
        with self.opener.open(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def resize(self, width, height):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("POST", self.session + "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": size})

    def look(self):
        return self.call("POST", self.session + "/execute/sync", {"script": LOOK, "args": []})

    def settled(self, patience=120.0, calm_for=2.0):
        """Waits until no panel has been loading for a while; says if that takes too long."""
        calm_since, end = None, time.monotonic() + patience
        while time.monotonic() < end:
            seen = self.look()
            is_calm = seen["panels"] > 0 and not seen["loading"]
            calm_since = (calm_since or time.monotonic()) if is_calm else None
            if calm_since and time.monotonic() - calm_since > calm_for:
                return seen
            time.sleep(0.25)
        seen["wrong"].append(f"not loaded after {patience:.0f} s: {seen['panels']} panels, {seen['loading']} loading")
        return seen

    def picture(self, url, whole):
        """PNG of a page and what it looks like; `whole` grows the window to the height of the page."""
        self.resize(self.width, self.height)
        self.call("POST", self.session + "/url", {"url": url})
        seen = self.settled()
        if whole:
            # Panels below the window are drawn only when they come into sight.
            self.resize(self.width, max(self.height, seen["height"] + 100))
            seen = self.settled()
        return base64.b64decode(self.call("GET", self.session + "/screenshot")), seen


def pixels(png):
    """Width, and a row of RGB or RGBA bytes for each line of a PNG, with the number of bytes of a pixel."""
    width, _, _, kind = struct.unpack(">IIBB", png[16:26])
    size = {2: 3, 6: 4}[kind]
    at, packed = 8, []
    while at < len(png):
        length, name = struct.unpack(">I4s", png[at:at + 8])
        packed += [png[at + 8:at + 8 + length]] if name == b"IDAT" else []
        at += length + 12
    raw, stride, rows = zlib.decompress(b"".join(packed)), width * size, []
    above = bytearray(stride)
    for begin in range(0, len(raw), stride + 1):
        how, row = raw[begin], bytearray(raw[begin + 1:begin + 1 + stride])
        if how == 2:
            row = bytearray((a + b) & 255 for a, b in zip(row, above))
        elif how:
            for i in range(stride):
                left, up, corner = (row[i - size], above[i], above[i - size]) if i >= size else (0, above[i], 0)
                if how == 4:
                    guess = left + up - corner
                    near = min((abs(guess - value), order, value) for order, value in enumerate((left, up, corner)))[2]
                row[i] = (row[i] + (left if how == 1 else (left + up) // 2 if how == 3 else near)) & 255
        rows.append(row)
        above = row
    return width, rows, size


def step(colour):
    return tuple(value & 0xF0 | 8 for value in colour)


def smaller(png):
    """The same picture in 256 colours, which is a third of the size: the commonest ones, and of shades the commonest steps."""
    width, rows, size = pixels(png)
    colours = [[tuple(row[i:i + 3]) for i in range(0, len(row), size)] for row in rows]
    count = Counter(colour for row in colours for colour in row)
    steps = Counter()
    for colour, times in count.items():
        steps[step(colour)] += times
    common = [colour for colour, _ in count.most_common(128)] + [colour for colour, _ in steps.most_common(128)]
    number, near = {colour: i for i, colour in enumerate(common)}, {}

    def nearest(colour):
        if colour not in number:
            about = step(colour)
            if about not in near:
                near[about] = min(range(len(common)), key=lambda i: sum((a - b) ** 2 for a, b in zip(common[i], about)))
            number[colour] = near[about]
        return number[colour]

    lines = b"".join(b"\0" + bytes(map(nearest, row)) for row in colours)
    head = struct.pack(">IIBBBBB", width, len(rows), 8, 3, 0, 0, 0)
    parts = [(b"IHDR", head), (b"PLTE", bytes(sum(common, ()))), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grafana")
    parser.add_argument("directory", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--theme", default="dark", choices=["dark", "light"])
    parser.add_argument("--size")
    parser.add_argument("--kiosk", action="store_true")
    parser.add_argument("--fold", action="store_true")
    parser.add_argument("--range", help="such as now-6h, for all pages")
    parser.add_argument("--text", action="store_true", help="also write what a page says, beside its picture")
    parser.add_argument("--small", action="store_true", help="256 colours, for files that are kept")
    parser.add_argument("--set", action="append", default=[])
    asked = parser.parse_args()
    width, height = map(int, (asked.size or ("1920x1080" if asked.kiosk else "1440x900")).split("x"))
    asked.directory.mkdir(parents=True, exist_ok=True)
    wrong = 0
    with Browser(width, height) as browser:
        for name in asked.names or sorted(path.stem for path in DASHBOARDS.glob("*.json")):
            query = [("theme", asked.theme), ("refresh", "5m"), ("from", asked.range or RANGES.get(name, "")), ("to", "now")]
            query += [tuple(("var-" + pair).split("=", 1)) for pair in asked.set]
            query = urllib.parse.urlencode([pair for pair in query if pair[1]])
            url = f"{asked.grafana.rstrip('/')}/d/testwire-{name}/{name}?{query}{'&kiosk' if asked.kiosk else ''}"
            # A busy machine may load Grafana's own parts in an order that it does not expect; what is wrong with a page is wrong again.
            for _ in range(3):
                png, seen = browser.picture(url, not (asked.fold or asked.kiosk))
                if not seen["wrong"]:
                    break
            path = asked.directory / f"{name}.png"
            png = smaller(png) if asked.small else png
            path.write_bytes(png)
            if asked.text:
                path.with_suffix(".txt").write_text(seen["text"])
            print(f"{path}: {len(png) // 1024} KiB, {seen['panels']} panels")
            for what in filter(None, seen["wrong"]):
                print(f"  wrong: {what}")
                wrong += 1
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
