"""Writes `docs/benchmarks.md` and `benchmarks/README.md` from `benchmarks.toml` and the records in `results/`.

    python benchmarks/page.py --collect runs/bench   # first make records of the results in a folder
    python benchmarks/page.py                        # write the pages again
    python benchmarks/page.py --compare runs/bench   # list what became worse; or: make bench-compare

`--compare` lists the figures of new results that are worse than those of the records by more than their recorded
spread; the exit code is then 1. Times of another processor, or of a busy machine, are not comparable with the records:
the conditions of both are printed.

`benchmarks.toml` lists every script with the claim that it supports. Commit a record only if its benchmark ran on an
idle machine.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
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
    parser.add_argument("--compare", type=Path, help="folder of new results to compare with the records")
    parser.add_argument("--records", type=Path, default=RECORDS, help="folder of the records")
    options = parser.parse_args()
    if options.compare:
        sys.exit(compare(options.compare, options.records))
    for folder in options.collect:
        for path, result in results_in(folder):
            record(path, result)
    for name, text in (("docs/benchmarks.md", page()), ("benchmarks/README.md", readme())):
        path = FOLDER.parent / name
        if not options.check:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
        elif path.read_text(encoding="utf-8") != text:
            raise SystemExit(f"{name} is not that of the records; run python benchmarks/page.py")


def compare(folder: Path, records: Path) -> int:
    """Compare new results with the records; 1 if a figure is worse."""
    n_compared = n_worse = 0
    for path, result in results_in(folder):
        record_path = records / f"{record_name(path, result['conditions']['command'])}.json"
        if not record_path.is_file():
            continue
        recorded = json.loads(record_path.read_text(encoding="utf-8"))
        print(f"{record_path.stem}: {conditions(recorded)} -> {conditions(result)}")
        new = {figure.name: figure for figure in figures_of(result)}
        for old in figures_of(recorded):
            if old.name not in new:
                print(f"  not measured: {old.name}")
                continue
            n_compared += 1
            if old.worse(new[old.name]):
                n_worse += 1
                print(f"  WORSE: {old.name}: {old.as_text()} -> {short(new[old.name].value)}, {old.better} is right")
    print(f"{n_compared} figures compared, {n_worse} worse")
    if not n_compared:
        sys.exit(f"{folder}: got no result with a record, expected JSON files of benchmarks; run: make bench")
    return int(n_worse > 0)


def results_in(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The results in a folder; other JSON files are left out."""
    for path in sorted(folder.rglob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(result, dict) and "figures" in result:
            yield path, result


def conditions(result: Mapping[str, Any]) -> str:
    """Date, processor, cores and load at the start."""
    begun = result["conditions"]
    return f"{begun['date']}, {begun['processor']}, {begun['cores']} cores, load {begun['load_average'][0]}"


def record(path: Path, result: Mapping[str, Any]) -> None:
    """Keep conditions and figures of a result."""
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
        "The first row of a run has its command, date and load average. `make bench` and the like measure again,",
        "`make bench-compare` lists what became worse than its spread, and `benchmarks/README.md` all scripts.",
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
