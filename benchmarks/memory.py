"""Growth of the resident memory in one call, at its peak: one fresh process per pipeline, first event of a file.

    python benchmarks/memory.py [FILES] [--pipelines module_map exatrkx_walk]

The kernel's high-water mark (VmHWM) is set back after loading pipeline and event; what the first call adds to the
memory at that moment is the growth. The peak of the whole process includes Python, its packages and the weights.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import beampipe.terminal.scripts  # noqa: F401

from harness import begin_events, existing, options_of
from recording import CONSOLE, Figure, write_result
from samples import DEGRADATIONS, degraded, take

from beampipe.errors import BeampipeError


def main() -> None:
    parser = options_of("memory", __doc__, samples=["test200"], pipelines=["module_map", "exatrkx", "exatrkx_walk"])
    parser.add_argument("--degradation", choices=DEGRADATIONS, default="default")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.events[0], options.pipelines[0], options)))
        return
    begun = begin_events("memory", options)
    rows = [run(path, name, options) for path in existing(options) for name in options.pipelines]
    figures = [
        Figure(f"{row['file']}: {row['pipeline']} {name}", row[key], "MB")
        for row in rows
        if "error" not in row
        for name, key in (("growth in a call", "growth_mb"), ("peak", "peak_mb"))
    ]
    write_result(options.output, begun, figures, rows=rows)


def run(path: Path, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, str(path), "--pipelines", name, "--threads", f"{options.threads}"]
    command += ["--degradation", options.degradation, "--seed", f"{options.seed}", "--child"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    row: dict[str, Any] = {"pipeline": name, "file": path.stem, **json.loads(done.stdout.splitlines()[-1])}
    if "error" in row:
        CONSOLE.print(f"skipped: {name}: {row['error']}", markup=False)
    return row


def measure(path: Path, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Memory [MB] before, at the peak of, and after one call."""
    from beampipe.tracking import load_pipeline

    event = next(degraded(take(path, 1), DEGRADATIONS[options.degradation], options.seed))
    try:
        finder = load_pipeline(name, threads=options.threads)
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # VmHWM := VmRSS
        before = status()
        finder.find(event.hits)
        after = status()
    except BeampipeError as error:
        return {"error": str(error)}
    return {
        "growth_mb": after["VmHWM"] - before["VmRSS"],
        "peak_mb": after["VmHWM"],
    }


def status() -> dict[str, float]:
    """Entries of /proc/self/status that are sizes [MB]."""
    lines = (line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return {name: float(value.split()[0]) * 1024 / 1e6 for name, value in lines if value.endswith("kB")}


if __name__ == "__main__":
    main()
