"""Compares new results with the records, and lists the figures that became worse by more than their recorded spread.

    python benchmarks/compare.py runs/bench      # or: make bench-compare

Exit code 1 if a figure is worse. Times of another processor, or of a busy machine, are not comparable with the records:
the conditions of both are printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import beampipe.terminal.scripts  # noqa: F401

from recording import FOLDER, figures_of, record_name, short

RECORDS = FOLDER / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs/bench"), help="folder of new results")
    parser.add_argument("--records", type=Path, default=RECORDS, help="folder of the records")
    options = parser.parse_args()
    n_compared = n_worse = 0
    for record_path, record, result in pairs(options.folder, options.records):
        print(f"{record_path.stem}: {conditions(record)} -> {conditions(result)}")
        new = {figure.name: figure for figure in figures_of(result)}
        for old in figures_of(record):
            if old.name not in new:
                print(f"  not measured: {old.name}")
                continue
            n_compared += 1
            if old.worse(new[old.name]):
                n_worse += 1
                print(f"  WORSE: {old.name}: {old.as_text()} -> {short(new[old.name].value)}, {old.better} is right")
    print(f"{n_compared} figures compared, {n_worse} worse")
    if not n_compared:
        sys.exit(f"{options.folder}: got no result with a record, expected JSON files of benchmarks; run: make bench")
    sys.exit(1 if n_worse else 0)


def pairs(folder: Path, records: Path) -> Iterator[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """Path of a record, the record, and the new result of the same benchmark."""
    for path in sorted(folder.rglob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(result, dict) and "figures" in result:
            record = records / f"{record_name(path, result['conditions']['command'])}.json"
            if record.is_file():
                yield record, json.loads(record.read_text(encoding="utf-8")), result


def conditions(result: dict[str, Any]) -> str:
    """Date, processor, cores and load at the start."""
    begun = result["conditions"]
    return f"{begun['date']}, {begun['processor']}, {begun['cores']} cores, load {begun['load_average'][0]}"


if __name__ == "__main__":
    main()
