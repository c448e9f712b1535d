"""What a load test measures: one point per way, sample, concurrency and number of instances."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from beampipe.serving.bench.perf_analyzer import RawPoint
from beampipe.serving.load import Summary

__all__ = ["DIRECT", "BenchResult", "Point", "Sample", "write_bench"]

DIRECT: Final = "direct"
"""The way that has no server: the same pipeline in the process of the client."""


@dataclass(frozen=True)
class Sample:
    """The events of a load test and what the pipeline makes of them; served labels equal the direct ones.

    Attributes:
        name: in words.
        events: how many.
        hits: median of their hits.
        efficiency: double majority, None without truth.
        fakes: double majority, None without truth.
    """

    name: str
    events: int
    hits: int
    efficiency: float | None
    fakes: float | None


@dataclass(frozen=True)
class Point:
    """One measurement.

    Attributes:
        sample: name of the sample.
        way: `DIRECT`, or a model's name with its protocol, such as ``exatrkx http``.
        concurrency: requests in flight.
        instances: of the model, or pipelines side by side.
        threads: of each of them.
        summary: throughput and latency.
        utilisation: processor time of server and models (of this process, if direct) over that of all cores.
        gpu_utilisation: mean over GPUs, None without one.
        batch: mean number of events in one call of the model, None if direct.
        load_average: of the machine before.
        rate: mean arrivals per second in an open loop, None in a closed one.
    """

    sample: str
    way: str
    concurrency: int
    instances: int
    threads: int
    summary: Summary
    utilisation: float
    gpu_utilisation: float | None
    batch: float | None
    load_average: float
    rate: float | None = None


@dataclass(frozen=True)
class BenchResult:
    """A whole load test.

    Attributes:
        pipeline: what was served.
        samples: what was sent.
        points: what was measured, in order.
        conditions: of the machine.
        raw: what `perf_analyzer` measured, by name of sample.
        unstable: what it could not measure, and why.
    """

    pipeline: str
    samples: tuple[Sample, ...]
    points: tuple[Point, ...]
    conditions: dict[str, Any]
    raw: tuple[tuple[str, RawPoint], ...] = ()
    unstable: tuple[str, ...] = ()

    def of(self, sample: str, way: str) -> list[Point]:
        """Closed-loop points of one sample and way."""
        return [point for point in self.points if (point.sample, point.way, point.rate) == (sample, way, None)]


def write_bench(path: Path, result: BenchResult) -> None:
    """Store a result as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")


def conditions(command: Sequence[str]) -> dict[str, Any]:
    """Of the machine, now."""
    return {
        "command": " ".join(command),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }
