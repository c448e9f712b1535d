"""What a load test is to measure."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from beampipe.errors import ConfigError
from beampipe.serving.bench.points import DIRECT
from beampipe.serving.native_backend import BackendChoice
from beampipe.serving.variants import variants_of
from beampipe.tracking.models import DEFAULT_MODEL
from beampipe.tracking.pipelines.specs import pipeline_spec

__all__ = ["BenchPlan", "default_ways"]


@dataclass(frozen=True)
class BenchPlan:
    """What to measure.

    Attributes:
        pipeline: name of the pipeline that is served.
        ways: how tracks are found: `DIRECT`, or ``MODEL PROTOCOL``.
        concurrency: numbers of requests in flight, for one instance.
        instances: numbers of instances, each at the largest concurrency; 1 is measured in any case.
        seconds: duration of each point [s].
        repetitions: number of measurements of each point, all ways in turn; the median one (by throughput) is kept.
        device: device of the pipelines.
        threads: number of threads of one instance. If not given, the cores are shared out among the instances.
        rates: rates of an open loop, as fractions of the largest throughput of each way.
        perf_analyzer: whether to measure each model with NVIDIA's load generator, too, which looks at no label.
        triton: folder of another Triton than the installed engine.
        backend: what runs the served pipelines, ``"native"`` or ``"python"``; native if that is there, if not given.
        tracker_model: tracker model of the pipelines: the name of a shipped one, or a folder.
    """

    pipeline: str
    ways: tuple[str, ...]
    concurrency: tuple[int, ...] = (1, 2, 4, 8, 16)
    instances: tuple[int, ...] = (1,)
    seconds: float = 5.0
    repetitions: int = 1
    device: str = "cpu"
    threads: int | None = None
    rates: tuple[float, ...] = ()
    perf_analyzer: bool = False
    triton: Path | None = None
    backend: BackendChoice | None = None
    tracker_model: str | Path = DEFAULT_MODEL

    def __post_init__(self) -> None:
        if not self.ways:
            raise ConfigError("ways: got none, expected direct or MODEL PROTOCOL")

    def threads_of(self, instances: int) -> int:
        """The number of threads of each of so many instances."""
        return self.threads or max(1, len(os.sched_getaffinity(0)) // instances)


def default_ways(pipeline: str) -> tuple[str, ...]:
    """The ways to find tracks with a pipeline: direct, each model over HTTP, the plain one over gRPC and shm, too."""
    # Models for clients of others answer these with lists of rows in place of labels.
    variants = variants_of(pipeline_spec(pipeline)).values()
    plain, *others = (variant.name for variant in variants if variant.way != "athena")
    return (DIRECT, f"{plain} http", f"{plain} grpc", f"{plain} shm", *(f"{name} http" for name in others))
