"""Tracks that were found against the particles that made the hits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from beampipe.analysisops.grading.checks.case import Case, Outcome
from beampipe.errors import ConfigError

__all__ = ["Tracks", "double_majority"]


@dataclass(frozen=True)
class Tracks:
    """``min(1, efficiency / goal)`` with the efficiency by double majority.

    A particle is found if some track has more than half of its own hits from it, and holds more than half of the
    particle's hits. All hits on one track, or each on its own, find nothing.

    Attributes:
        artifact: name of the answer under ``artifacts``; the host hands over its labels, one per hit.
        goal: efficiency that earns all points, unless the reference of the instance has a quantity ``efficiency``.
    """

    artifact: str
    goal: float = 0.9

    def __post_init__(self) -> None:
        if not 0.0 < self.goal <= 1.0:
            raise ConfigError(f"tracks: got goal = {self.goal}, expected more than 0 and at most 1")

    def __call__(self, case: Case) -> Outcome:
        """The fraction; 0 without one label per hit."""
        truth, wanted = case.evidence.particle_id, case.evidence.reconstructable
        if not len(truth) or not len(wanted):
            raise ConfigError("evidence: got no particle_id or no reconstructable particles, expected both")
        labels = case.evidence.labels.get(self.artifact)
        if not isinstance(case.submission.section("artifacts").get(self.artifact), str) or labels is None:
            return Outcome(0.0, f"artifacts.{self.artifact} names no labels that the tools exported")
        if len(labels) != len(truth):
            return Outcome(0.0, f"{len(labels)} labels, expected one for each of {len(truth)} hits")
        found, fakes = double_majority(labels, truth)
        efficiency = len(found & set(wanted)) / len(set(wanted))
        best = case.reference.get("instance", {}).get("quantities", {}).get("efficiency")
        goal = float(best["value"]) if best else self.goal
        evidence = {"efficiency": efficiency, "goal": goal, "fakes": fakes}
        return Outcome(min(1.0, efficiency / goal), f"efficiency {efficiency:.3f}, {fakes} fakes", evidence)


def double_majority(labels: Sequence[int], particle_id: Sequence[int]) -> tuple[set[int], int]:
    """Particles that are found by double majority, and the number of tracks that found none.

    Args:
        labels: track of each hit, negative for none.
        particle_id: particle of each hit, negative for none.
    """
    on_track = Counter(label for label in labels if label >= 0)
    of_particle = Counter(particle for particle in particle_id if particle >= 0)
    shared = Counter(pair for pair in zip(labels, particle_id, strict=True) if pair[0] >= 0 and pair[1] >= 0)
    good = {
        (label, particle)
        for (label, particle), n in shared.items()
        if 2 * n > on_track[label] and 2 * n > of_particle[particle]
    }
    return {particle for _, particle in good}, len(on_track) - len({label for label, _ in good})
