"""Contents that a submission only names: the host takes them from the ledger or the session, never from the agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from beampipe.analysisops.contract import HistogramReference
from beampipe.analysisops.grading.submission import Submission, number_of
from beampipe.analysisops.ledger import Entry

__all__ = ["Evidence", "histogram_of"]


@dataclass(frozen=True)
class Evidence:
    """What the host hands to the checks of one submission beside the ledger.

    Attributes:
        histograms: contents of histograms that the host recomputed, by the name of the answer; the ledger knows those
            that the tools filled.
        labels: track of each hit, -1 for none, by the name of the artifact.
        particle_id: particle of each hit, -1 for none; the truth of `labels`.
        reconstructable: particles that should be found.
    """

    histograms: Mapping[str, HistogramReference] = field(default_factory=dict)
    labels: Mapping[str, Sequence[int]] = field(default_factory=dict)
    particle_id: Sequence[int] = ()
    reconstructable: Sequence[int] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON types, for a log; `from_json` reads it back."""
        return {
            "histograms": {
                name: {"edges": list(one.edges), "values": list(one.values)} for name, one in self.histograms.items()
            },
            "labels": {name: [int(label) for label in labels] for name, labels in self.labels.items()},
            "particle_id": [int(one) for one in self.particle_id],
            "reconstructable": [int(one) for one in self.reconstructable],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Evidence:
        """What `to_json` wrote; keys may be missing."""
        return cls(
            {
                name: HistogramReference(tuple(one["edges"]), tuple(one["values"]))
                for name, one in data.get("histograms", {}).items()
            },
            dict(data.get("labels", {})),
            tuple(data.get("particle_id", ())),
            tuple(data.get("reconstructable", ())),
        )


def histogram_of(
    name: str, submission: Submission, entries: Sequence[Entry], evidence: Evidence
) -> tuple[HistogramReference | None, str]:
    """The histogram that a submission names, and why there is none.

    A handle, or the name of an artifact that was exported from one, leads to the entry of the ledger that filled it.
    The entry must descend from data files.
    """
    if name in evidence.histograms:
        return evidence.histograms[name], ""
    handle = submission.section("histograms").get(name)
    if not isinstance(handle, str) or not handle:
        return None, f"histograms.{name} names no handle"
    for entry in entries:
        if entry.result and entry.result.get("artifact") == handle and isinstance(entry.arguments.get("handle"), str):
            handle = str(entry.arguments["handle"])
            break
    for entry in entries:
        if entry.result and entry.result.get("handle") == handle and "edges" in entry.result:
            if not entry.sources:
                return None, f"{handle!r} was filled from no data file"
            return _read(entry.result, handle)
    return None, f"no histogram {handle[:60]!r} was filled by the tools"


def _read(result: Mapping[str, Any], handle: str) -> tuple[HistogramReference | None, str]:
    edges = [number_of(one) for one in result["edges"]]
    values = [number_of(one) for one in result.get("values", ())]
    if None in edges or None in values or len(edges) != len(values) + 1:
        return None, f"{handle!r} has {len(edges)} edges and {len(values)} values, or some that are not finite"
    return HistogramReference(tuple(map(float, edges)), tuple(map(float, values))), ""  # type: ignore[arg-type]
