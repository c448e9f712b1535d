"""Memory and files of processes over time, and how fast they grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.triton.server.server import TritonServer

__all__ = [
    "Memory",
    "descriptors_of",
    "memory_now",
    "memory_of",
    "regions",
    "shared_memory_mb",
    "slopes",
]

_MB: Final = 1 / 2**20


@dataclass(frozen=True)
class Memory:
    """Memory of one process [MB]: what it has of its own, and what it has mapped of shared memory."""

    own: float
    shared: float


def memory_of(pid: int | None) -> Memory | None:
    """Memory of a process, None if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    kib = {line.split(":")[0]: float(line.split()[1]) for line in lines if line.startswith("Rss")}
    return Memory(kib["RssAnon"] / 1024, kib["RssShmem"] / 1024) if "RssAnon" in kib else None


def regions(prefix: str) -> list[Path]:
    """Shared memory files whose name begins so."""
    return sorted(Path("/dev/shm").glob(f"{prefix}*"))


def shared_memory_mb(prefix: str) -> float:
    """Size of those files [MB]."""
    total = 0
    for path in regions(prefix):
        with suppress(OSError):
            total += path.stat().st_blocks * 512
    return total * _MB


def memory_now(server: TritonServer) -> dict[str, float]:
    """Own memory [MB] of a server and its stubs, and all of their shared memory, by name."""
    processes = {"server": server.pid, **{stub.instance: stub.pid for stub in server.stubs()}}
    used = {name: memory_of(pid) for name, pid in processes.items()}
    return {**{name: item.own for name, item in used.items() if item}, "/dev/shm": shared_memory_mb(server.prefix)}


def descriptors_of(pid: int | None) -> int:
    """Number of files and connections that a process has open, 0 if it is gone."""
    with suppress(OSError):
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return 0


def slopes(
    samples: Sequence[Mapping[str, float]], warm_up: float, *, along: str = "minute", per: float = 60.0
) -> list[dict[str, Any]]:
    """How each thing that was looked at went: start, end, most, and the slope after the warm-up.

    Args:
        samples: what was seen at one moment each, in order, by name.
        warm_up: part of the whole that the slope leaves out.
        along: name of what the slope is taken along, which grows.
        per: how much of that makes one unit of the slope; by default minutes make hours.
    """
    last = samples[-1][along]
    late = [row for row in samples if row[along] >= warm_up * last]
    rows = []
    for what in (name for name in samples[-1] if name != along):
        series = [(row[along] / per, row[what]) for row in late if what in row]
        x, y = np.array(series).T
        slope, error = fitted_slope(x, y)
        first = next(row[what] for row in samples if what in row)
        rows.append(
            {"what": what, "first": first, "warm": float(y[0]), "last": float(y[-1]), "most": float(y.max())}
            | {"slope": slope, "error": error, "samples": len(series)}
        )
    return rows


def fitted_slope(x: ndarray, y: ndarray) -> tuple[float, float]:
    """Slope of a straight line by least squares, and its standard error; infinite with fewer than three points."""
    if len(x) < 3:
        return 0.0, float("inf")
    dx = x - x.mean()
    slope = float(dx @ y / (dx @ dx))
    residual = y - y.mean() - slope * dx
    return slope, float(np.sqrt(residual @ residual / (len(x) - 2) / (dx @ dx)))
