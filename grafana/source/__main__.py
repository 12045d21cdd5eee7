"""Writes grafana/dashboards/*.json: `python3 grafana/source`. With `--check` it only says which files differ."""

import importlib
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
TARGET = HERE.parent / "dashboards"
NOT_PAGES = {"__main__", "kit"}


def main():
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(HERE))
    differ = []
    for source in sorted(HERE.glob("*.py")):
        if source.stem in NOT_PAGES:
            continue
        page = importlib.import_module(source.stem).PAGE
        text = json.dumps(page, indent=1, ensure_ascii=False) + "\n"
        target = TARGET / f"{page['uid'].removeprefix('testwire-')}.json"
        if target.exists() and target.read_text(encoding="utf-8") == text:
            continue
        if "--check" in sys.argv[1:]:
            differ.append(target.name)
        else:
            target.write_text(text, encoding="utf-8")
    if differ:
        sys.exit(f"not as their sources make them: {', '.join(differ)}\nhint: run python3 grafana/source and commit the result")


main()
