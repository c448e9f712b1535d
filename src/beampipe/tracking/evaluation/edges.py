"""How good a graph is before tracks are made of it: edge efficiency and purity after each stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Int64
from beampipe.tracking.evaluation.statistics import Proportion
from beampipe.tracking.events import Event
from beampipe.tracking.truth import HEADLINE, Contributions, Selection, contributions, edge_labels, true_edges, truth_of

__all__ = ["EdgeScore", "score_edges", "score_stages"]


@dataclass(frozen=True)
class EdgeScore:
    """A graph against the true edges of the selected particles (`true_edges`). Add scores to pool events.

    Attributes:
        n_edges: number of distinct edges of the graph, whichever way round.
        n_true: number of true edges.
        n_found: number of true edges that are in the graph.
        n_same: number of edges that join two hits of one particle without being a true edge: of a particle
            outside the selection, between twins, or past a layer.
    """

    n_edges: int = 0
    n_true: int = 0
    n_found: int = 0
    n_same: int = 0

    def __add__(self, other: EdgeScore) -> EdgeScore:
        return EdgeScore(*(one + more for one, more in zip(astuple(self), astuple(other), strict=True)))

    @property
    def efficiency(self) -> Proportion:
        """True edges found / true edges."""
        return Proportion(self.n_found, self.n_true)

    @property
    def purity(self) -> Proportion:
        """True edges found / edges of the graph."""
        return Proportion(self.n_found, self.n_edges)

    @property
    def purity_without_same(self) -> Proportion:
        """The same, other edges along one particle left out of the denominator: they are no mistakes."""
        return Proportion(self.n_found, self.n_edges - self.n_same)


def score_edges(
    event: Event,
    edge_index: Int64[ndarray, "2 n_edges"],
    selection: Selection = HEADLINE,
    true_edge_index: Int64[ndarray, "2 n_true"] | None = None,
    known: Contributions | None = None,
) -> EdgeScore:
    """Score one graph.

    Args:
        event: event with truth.
        edge_index: edges of the graph; repeated and reversed ones count once.
        selection: particles whose edges are wanted.
        true_edge_index: `true_edges(event, selection)`, if at hand.
        known: `contributions(event.truth)`, if at hand.

    Raises:
        InputError: the event has no truth.
        ShapeError: an edge ends at a hit that the event does not have.
    """
    truth, n_hits = truth_of(event), len(event.hits)
    known = contributions(truth) if known is None else known
    if true_edge_index is None:
        true_edge_index = true_edges(event, selection)
    # Sorting keys is several times faster than np.unique with indices, and graphs have millions of edges.
    key = np.sort(np.minimum(*edge_index) * np.int64(n_hits) + np.maximum(*edge_index))
    distinct = np.stack(np.divmod(key[np.append(True, key[1:] != key[:-1])[: len(key)]], np.int64(max(n_hits, 1))))
    label = edge_labels(distinct, true_edge_index, n_hits)
    return EdgeScore(
        n_edges=distinct.shape[1],
        n_true=true_edge_index.shape[1],
        n_found=int(np.count_nonzero(label)),
        n_same=int(np.count_nonzero(_same_particle(distinct, known) & ~label)),
    )


def score_stages(
    event: Event, graphs: Mapping[str, Int64[ndarray, "2 _"]], selection: Selection = HEADLINE
) -> dict[str, EdgeScore]:
    """Score the graph after each stage, e.g. ``{"building": ..., "filtering": ..., "gnn": ...}``."""
    true = true_edges(event, selection)
    known = contributions(truth_of(event))
    return {stage: score_edges(event, edge_index, selection, true, known) for stage, edge_index in graphs.items()}


def _same_particle(edge_index: Int64[ndarray, "2 n_edges"], known: Contributions) -> Bool[ndarray, " n_edges"]:
    """Which edges join two hits with a particle in common, merged hits included."""
    inner, outer = edge_index
    same: Bool[ndarray, " n_edges"] = (known.leading[inner] == known.leading[outer]) & (known.leading[inner] >= 0)
    merged = np.zeros(len(known.leading), np.bool_)
    merged[known.extra_hit] = True
    of_hit: dict[int, set[int]] = {}
    for hit, particle in zip(known.extra_hit.tolist(), known.extra_particle.tolist(), strict=True):
        of_hit.setdefault(hit, set()).add(particle)

    def owners(hit: int) -> set[int]:
        return (of_hit.get(hit, set()) | {int(known.leading[hit])}) - {-1}

    # Few hits are merged: a loop over their edges costs little.
    for edge in np.flatnonzero((merged[inner] | merged[outer]) & ~same).tolist():
        same[edge] = bool(owners(int(inner[edge])) & owners(int(outer[edge])))
    return same
