"""What servers did in some time, from Triton's own counters: numbers of requests, times, stages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from beampipe.triton.monitoring.counters import Counters
from beampipe.triton.monitoring.rates import rates_between

__all__ = ["Measured", "ModelTimes", "measured_between", "together"]


@dataclass(frozen=True)
class Measured:
    """What one model did on one server, or on several.

    Attributes:
        answered: number of requests that were answered; of Python models also those that were answered with an error.
        latency: mean time of a request in the server [ms]; None if none was answered.
        compute: mean time of a request in the model [ms]; None if none was answered.
        stages: mean time of an event in each stage [ms], by name; empty for models that do not tell.
    """

    answered: int = 0
    latency: float | None = None
    compute: float | None = None
    stages: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelTimes:
    """What the old and the new version of a model did in the same time.

    Attributes:
        model: name of the model.
        old: what all servers with the old version did.
        new: what the server with the new version did.
    """

    model: str
    old: Measured
    new: Measured


def measured_between(before: Counters | None, after: Counters) -> Measured:
    """What a model did between two looks at the counters of its server.

    Args:
        before: counters at the earlier look; None if all were zero.
        after: counters at the later look.
    """
    gained = rates_between(before, after, 1.0)  # per second, of one second: the numbers themselves
    return Measured(round(gained.requests), gained.latency, gained.compute, gained.stages)


def together(parts: Iterable[Measured]) -> Measured:
    """What several servers did together: means weigh as much as they have requests."""
    found = [part for part in parts if part.answered]
    stages = {name for part in found for name in part.stages}
    return Measured(
        sum(part.answered for part in found),
        _mean([(part.latency, part.answered) for part in found]),
        _mean([(part.compute, part.answered) for part in found]),
        {
            name: mean
            for name in sorted(stages)
            if (mean := _mean([(part.stages.get(name), part.answered) for part in found])) is not None
        },
    )


def _mean(values: Sequence[tuple[float | None, int]]) -> float | None:
    known = [(value, weight) for value, weight in values if value is not None and weight]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None
