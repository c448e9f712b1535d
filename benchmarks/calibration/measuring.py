"""What the benchmarks of the calibration share: the state of the machine, the cost of a call, the JSON file."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from beampipe.terminal import console

__all__ = ["CONSOLE", "Cost", "conditions", "measured", "measured_program", "report"]

T = TypeVar("T")
CONSOLE = console()
_PACKAGES = ("beampipe", "numpy", "uproot", "awkward", "numba", "hist", "coffea")


@dataclass(frozen=True)
class Cost:
    """What a call cost.

    Attributes:
        wall: time that passed [s].
        cpu: user and system time of this process and of those that it started and that have ended [s].
        load: load average of the last minute, at the end of the call.
    """

    wall: float
    cpu: float
    load: float


def measured(function: Callable[[], T]) -> tuple[Cost, T]:
    """Call a function once; gives the cost of the call, and what the function returned."""
    wall, cpu = perf_counter(), _cpu_seconds()
    result = function()
    return Cost(perf_counter() - wall, _cpu_seconds() - cpu, os.getloadavg()[0]), result


def measured_program(command: Sequence[str]) -> Cost:
    """Run a program once. Its time ends with it; what it leaves behind is waited for, so that its work counts, too.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    _adopt_orphans()
    wall, cpu = perf_counter(), _cpu_seconds()
    program = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    code = program.wait()
    wall = perf_counter() - wall
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-program.pid, 0)
    if code:
        raise subprocess.CalledProcessError(code, command)
    return Cost(wall, _cpu_seconds() - cpu, os.getloadavg()[0])


@cache
def _adopt_orphans() -> None:
    """Become the parent of processes whose own one ends, as Linux allows (`prctl(2)`, `PR_SET_CHILD_SUBREAPER`)."""
    if ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def conditions(name: str) -> dict[str, Any]:
    """The conditions that figures are measured under, which are printed, too. To be called before anything is measured.

    Args:
        name: title of the benchmark.
    """
    now = {
        "command": " ".join(["python", *sys.argv]),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "versions": {package: _version(package) for package in _PACKAGES} | {"python": platform.python_version()},
    }
    CONSOLE.rule(name)
    loads = ", ".join(f"{load:.2f}" for load in os.getloadavg())
    CONSOLE.print(f"{now['cores']} cores; load average at the start (1, 5, 15 min): {loads}", markup=False)
    if os.getloadavg()[0] > 0.5:
        CONSOLE.print("the machine is not idle: times are upper limits, ratios suffer less", style="yellow")
    return now


def report(output: Path, begun: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    """Write the JSON file of a benchmark.

    Args:
        output: the file to write.
        begun: what `conditions` gave.
        body: the figures.
    """
    entry = {"conditions": {**begun, "load_average_at_end": [round(load, 2) for load in os.getloadavg()]}, **body}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(entry, indent=1, allow_nan=False, default=str) + "\n", encoding="utf-8")
    CONSOLE.print(f"wrote {output}; load average now {os.getloadavg()[0]:.2f}", markup=False)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
