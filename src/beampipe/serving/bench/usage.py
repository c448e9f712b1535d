"""How busy server and models were, read off the system around a measurement."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from prometheus_client.parser import text_string_to_metric_families

from beampipe.serving.server import TritonServer

__all__ = ["Usage"]

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Usage:
    """Reads on entry and on exit of a ``with`` block.

    Attributes:
        server: whose processes are watched; this process if None.
        model: whose batches are counted.
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
        cpu = _cpu_seconds(pid for pid in pids if pid is not None)
        values = _metrics(self.server.metrics_url)
        if gpus := values("nv_gpu_utilization", ""):
            self.gpu_utilisation = sum(gpus) / len(gpus)
        events, calls = (
            sum(values(f"nv_inference_{name}", self.model)) for name in ("count_total", "exec_count_total")
        )
        return perf_counter(), cpu, events, calls


def _cpu_seconds(pids: Iterable[int]) -> float:
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def _metrics(url: str) -> Callable[[str, str], list[float]]:
    """Values of a metric by name, of one model if one is given."""
    with urllib.request.urlopen(f"http://{url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def values(name: str, model: str) -> list[float]:
        names = {name, name.removesuffix("_total")}
        return [
            sample.value for sample in samples if sample.name in names and model in ("", sample.labels.get("model", ""))
        ]

    return values
