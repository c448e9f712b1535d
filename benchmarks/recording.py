"""What every benchmark records: the state of the machine before and after, what was printed, and its figures."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from beampipe.processes import processor_name
from beampipe.terminal import console

__all__ = ["CONSOLE", "conditions", "package_version", "print_conditions", "write_result"]

CONSOLE: Final = console(180)
CONSOLE.record = True


def conditions(packages: Sequence[str] = (), **more: object) -> dict[str, Any]:
    """Date, command, machine and its load, and versions of packages.

    Args:
        packages: distributions beside beampipe whose versions matter.
        more: other conditions, which are kept as they are.
    """
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": " ".join(["python", *sys.argv]),
        "cores": len(os.sched_getaffinity(0)),
        "processor": processor_name(),
        "load_average": load_average(),
        "versions": {name: package_version(name) for name in ("beampipe", *packages)}
        | {"python": platform.python_version()},
        **more,
    }


def print_conditions(title: str, begun: Mapping[str, Any], note: str = "") -> None:
    """Print conditions under a title; call it before anything is measured."""
    CONSOLE.rule(title)
    loads = ", ".join(f"{load:.2f}" for load in begun["load_average"])
    CONSOLE.print(
        f"{begun['processor']}, {begun['cores']} cores{note}; load average at the start (1, 5, 15 min): {loads}",
        markup=False,
    )
    if begun["load_average"][0] > 0.5:
        CONSOLE.print("the machine is not idle: times are upper limits, ratios suffer less", style="yellow")


def write_result(output: Path, begun: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    """Write the JSON file of a benchmark: conditions, load at the end, figures, and all that was printed.

    Args:
        output: the file to write.
        begun: what `conditions` returned before the measurement.
        body: the figures, as values of JSON.
    """
    printed = CONSOLE.export_text(clear=False)
    entry = {"conditions": {**begun, "load_average_at_end": load_average()}, **body, "printed": printed}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(entry, indent=1, allow_nan=False, default=str) + "\n", encoding="utf-8")
    CONSOLE.print(f"wrote {output}; load average now {os.getloadavg()[0]:.2f}", markup=False)


def load_average() -> list[float]:
    """Load averages of 1, 5 and 15 minutes."""
    return [round(load, 2) for load in os.getloadavg()]


def package_version(package: str) -> str | None:
    """Version of an installed distribution."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
