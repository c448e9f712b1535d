"""Writes `docs/benchmarks.md` and `benchmarks/README.md` from `benchmarks.toml` and the records in `results/`.

    python benchmarks/page.py --collect runs/bench   # first make records of the results in a folder
    python benchmarks/page.py                        # write the pages again

`benchmarks.toml` lists every script with the claim that it supports. Commit a record only if its benchmark ran on an
idle machine.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

from recording import FOLDER, areas, as_entry, figures_of, record_name, script_of, short

RECORDS: Final = FOLDER / "results"
WHERE: Final = re.compile(r" --(?:output|json|folder|cache)[ =]\S+")
"""Options of a command that name its output."""

KEPT: Final = ("date", "command", "processor", "cores", "load_average", "load_average_at_end", "versions")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collect", nargs="+", type=Path, default=[], help="folders of results to record first")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is not up to date")
    options = parser.parse_args()
    for folder in options.collect:
        for path in sorted(folder.rglob("*.json")):
            record(path)
    for name, text in (("docs/benchmarks.md", page()), ("benchmarks/README.md", readme())):
        path = FOLDER.parent / name
        if not options.check:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
        elif path.read_text(encoding="utf-8") != text:
            raise SystemExit(f"{name} is not that of the records; run python benchmarks/page.py")


def record(path: Path) -> None:
    """Keep conditions and figures of a result."""
    result = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(result, dict) or "figures" not in result:
        print(f"left out: {path}: it has no figures")
        return
    begun = result["conditions"]
    name = record_name(path, begun["command"])
    entry = {
        "conditions": {key: begun[key] for key in KEPT if key in begun} | {"command": WHERE.sub("", begun["command"])},
        "figures": [as_entry(figure) for figure in figures_of(result)],
    }
    text = json.dumps(entry, indent=1, ensure_ascii=False) + "\n"
    (RECORDS / f"{name}.json").write_text(text, encoding="utf-8")
    print(f"recorded {name}")


def page() -> str:
    """The page of the documentation."""
    results: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(RECORDS.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        results.setdefault(script_of(result["conditions"]["command"]), []).append(result)
    begun = [result["conditions"] for group in results.values() for result in group]
    machines = "; ".join(sorted({f"{item['processor']}, {item['cores']} cores" for item in begun}))
    lines = [
        "# Benchmarks",
        "",
        "<!-- Written by `python benchmarks/page.py`; edit `benchmarks/benchmarks.toml`. -->",
        "",
        f"Measured on: {machines}. The reference is the other side in the same run, after equal outputs were asserted.",
        "Command, date and load average at the start stand in the first row of a run. `make bench` and the like",
        "measure again; `make bench-compare` lists what became worse than its recorded spread. The README of",
        "`benchmarks/` lists all scripts.",
        "",
    ]
    for area in areas():
        recorded = [result for entry in area["script"] for result in results.get(script_of(entry["command"]), [])]
        if recorded:
            lines += [f"## {area['title']}", "", area["text"].strip(), ""]
            lines += ["| figure | value | reference | measured by |", "| --- | --- | --- | --- |"]
            lines += [line for result in recorded for line in rows(result)]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def rows(result: Mapping[str, Any]) -> Iterator[str]:
    """Rows of one record; command, date and load at the start stand in the first one."""
    begun = result["conditions"]
    command = re.sub(r"^python benchmarks/", "", begun["command"])
    measured = f" `{command}`, {begun['date']}, load {begun['load_average'][0]:.0f} |"
    for figure in figures_of(result):
        other = figure.reference
        reference = f"{other.name}: {short(other.value)}" if other else ""
        yield f"| {figure.name} | {figure.as_text()} | {reference} |{measured}"
        measured = ""


def readme() -> str:
    """The table of all scripts."""
    lines = [
        "# Benchmarks",
        "",
        "<!-- Written by `python benchmarks/page.py`; edit `benchmarks.toml`. -->",
        "",
        "Recorded figures: [docs/benchmarks.md](../docs/benchmarks.md), from `results/`. The schema of a result is in",
        "`recording.py`.",
        "",
        "    make bench bench-serving bench-fleet bench-calibration bench-analysisops   # into runs/bench/",
        "    make bench-compare                                  # what became worse than its recorded spread",
        "    python benchmarks/page.py --collect runs/bench      # make records of the new results, on an idle machine",
        "",
        "| script | extra | what it measures or makes | claim |",
        "| --- | --- | --- | --- |",
    ]
    for area in areas():
        for entry in area["script"]:
            script = script_of(entry["command"]).removeprefix("benchmarks/")
            lines.append(f"| `{script}` | {entry.get('extra', '')} | {entry['shows']} | {entry['claim']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
