"""What a load test measures: one point per way, sample, concurrency and number of instances."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from beampipe.files import write_whole
from beampipe.serving.bench.perf_analyzer import RawPoint
from beampipe.serving.load import Summary

__all__ = ["DIRECT", "BenchPoint", "BenchResult", "BenchSample", "conditions", "write_bench"]

DIRECT: Final = "direct"
"""The way that has no server: the same pipeline in the process of the client."""


@dataclass(frozen=True)
class BenchSample:
    """The events of a load test and what the pipeline makes of them; served labels equal the direct ones.

    Attributes:
        name: name of the sample, in words.
        events: number of events.
        hits: median number of hits of an event.
        efficiency: efficiency by double majority, None without truth.
        fakes: fake rate by double majority, None without truth.
    """

    name: str
    events: int
    hits: int
    efficiency: float | None
    fakes: float | None


@dataclass(frozen=True)
class BenchPoint:
    """One measurement.

    Attributes:
        sample: name of the sample.
        way: how tracks were found: `DIRECT`, or a model's name with its protocol, such as ``exatrkx http``.
        concurrency: number of requests in flight.
        instances: number of instances of the model, or of pipelines side by side.
        threads: number of threads of each of them.
        summary: throughput and latency.
        utilisation: processor time of server and models (of this process, if direct) over that of all cores.
        gpu_utilisation: mean utilisation of the GPUs, None without one.
        batch: mean number of events in one call of the model, None if direct.
        load_average: load average of the machine just before.
        rate: mean number of arrivals per second in an open loop, None in a closed one.
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

    def __str__(self) -> str:
        return (
            f"{self.sample}: {self.way}, {self.concurrency} in flight, {self.instances} instance(s):"
            f" {self.summary.throughput:.4g} events/s, p50 {1e3 * self.summary.p50:.4g} ms"
        )


@dataclass(frozen=True)
class BenchResult:
    """A whole load test.

    Attributes:
        pipeline: name of the pipeline that was served.
        samples: the samples that were sent.
        points: what was measured, in order.
        conditions: state of the machine when it began.
        raw: what `perf_analyzer` measured, each with the name of its sample.
        unstable: what `perf_analyzer` could not measure, and why.
    """

    pipeline: str
    samples: tuple[BenchSample, ...]
    points: tuple[BenchPoint, ...]
    conditions: dict[str, Any]
    raw: tuple[tuple[str, RawPoint], ...] = ()
    unstable: tuple[str, ...] = ()

    def ways(self) -> list[str]:
        """The ways in which tracks were found, in the order of the points."""
        return list(dict.fromkeys(point.way for point in self.points))

    def of(self, sample: str, way: str) -> list[BenchPoint]:
        """Closed-loop points of one sample and way."""
        return [point for point in self.points if (point.sample, point.way, point.rate) == (sample, way, None)]


def write_bench(path: Path, result: BenchResult) -> None:
    """Store a result as JSON."""
    text = json.dumps(asdict(result), indent=1) + "\n"
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def conditions(command: Sequence[str]) -> dict[str, Any]:
    """The state of the machine now, and the command that was typed."""
    return {
        "command": " ".join(command),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }
