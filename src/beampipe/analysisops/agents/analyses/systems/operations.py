"""What is wrong with an inference service: the change that stays, in the metric that only one cause moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from beampipe.analysisops.agents.analysis import AnalysisFiles, AnalysisResult
from beampipe.errors import InputError

__all__ = ["analyse"]


@dataclass(frozen=True)
class _Sign:
    """How a cause shows.

    Attributes:
        cause: what is wrong.
        metric: the one that it moves.
        least: smallest lasting change of its level that counts; negative where the level falls.
    """

    cause: str
    metric: str
    least: float


_SIGNS: Final = (
    _Sign("full_queue", "queue_length", 60.0),
    _Sign("dead_instance", "instances_ready", -0.5),
    _Sign("full_disk", "disk_write_errors_per_second", 1.5),
    _Sign("expired_certificate", "tls_failures_per_second", 4.0),
    _Sign("slow_client", "response_send_ms", 30.0),
    _Sign("gpu_out_of_memory", "gpu_memory_used_gb", 4.5),
    _Sign("bad_release", "canary_agreement", -0.2),
    _Sign("network_partition", "heartbeats_missed_per_second", 0.1),
)


def analyse(opened: AnalysisFiles) -> AnalysisResult:
    """Look at each metric that tells a cause, on every server, for the largest change that stays."""
    best: tuple[float, _Sign, Mapping[str, Any]] | None = None
    for sign in _SIGNS:
        for series in opened.call("query_metrics_tool", name=sign.metric)["series"]:
            if series.get("change_at") is None:
                continue
            size = (series["mean_after"] - series["mean_before"]) / sign.least
            if size >= 1.0 and _stays(series, sign) and (best is None or size > best[0]):
                best = (size, sign, series)
    if best is None:
        raise InputError("metrics: got no change that lasts, expected one in the metric of a cause")
    _, sign, series = best
    change = series["change_at"]
    # Few points, so that each is shown by itself.
    near = opened.call(
        "query_metrics_tool", name=sign.metric, start=change - 300, end=change + 300, labels=series["labels"]
    )["series"][0]["times"]
    onset = opened.call(
        "calculate_tool",
        expression="(first + last) / 2",
        values={"first": max(time for time in near if time < change), "last": change},
        errors={"last": (near[1] - near[0]) / 3**0.5},
    )
    return AnalysisResult(
        {"onset": (onset["value"], onset["uncertainty"])},
        {"cause": sign.cause, "server": str(series["labels"]["server"])},
        method={
            "selection": f"{sign.metric} of every server, and the metrics of the other causes",
            "model": "one lasting step of the level; what goes back is harmless",
            "window": "the whole time that the metrics cover",
            "uncertainty": "the step lies anywhere between two points: the interval over the root of 12",
        },
    )


def _stays(series: Mapping[str, Any], sign: _Sign) -> bool:
    """Whether the level at the end is still the changed one."""
    late = series["values"][-max(3, len(series["values"]) // 20) :]
    return bool((sum(late) / len(late) - series["mean_before"]) / sign.least >= 1.0)
