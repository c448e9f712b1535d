"""Checks of the running fleet: that it is repaired, without needless changes, and that measurements prove it.

The host measured the fleet before the fault, with it, and after the agent's answer (`Evidence.system`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from beampipe.analysisops.grading.submission import Case, Outcome, slope
from beampipe.analysisops.ledger import Entry
from beampipe.errors import ConfigError

_CHANGES: Final = ("change_specification_tool", "command_server_tool")


def _changes(case: Case) -> list[Entry]:
    """Changes of the fleet that were carried out."""
    return [entry for entry in case.entries if entry.tool in _CHANGES and entry.result]


@dataclass(frozen=True)
class Mended:
    """Share of the excess latency that is gone: all points from 0.6 on, none up to 0.3.

    With L the latency of the healthy, the broken and the present fleet, the share is (L_b - L) / (L_b - L_h). L is the
    lower one of what the host measured, and of what is expected in the state of gateway and processes; so a busy
    machine costs nothing. L_b and L_h are expected; a broken fleet cannot be measured faster, since its servers work
    for a fixed time on each request. Requests without an answer, more than one in twenty, earn nothing.
    """

    full: float = 0.6
    zero: float = 0.3

    def __post_init__(self) -> None:
        if not 0.0 <= self.zero < self.full <= 1.0:
            raise ConfigError(f"mended: got zero = {self.zero}, full = {self.full}, expected 0 <= zero < full <= 1")

    def __call__(self, case: Case) -> Outcome:
        """The fraction; 0 without a change."""
        system = case.evidence.system
        if not system or not _changes(case):
            return Outcome(0.0, "nothing was changed")
        after = system["after"]
        if after["failures"] > 0.05 * (after["answers"] + after["failures"]) or not after["answers"]:
            return Outcome(0.0, f"{after['failures']} requests without an answer", dict(after))
        healthy = system["expected_healthy_s"]
        broken = min(system["expected_broken_s"], system["broken"]["latency_ms"] / 1e3)
        latency = min(system["expected_after_s"], after["latency_ms"] / 1e3)
        share = (broken - latency) / (broken - healthy)
        evidence = {"latency_s": latency, "healthy_s": healthy, "broken_s": broken, "share": share}
        fraction = 1.0 - slope(share, self.zero, self.full)
        return Outcome(fraction, f"{share:.2f} of the excess latency is gone", evidence)


@dataclass(frozen=True)
class Careful:
    """All points for up to `few` changes, none from `many` on."""

    few: int = 3
    many: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.few < self.many:
            raise ConfigError(f"careful: got few = {self.few}, many = {self.many}, expected 0 < few < many")

    def __call__(self, case: Case) -> Outcome:
        """The fraction."""
        number = len(_changes(case))
        fraction = slope(float(number), float(self.few), float(self.many))
        return Outcome(fraction, f"{number} changes", {"changes": number})


@dataclass(frozen=True)
class Measured:
    """All points for a latency of the whole service that a tool measured at the right moment.

    Before: with the fault, and before the first change. After: after the last change, with three tenths of the excess
    latency gone; one tenth earns nothing. More is not required, since test requests are few, and the host measures the
    repair itself (`Mended`). The excess is (1 - L_h / L_b) of the latency before. The share that is gone is the larger
    of two: by the test requests, and as expected from the state of gateway and processes, since on a busy machine test
    requests may not show a repair.

    Attributes:
        answer: name of the answer.
        moment: when it must have been measured.
    """

    answer: str
    moment: Literal["before", "after"]

    def __post_init__(self) -> None:
        if self.moment not in ("before", "after"):
            raise ConfigError(f"measured: got moment = {self.moment!r}, expected before or after")

    def __call__(self, case: Case) -> Outcome:
        """The fraction."""
        system, changes = case.evidence.system, _changes(case)
        measured = self._times(case)
        if not system or not changes or measured is None:
            slip = f"answers.{self.answer} names no latency_ms of the whole service that a tool measured"
            return Outcome(0.0, slip, slip=f"{slip}; take it from send_requests_tool")
        start, end = measured
        if self.moment == "before":
            first = min(entry.result["start_s"] for entry in changes if entry.result)
            right = system["broken_at_s"] <= start and end <= first
            return Outcome(float(right), f"measured from {start:g} to {end:g} s, first change at {first:g} s")
        last = max(entry.result["end_s"] for entry in changes if entry.result)
        if start < last:
            return Outcome(0.0, f"measured from {start:g} s on, last change until {last:g} s")
        before, after = (case.submission.answer(name)[0] for name in ("latency_before", self.answer))
        if not before or not after or min(before, after) <= 0:
            return Outcome(0.0, "no latency before, or none after")
        healthy, broken, present = (system[f"expected_{state}_s"] for state in ("healthy", "broken", "after"))
        gone = max(1.0 - after / before, 1.0 - present / broken) / (1.0 - healthy / broken)
        return Outcome(1.0 - slope(gone, 0.1, 0.3), f"latency fell by a factor {before / after:.2f}", {"gone": gone})

    def _times(self, case: Case) -> tuple[float, float] | None:
        """Begin and end [s] of the measurement that the answer names."""
        origin = case.provenance.get(self.answer, {}).get("value", {})
        if origin.get("label") != "traceable":
            return None
        result = case.entries[origin["entry"] - 1].result or {}
        if origin["tool"] == "send_requests_tool" and origin["path"] == "latency_ms":
            return float(result["start_s"]), float(result["end_s"])
        path = origin["path"].split(".")
        if origin["tool"] != "query_metrics_tool" or result.get("name") != "latency_ms":
            return None
        if len(path) < 3 or path[0] != "series" or path[2] not in ("mean", "values"):
            return None
        series = result["series"][int(path[1])]
        if series["labels"] != {"server": "all"}:
            return None
        # A mean, or a point, of the series of the whole service.
        times = series["times"] if path[2] == "mean" else [series["times"][int(path[3])]]
        return float(times[0]), float(times[-1])


CHECKS: Final = {"mended": Mended, "careful": Careful, "measured": Measured}
