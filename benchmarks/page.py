"""Writes `docs/benchmarks.md` from `benchmarks.toml` and the recorded results, so that figures are not typed by hand.

    python benchmarks/page.py --collect runs/bench runs/bench/fleet   # first record what the benchmarks wrote there
    python benchmarks/page.py                                         # write the page again

`benchmarks.toml` lists the benchmarks; those with ``measures = false`` only make files or list code. A result is
recorded in `benchmarks/results/` with date, machine, load and what the benchmark printed. Figures under `earlier` were
measured before results were recorded; a recorded result of the same benchmark belongs in their place.
"""

from __future__ import annotations

import argparse
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

FOLDER: Final = Path(__file__).parent
RESULTS: Final = FOLDER / "results"
PAGE: Final = FOLDER.parent / "docs" / "benchmarks.md"
PROGRESS: Final = re.compile(r"(?:[^\n]*(?:Merging|Processing|Preprocessing) [^\n]*%|wrote /)[^\n]*\n")
"""Progress bars of coffea, and where a result was written."""

WHERE: Final = re.compile(r" --(?:output|json|folder|cache)[ =]\S+")
"""Options of a command that say where it wrote."""

KEPT: Final = ("date", "command", "processor", "cores", "load_average", "load_average_at_end", "versions")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collect", nargs="+", type=Path, default=[], help="folders of results to record first")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is not what it would be")
    options = parser.parse_args()
    for folder in options.collect:
        record(folder)
    if not options.check:
        PAGE.write_text(page(), encoding="utf-8")
        print(f"wrote {PAGE}")
    elif PAGE.read_text(encoding="utf-8") != page():
        raise SystemExit("docs/benchmarks.md is not that of the recorded results; run python benchmarks/page.py")


def record(folder: Path) -> None:
    """Keep date, conditions, summary and printed text of each result in a folder."""
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        begun = result.get("conditions", {})
        if "date" not in begun:
            print(f"left out: {path}: it has no date; run the benchmark again")
            continue
        entry = {
            "conditions": {name: begun[name] for name in KEPT if name in begun}
            | {"command": WHERE.sub("", begun["command"])},
            "summary": [_line(line) for line in result.get("summary", ())],
            "printed": PROGRESS.sub("", result.get("printed", "")),
        }
        script = script_of(begun["command"])
        in_folder = script.startswith("benchmarks/") and script.count("/") > 1
        name = f"{Path(script).parent.name}-{path.stem}" if in_folder else path.stem
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(entry, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"recorded {name}")


def _line(line: object) -> str:
    if isinstance(line, Mapping):
        return f"{line['name']}: {line['figure']}: {'met' if line['met'] else 'NOT met'}"
    return str(line)


def script_of(command: str) -> str:
    """The script in a command, from `benchmarks/` on; of a command of beampipe, its name without options."""
    script = re.search(r"benchmarks/[\w/]+\.py", command) or re.search(r"beampipe \w+ \w+", command)
    return script[0] if script else command


def page() -> str:
    """The text of the page."""
    areas = tomllib.loads((FOLDER / "benchmarks.toml").read_text(encoding="utf-8"))["area"]
    results: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        results.setdefault(script_of(result["conditions"]["command"]), []).append(result)
    lines = [
        "# Benchmarks",
        "",
        "<!-- Written by `python benchmarks/page.py`; edit `benchmarks/benchmarks.toml`. -->",
        "",
        "Each benchmark is one command in the folder of the clone; the word in brackets is the extra that it needs.",
        "It prints a table and writes JSON under `runs/bench/`. Times are compared within one run, after equal outputs",
        "were asserted. Recorded results name their date, machine and load.",
        "",
    ]
    for area in areas:
        lines += [*section(area, results), ""]
    return "\n".join(lines).rstrip() + "\n"


def section(area: Mapping[str, Any], results: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    """One area: its benchmarks, recorded results, and earlier figures."""
    yield from (f"## {area['title']}", "")
    if area["text"]:
        yield from (area["text"].strip(), "")
    yield from ("| command | what it measures | result |", "| --- | --- | --- |")
    for benchmark in area["benchmark"]:
        recorded = results.get(script_of(benchmark["command"]), [])
        dates = ", ".join(sorted({result["conditions"]["date"] for result in recorded}))
        needs = f" (`[{benchmark['extra']}]`)" if "extra" in benchmark else ""
        missing = "not recorded" if benchmark.get("measures", True) else ""
        yield f"| `{benchmark['command']}`{needs} | {benchmark['shows']} | {dates or missing} |"
    for benchmark in area["benchmark"]:
        for result in results.get(script_of(benchmark["command"]), []):
            yield from ("", *recorded_result(result))
    if area.get("earlier"):
        yield from ("", f"### {area['title']}: earlier figures", "")
        yield from ("Measured before results were recorded, with an earlier version.", "")
        yield from ("| what | figure | command |", "| --- | --- | --- |")
        for row in area["earlier"]:
            yield f"| {row['what']} | {row['figure']} | {row['command']} (`[{row['extra']}]`) |"


def recorded_result(result: Mapping[str, Any]) -> Iterator[str]:
    """One recorded result: conditions, the lines of its summary, and what it printed."""
    begun = result["conditions"]
    loads = ", ".join(f"{begun[when][0]:.1f}" for when in ("load_average", "load_average_at_end") if when in begun)
    yield from (f"### `{re.sub('^python ', '', begun['command'])}`", "")
    yield f"{begun['date']}, {begun['processor']}, {begun['cores']} cores, load average at start and end {loads}."
    if result["summary"]:
        yield ""
        yield from (f"- {line}" for line in result["summary"])
    if result["printed"].strip():
        yield from ("", ":::{dropdown} What it printed", "```text")
        yield from (line.rstrip() for line in result["printed"].strip("\n").splitlines())
        yield from ("```", ":::")


if __name__ == "__main__":
    main()
