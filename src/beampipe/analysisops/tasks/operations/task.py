"""What is wrong with an inference service? Metrics and logs of four servers, one of which fails in one of eight ways.

The manifest lists the ``causes`` and the ``servers``. ``metrics.json`` has, for each server, the series of `METRICS`
every 15 s over two hours; ``<server>.log`` has its log. From a hidden onset on, one server shows the signature of one
cause, and 30 to 120 s later what follows from any: more latency, fewer answers, and more requests at the other
servers. Another server has a planned restart, a burst or a harmless release of its own, each over after two minutes
or without effect, and warnings stand in every log.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import fmean
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.agents.analysis import Analysis, AnalysisResult
from beampipe.analysisops.samples.dataset import Instance, RandomParameters
from beampipe.analysisops.tools.systems import largest_change
from beampipe.errors import InputError

METRICS: Final = {
    "requests_per_second": (40.0, 3.0),
    "latency_ms": (35.0, 3.0),
    "failures_per_second": (0.02, 0.02),
    "queue_length": (6.0, 2.0),
    "instances_ready": (2.0, 0.0),
    "disk_write_errors_per_second": (0.0, 0.0),
    "disk_free_gb": (200.0, 0.5),
    "tls_failures_per_second": (0.01, 0.01),
    "response_send_ms": (4.0, 0.5),
    "open_connections": (30.0, 2.0),
    "gpu_memory_used_gb": (31.0, 0.2),
    "canary_agreement": (0.99, 0.004),
    "release": (12.0, 0.0),
    "heartbeats_missed_per_second": (0.0, 0.0),
}
"""Metric -> its usual level and how much it scatters."""

SIGNATURES: Final = {
    "full_queue": ("queue_length", 120.0),
    "dead_instance": ("instances_ready", -1.0),
    "full_disk": ("disk_write_errors_per_second", 3.0),
    "expired_certificate": ("tls_failures_per_second", 8.0),
    "slow_client": ("response_send_ms", 60.0),
    "gpu_out_of_memory": ("gpu_memory_used_gb", 9.0),
    "bad_release": ("canary_agreement", -0.4),
    "network_partition": ("heartbeats_missed_per_second", 0.2),
}
"""What may be wrong -> the metric that shows it, and by how much its level changes."""

INTERVAL: Final = 15.0
"""Time between points [s]."""

DURATION: Final = 7200.0
"""Time that the metrics cover [s]."""

_NAMES: Final = ("amber", "basalt", "cobalt", "dune", "ember", "flint", "garnet", "heath")
_SERVERS: Final = 4
_TRANSIENT: Final = 105.0
"""How long a harmless change lasts [s]."""

_HAPPENED: Final = {
    "full_queue": "WARN  scheduler: request rejected, 128 are waiting already and no more are taken",
    "dead_instance": "ERROR worker 1: exited with signal 11, not started again",
    "full_disk": "ERROR writer: write of response cache failed: No space left on device",
    "expired_certificate": "ERROR door: handshake refused by peer: certificate is not valid any more",
    "slow_client": "WARN  door: peer 10.3.0.17 takes its answers at 2 kB/s, 61 responses are held for it",
    "gpu_out_of_memory": "ERROR worker 0: allocation of 2147483648 bytes on device 0 failed",
    "bad_release": "INFO  repository: model tracks version 13 replaces version 12",
    "network_partition": "WARN  cluster: no heartbeat from the other members for 10 s",
    "restart": "INFO  worker 1: stopped for maintenance, back in two minutes",
    "burst": "WARN  scheduler: 90 requests are waiting",
    "release": "INFO  repository: model tracks version 13 replaces version 12",
}
"""What happened -> what the log says of it."""

_ALWAYS: Final = (
    "INFO  door: connection from 10.3.0.{peer} accepted",
    "INFO  door: connection from 10.3.0.{peer} closed",
    "INFO  scheduler: batch of {number} done",
    "INFO  worker 0: model tracks answered {number} requests",
    "WARN  scheduler: request waited {number} ms",
    "WARN  door: peer 10.3.0.{peer} closed early",
    "INFO  metrics: scraped",
)

_BETWEEN: Final = 20.0
"""Mean time between lines [s]."""


def make(random: RandomParameters) -> Instance:
    """The data of an instance."""
    causes = list(SIGNATURES)
    cause = causes[random.choice("cause", len(causes))]
    onset = random.uniform("onset", 0.35 * DURATION, 0.8 * DURATION)
    generator = random.generator("service")
    servers = [_NAMES[number] for number in generator.choice(len(_NAMES), _SERVERS, replace=False)]
    broken = servers[random.choice("server", _SERVERS)]
    decoy = str(generator.choice([server for server in servers if server != broken]))
    harmless = float(generator.uniform(0.1, 0.3) * DURATION)
    times = np.arange(0.0, DURATION + INTERVAL / 2, INTERVAL)
    levels = {server: _usual(generator, times) for server in servers}
    _break(generator, levels, times, cause, broken, onset)
    # Something harmless happens to another server.
    during, metrics = (times >= harmless) & (times < harmless + _TRANSIENT), levels[decoy]
    kind = str(generator.choice(["restart", "burst", "release"]))
    if kind == "restart":
        metrics["instances_ready"] = metrics["instances_ready"] - during
    elif kind == "burst":
        metrics["queue_length"] = metrics["queue_length"] + 80 * during
    else:
        metrics["release"] = metrics["release"] + (times >= harmless)
    series = [
        {
            "name": metric,
            "labels": {"server": server},
            "times": times.tolist(),
            "values": [round(float(value), 4) for value in values],
        }
        for server, metrics in levels.items()
        for metric, values in metrics.items()
    ]
    texts = {"metrics.json": ("metrics", json.dumps({"series": series}))}
    for server in servers:
        happened = []
        if server == broken:
            happened.append((onset + float(generator.uniform(0, 20)), cause))
        if server == decoy:
            happened.append((harmless, kind))
        texts[f"{server}.log"] = ("log", _log(generator, happened))
    return Instance(
        truth={"onset": onset},
        words={"cause": cause, "server": broken},
        texts=texts,
        public={"causes": causes, "servers": servers, "interval_s": INTERVAL, "duration_s": DURATION},
    )


def _usual(generator: np.random.Generator, times: ndarray) -> dict[str, ndarray]:
    """The metrics of a server that nothing happens to."""
    levels = {
        name: level * generator.uniform(0.9, 1.1) * (scatter > 0) + level * (scatter == 0)
        for name, (level, scatter) in METRICS.items()
    }
    levels["canary_agreement"] = METRICS["canary_agreement"][0]
    metrics: dict[str, Any] = {
        name: np.maximum(levels[name] + generator.normal(0, 1, len(times)) * scatter, 0.0)
        for name, (_, scatter) in METRICS.items()
    }
    metrics["disk_free_gb"] -= 0.002 * times
    metrics["canary_agreement"] = np.minimum(metrics["canary_agreement"], 1.0)
    return metrics


def _break(
    generator: np.random.Generator,
    levels: dict[str, dict[str, ndarray]],
    times: ndarray,
    cause: str,
    broken: str,
    onset: float,
) -> None:
    """One server fails, which the others feel."""
    after, later = times >= onset, times >= onset + generator.uniform(30, 120)
    metrics = levels[broken]
    signature, scale = SIGNATURES[cause]
    size = scale * generator.uniform(0.85, 1.15, len(times)) ** (cause != "dead_instance")
    metrics[signature] = metrics[signature] + after * size
    metrics["latency_ms"] = metrics["latency_ms"] * np.where(later, generator.uniform(1.6, 2.5), 1.0)
    metrics["failures_per_second"] = metrics["failures_per_second"] + later * generator.uniform(0.8, 3.0)
    metrics["requests_per_second"] = metrics["requests_per_second"] * np.where(later, 0.6, 1.0)
    if cause == "full_disk":
        left = metrics["disk_free_gb"] * np.clip((onset - times) / (0.8 * onset), 0, 1)
        metrics["disk_free_gb"] = np.minimum(metrics["disk_free_gb"], left)
    if cause == "bad_release":
        metrics["release"] = metrics["release"] + after
    if cause == "slow_client":
        metrics["open_connections"] = metrics["open_connections"] * np.where(after, 2.0, 1.0)
    for server, others in levels.items():
        if server != broken:
            others["requests_per_second"] = others["requests_per_second"] * np.where(later, 1.13, 1.0)
            others["latency_ms"] = others["latency_ms"] * np.where(later, 1.15, 1.0)


def _log(generator: np.random.Generator, happened: Sequence[tuple[float, str]]) -> str:
    """The log of a server, with the time [s] and name of each thing that happened."""
    lines = [(time, _HAPPENED[what]) for time, what in happened]
    for time in np.sort(generator.uniform(0, DURATION, int(DURATION / _BETWEEN))):
        text = _ALWAYS[generator.integers(len(_ALWAYS))]
        lines.append((float(time), text.format(peer=generator.integers(2, 60), number=generator.integers(1, 64))))
    return "".join(f"{time:9.3f} {text}\n" for time, text in sorted(lines))


def analyse(analysis: Analysis) -> AnalysisResult:
    """Look at each metric that tells a cause, on every server, for the largest change that stays.

    For each cause, the metric of `SIGNATURES` on every server, split where two constant levels describe it best. A
    signature stays to the end: the mean after the change differs from that before by at least half of its size. Cause
    and server are those of the signature; words ``cause`` and ``server``. The failure begins between the last point
    before the change and the first after it, which are found among the single points near it: onset [s] = their mean,
    with an uncertainty of 15 / sqrt(12) = 4.3. A line of the server's log, within 20 s of the onset, says the same in
    other words.
    """
    largest, cause, changed = 0.0, "", None
    for name, (metric, scale) in SIGNATURES.items():
        for series in analysis.call("query_metrics_tool", name=metric)["series"]:
            values = series["values"]
            split = largest_change(values)
            if split is None:
                continue
            before, after = fmean(values[:split]), fmean(values[split:])
            late = fmean(values[-max(3, len(values) // 20) :])
            least = scale / 2
            at_change, at_end = (after - before) / least, (late - before) / least
            if min(at_change, at_end) >= 1.0 and at_change > largest:
                largest, cause, changed = at_change, name, (series["labels"], series["times"][split])
    if changed is None:
        raise InputError("metrics: got no change that lasts, expected one in the metric of a cause")
    (metric, _), (labels, change) = SIGNATURES[cause], changed
    # Few points, so that each is shown by itself.
    near = analysis.call("query_metrics_tool", name=metric, start=change - 300, end=change + 300, labels=labels)
    (series,) = near["series"]
    split = largest_change(series["values"])
    assert split is not None, "the change lies in this range"
    points = {"first": series["times"][split - 1], "last": series["times"][split]}
    onset = analysis.call("calculate_tool", expression="(first + last) / 2", values=points)
    error = analysis.call("calculate_tool", expression="(last - first) / sqrt(12)", values=points)
    return AnalysisResult(
        {"onset": (onset["value"], error["value"])},
        {"cause": cause, "server": str(labels["server"])},
        method={
            "selection": f"{metric} of every server, and the metrics of the other causes",
            "model": "one lasting step of the level; what goes back is harmless",
            "window": "the whole time that the metrics cover",
            "uncertainty": "the step lies anywhere between two points: the interval over the root of 12",
        },
    )
