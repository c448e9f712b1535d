"""How busy server and models were, read off the system around a measurement."""

from __future__ import annotations

import os
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from beampipe.errors import ServiceError
from beampipe.processes import processor_time
from beampipe.triton.monitoring.counters import parse_metrics
from beampipe.triton.server import control
from beampipe.triton.server.server import TritonServer

__all__ = ["Usage"]

_GPU: Final = "nv_gpu_utilization{"


@dataclass
class Usage:
    """Reads on entry and on exit of a ``with`` block.

    Attributes:
        server: server whose processes are watched; None to watch this process.
        model: name of the model whose batches are counted.
        utilisation: processor time that was used over that of all cores; known at the end of the block.
        gpu_utilisation: mean utilisation of the GPUs as Triton last said it, None without one.
        batch: mean number of events in one call of the model, None if it was not called.
    """

    server: TritonServer | None
    model: str
    utilisation: float = 0.0
    gpu_utilisation: float | None = None
    batch: float | None = None

    def __enter__(self) -> Usage:
        self._begin = self._read()
        return self

    def __exit__(self, *exception: object) -> None:
        (time, cpu, events, calls), (then, cpu_then, events_then, calls_then) = self._read(), self._begin
        self.utilisation = (cpu - cpu_then) / (time - then) / len(os.sched_getaffinity(0))
        if calls > calls_then:
            self.batch = (events - events_then) / (calls - calls_then)

    def _read(self) -> tuple[float, float, float, float]:
        if self.server is None:
            return perf_counter(), sum(os.times()[:2]), 0.0, 0.0
        pids = [self.server.pid, *(stub.pid for stub in self.server.stubs())]
        cpu = sum(_processor_time(pid) for pid in pids if pid is not None)
        text = control.ask(self.server.metrics_url, "GET", "/metrics")[1].decode()
        if gpus := [float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(_GPU)]:
            self.gpu_utilisation = sum(gpus) / len(gpus)
        values = parse_metrics(text)[self.model].values
        return perf_counter(), cpu, values.get("inferences", 0.0), values.get("executions", 0.0)


def _processor_time(pid: int) -> float:
    seconds = processor_time(pid)
    if seconds is None:
        raise ServiceError(
            f"process {pid} of the server: got no such process, expected it to live while it is measured"
        )
    return seconds
