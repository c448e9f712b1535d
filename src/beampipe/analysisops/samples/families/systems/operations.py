"""What is wrong with an inference service? Metrics and logs of four servers, one of which fails in one of eight ways.

The manifest lists the ``causes`` and the ``servers``. ``metrics.json`` has, for each server, the series of `METRICS`
every 15 s over two hours; ``<server>.log`` has its log. From a hidden onset on, one server shows the signature of one
cause, and 30 to 120 s later what follows from any: more latency, fewer answers, and more requests at the other
servers. Another server has a planned restart, a burst or a harmless release of its own, each over after two minutes
or without effect, and warnings stand in every log.

Best analysis: for each cause, the metric of `SIGNATURES` on every server (query_metrics_tool tells the change of
level). A signature stays to the end: the mean after the change differs from that before by at least half of `SCALES`.
Cause and server are those of the signature; words ``cause`` and ``server``. The failure begins between the last point
before the change and the first after it: onset [s] = change_at - 7.5, with an uncertainty of 15 / sqrt(12) = 4.3. A
line of the server's log, within 20 s of the onset, says the same in other words.
"""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.samples.dataset import Instance
from beampipe.analysisops.samples.families.systems.logs import log_of
from beampipe.analysisops.samples.random_parameters import RandomParameters

__all__ = ["CAUSES", "METRICS", "SCALES", "SIGNATURES", "make"]

CAUSES: Final = (
    "full_queue",
    "dead_instance",
    "full_disk",
    "expired_certificate",
    "slow_client",
    "gpu_out_of_memory",
    "bad_release",
    "network_partition",
)
"""What may be wrong."""

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
    "full_queue": "queue_length",
    "dead_instance": "instances_ready",
    "full_disk": "disk_write_errors_per_second",
    "expired_certificate": "tls_failures_per_second",
    "slow_client": "response_send_ms",
    "gpu_out_of_memory": "gpu_memory_used_gb",
    "bad_release": "canary_agreement",
    "network_partition": "heartbeats_missed_per_second",
}
"""Cause -> the metric that shows it."""

SCALES: Final = {
    "queue_length": 120.0,
    "instances_ready": -1.0,
    "disk_write_errors_per_second": 3.0,
    "tls_failures_per_second": 8.0,
    "response_send_ms": 60.0,
    "gpu_memory_used_gb": 9.0,
    "canary_agreement": -0.4,
    "heartbeats_missed_per_second": 0.2,
}
"""Metric of a signature -> by how much its level changes."""

INTERVAL: Final = 15.0
"""Time between points [s]."""

DURATION: Final = 7200.0
"""Time that the metrics cover [s]."""

_NAMES: Final = ("amber", "basalt", "cobalt", "dune", "ember", "flint", "garnet", "heath")
_SERVERS: Final = 4
_TRANSIENT: Final = 105.0
"""How long a harmless change lasts [s]."""


def make(draws: RandomParameters) -> Instance:
    """The data of an instance."""
    cause = CAUSES[draws.choice("cause", len(CAUSES))]
    onset = draws.uniform("onset", 0.35 * DURATION, 0.8 * DURATION)
    generator = draws.generator("service")
    servers = [_NAMES[place] for place in generator.choice(len(_NAMES), _SERVERS, replace=False)]
    broken, decoy = servers[draws.choice("server", _SERVERS)], ""
    decoy = str(generator.choice([server for server in servers if server != broken]))
    harmless = float(generator.uniform(0.1, 0.3) * DURATION)
    times = np.arange(0.0, DURATION + INTERVAL / 2, INTERVAL)
    levels = {server: _usual(generator, times) for server in servers}
    _break(generator, levels, times, cause, broken, onset)
    kind = _distract(generator, levels[decoy], times, harmless)
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
        texts[f"{server}.log"] = ("log", log_of(generator, DURATION, happened))
    return Instance(
        truth={"onset": onset},
        words={"cause": cause, "server": broken},
        texts=texts,
        public={"causes": list(CAUSES), "servers": servers, "interval_s": INTERVAL, "duration_s": DURATION},
        analysis={"signatures": SIGNATURES, "scales": SCALES},
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
    signature = SIGNATURES[cause]
    size = SCALES[signature] * generator.uniform(0.85, 1.15, len(times)) ** (cause != "dead_instance")
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


def _distract(generator: np.random.Generator, metrics: dict[str, ndarray], times: ndarray, start: float) -> str:
    """Something harmless happens to a server; returns what."""
    during = (times >= start) & (times < start + _TRANSIENT)
    kind = str(generator.choice(["restart", "burst", "release"]))
    if kind == "restart":
        metrics["instances_ready"] = metrics["instances_ready"] - during
    elif kind == "burst":
        metrics["queue_length"] = metrics["queue_length"] + 80 * during
    else:
        metrics["release"] = metrics["release"] + (times >= start)
    return kind
