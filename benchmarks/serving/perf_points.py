"""Points measured with NVIDIA's load generator `perf_analyzer`, for the benchmarks of serving."""

from __future__ import annotations

import base64
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from beampipe.errors import BeampipeError
from beampipe.events import Hits
from beampipe.serving.contract import FEATURES


@dataclass(frozen=True)
class RawPoint:
    """Figures of `perf_analyzer`, which does not check the labels.

    Attributes:
        model: name of the model.
        concurrency: number of requests in flight.
        throughput: events answered per second.
        p50: median of the latency [s].
        p95: 95th percentile of the latency [s].
        p99: 99th percentile of the latency [s].
        queue: mean time that a request waited in the server [s].
        compute: mean time of a request in the model [s].
    """

    model: str
    concurrency: int
    throughput: float
    p50: float
    p95: float
    p99: float
    queue: float
    compute: float


def perf_analyze(
    grpc_url: str,
    model: str,
    events: Sequence[Hits],
    concurrency: int,
    *,
    requests: int = 500,
    batches: bool = False,
    timeout: float = 120.0,
) -> RawPoint:
    """Measure one point over gRPC with NVIDIA's `perf_analyzer`, bounded so that it ends and its figures are valid.

    It exits with 0 when it has failed, writes no file then, hangs with ``--request-count``, and leaves its binary
    behind when its wrapper is killed. So the file is checked, count windows are used, and the process group is killed
    after a time limit.

    Args:
        grpc_url: address of the server for gRPC, ``host:port``.
        model: name of a model of the tracking contract.
        events: events that are sent in a cycle.
        concurrency: number of requests in flight.
        requests: number of requests in one window of the measurement. With few, a quick model answers them all before
            `perf_analyzer` has read the server's statistics, and it fails.
        batches: whether the model takes batches: its tensors then have one more axis in front.
        timeout: time that the whole measurement may take [s].

    Raises:
        BeampipeError: `perf_analyzer` is not installed, or gave no result.
    """
    program = shutil.which("perf_analyzer", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        raise BeampipeError("perf_analyzer: not installed, expected it: pip install perf-analyzer")
    with tempfile.TemporaryDirectory(prefix="beampipe-perf-") as folder:
        data, table = Path(folder) / "events.json", Path(folder) / "out.csv"
        entries = []
        for hits in events:
            raw = base64.b64encode(np.ascontiguousarray(hits.position, "<f4").tobytes()).decode()
            entries.append({FEATURES.name: {"content": {"b64": raw}, "shape": [len(hits), 3]}})
        data.write_text(json.dumps({"data": entries}))
        command = [
            program, "-m", model, "-i", "grpc", "-u", grpc_url, "--input-data", str(data),
            *(["-b", "1"] if batches else []), "--concurrency-range", str(concurrency),
            "--measurement-mode", "count_windows", "--measurement-request-count", str(requests),
            "-s", "30", "-r", "12", "--percentile", "95", "-f", str(table), "--verbose-csv",
        ]  # fmt: skip
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            output = f"no end within {timeout:g} s"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if not table.exists():
            raise BeampipeError(f"perf_analyzer: got no result, expected one row; its output: {output[-400:]}")
        with table.open(encoding="utf-8") as file:
            (row,) = csv.DictReader(file)

    columns = ("p50 latency", "p95 latency", "p99 latency", "Server Queue")
    compute = sum(float(row[f"Server Compute {part}"]) for part in ("Input", "Infer", "Output"))
    times = [1e-6 * microseconds for microseconds in (*(float(row[name]) for name in columns), compute)]
    return RawPoint(model, int(row["Concurrency"]), float(row["Inferences/Second"]), *times)
