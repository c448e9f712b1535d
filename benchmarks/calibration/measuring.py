"""What the benchmarks of the calibration share: the state of the machine, the cost of a call, the JSON file."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).parents[1]))

from recording import CONSOLE, print_conditions
from recording import conditions as machine_conditions
from recording import write_result as report

__all__ = ["CONSOLE", "Cost", "conditions", "measured", "measured_program", "report"]

T = TypeVar("T")
_PACKAGES = ("numpy", "uproot", "awkward", "numba", "hist", "coffea")


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
    begun = machine_conditions(_PACKAGES)
    print_conditions(name, begun)
    return begun


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
