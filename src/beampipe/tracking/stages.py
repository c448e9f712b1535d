"""The stages of track finding, and the arrays that they hand on to each other.

A stage declares which arrays it needs and which it makes, by the names of `ARRAYS`. It is called with those that it
needs, as keyword arguments, and returns those that it makes, in that order. It does not depend on other stages: the
pipeline keeps the arrays, and checks the order of its stages when it is built (`beampipe.tracking.pipeline`).

A named pipeline on the CPU runs the same stages composed in C++ (`kernels/native/pipelines`). The stages here run
beside stages of your own, and are the reference that the composition is compared with.

`threads` is the number of threads of one call; no result depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final, Protocol, runtime_checkable

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Int64
from beampipe.events import Offsets, Position, TrackIds
from beampipe.tracking import kernels
from beampipe.tracking.catalogue import PipelineSpec, Walk
from beampipe.tracking.kernels.features import EMBEDDING_SIZE, on_chains
from beampipe.tracking.kernels.geometry import Chi2, EdgeIndex, EdgeValues, PairTable, TripletGraph, Triplets
from beampipe.tracking.kernels.weights import load_networks
from beampipe.tracking.models import weight_file
from beampipe.tracking.windows import SEED_DEPTH, Windows, load_windows

ARRAYS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "position": "(n_hits, 3) float32: r [mm], phi [rad] between -pi and pi, z [mm]; input",
        "offsets": "(n_events + 1,) int64: first hit of each event, and the end; None for one event; input",
        "embedding": "(n_hits, 16) float32: source vector, then target vector of each hit",
        "edge_index": "(2, n_edges) int64: inner hit, outer hit, sorted by both; edges connect hits of the same event",
        "distance2": "(n_edges,) float32: squared distance of an edge's source and target vector",
        "triplets": "(2, n_triplets) int64: pairs of edges (in, out) that share a hit, from the beam outwards",
        "chi2": "(n_triplets,) float32: chi2 of each triplet in units of its window, below 1",
        "pair_features": "(n_edges, 6) float32: summary of the triplets of each edge",
        "edge_score": "(n_edges,) float32: score of each edge in [0, 1]",
        "edge_logit": "(n_edges,) float32: logit of each score; distinguishes scores that round to 1",
        "track_id": "(n_hits,) int64: track of each hit, -1 for none; tracks are numbered by their first hit",
    }
)
"""Name -> shape, type and meaning of the arrays that our stages hand on. A stage of your own may add others."""

OF_HITS: Final = frozenset({"position", "offsets", "embedding", "track_id"})
"""The arrays that stay valid when `edge_index` changes; all others belong to the `edge_index` they were made with."""


@runtime_checkable
class Stage(Protocol):
    """One step from hits to tracks; `needs` and `makes` are names of arrays."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the arrays that the stage is called with, as keyword arguments."""

    @property
    def makes(self) -> tuple[str, ...]:
        """Names of the arrays that the stage returns, in that order."""

    def __call__(self, *args: Any, **arrays: Any) -> tuple[Any, ...]:
        """Compute the arrays `makes` from the arrays `needs`, which stay unchanged."""


Line = tuple[tuple[str, Stage], ...]
"""Name of the step and stage, in order; steps of one name are timed together."""


@dataclass(frozen=True, eq=False)
class EmbedHits:
    """Embeds hits so that consecutive hits of one particle come close.

    Attributes:
        network: weights of the embedding.
        threads: number of threads.
    """

    needs: ClassVar = ("position",)
    makes: ClassVar = ("embedding",)

    network: kernels.Mlp
    threads: int

    def __call__(self, position: Position) -> tuple[Float32[ndarray, "n_hits d"]]:
        return (kernels.embed(position, self.network, self.threads),)


@dataclass(frozen=True, eq=False)
class FindNeighbours:
    """Joins hits that are close in the embedding and whose edge points back to the beam.

    Attributes:
        radius: largest distance of an edge's source and target vector.
        max_neighbours: most outgoing edges of a hit; the nearest stay.
        kappa_max: largest |curvature| of an edge [1/mm].
        z0_max: largest |z| of an edge's line at the beam line [mm].
        threads: number of threads.
    """

    needs: ClassVar = ("position", "embedding", "offsets")
    makes: ClassVar = ("edge_index", "distance2")

    radius: float
    max_neighbours: int
    kappa_max: float
    z0_max: float
    threads: int

    def __call__(
        self, position: Position, embedding: Float32[ndarray, "n_hits d"], offsets: Offsets | None
    ) -> tuple[EdgeIndex, EdgeValues]:
        return kernels.radius_edges(
            embedding[:, :EMBEDDING_SIZE],
            embedding[:, EMBEDDING_SIZE:],
            position,
            self.radius,
            self.max_neighbours,
            self.kappa_max,
            self.z0_max,
            self.threads,
            offsets,
        )


@dataclass(frozen=True, eq=False)
class FilterEdges:
    """Drops edges that the filter network scores below a cut.

    Attributes:
        network: weights of the filter.
        cut: lowest score of an edge that stays, in [0, 1].
        threads: number of threads.
    """

    needs: ClassVar = ("position", "edge_index", "distance2")
    makes: ClassVar = ("edge_index",)

    network: kernels.Mlp
    cut: float
    threads: int

    def __call__(
        self, position: Position, edge_index: EdgeIndex, distance2: EdgeValues
    ) -> tuple[Int64[ndarray, "2 n_kept"]]:
        return (kernels.filter_kept(position, edge_index, distance2, self.network, self.cut, self.threads),)


@dataclass(frozen=True, eq=False)
class BuildFromWindows:
    """Joins hits whose doublet lies inside its learned window and takes part in a triplet inside its own.

    Attributes:
        windows: learned tables of layers, doublets and triplets.
        threads: number of threads.
        seed_depth: most layers before those on which tracks begin to grow.
        least_curvature: share of each window's largest curvature below which doublets are left out.
    """

    needs: ClassVar = ("position", "offsets")
    makes: ClassVar = ("edge_index",)

    windows: Windows
    threads: int
    seed_depth: int = SEED_DEPTH
    least_curvature: float = 0.0

    def __call__(self, position: Position, offsets: Offsets | None) -> tuple[EdgeIndex]:
        edge_index = kernels.module_map_edges(
            position, self.windows, self.threads, offsets, self.seed_depth, self.least_curvature
        )
        return (edge_index,)


@dataclass(frozen=True, eq=False)
class KeepNeighbours:
    """Drops edges whose hits are not close in the embedding.

    Attributes:
        radius: largest distance of an edge's source and target vector.
    """

    needs: ClassVar = ("embedding", "edge_index")
    makes: ClassVar = ("edge_index", "distance2")

    radius: float

    def __call__(
        self, embedding: Float32[ndarray, "n_hits d"], edge_index: EdgeIndex
    ) -> tuple[Int64[ndarray, "2 n_kept"], Float32[ndarray, " n_kept"]]:
        inner, outer = edge_index
        distance2 = np.zeros(len(inner), np.float32)
        for k in range(EMBEDDING_SIZE):  # in this order, so that the sums are those of the compiled pipeline
            distance2 += np.square(embedding[outer, EMBEDDING_SIZE + k] - embedding[inner, k])
        near = distance2 < np.float32(self.radius) * np.float32(self.radius)
        return np.ascontiguousarray(edge_index[:, near]), distance2[near]


@dataclass(frozen=True, eq=False)
class FindTriplets:
    """Finds the pairs of edges that share a hit and agree in curvature and slope.

    Attributes:
        windows: learned tables of layers, doublets and triplets.
        threads: number of threads.
    """

    needs: ClassVar = ("position", "edge_index")
    makes: ClassVar = ("triplets", "chi2")

    windows: Windows
    threads: int

    def __call__(self, position: Position, edge_index: EdgeIndex) -> tuple[Triplets, Chi2]:
        return kernels.triplets(position, edge_index, self.windows, self.threads)


@dataclass(frozen=True, eq=False)
class PairEdges:
    """Finds the triplets, computes features of each edge from them, and drops the edges that lead to no track.

    A chain is a sequence of edges in which each neighbouring pair is a triplet. Exactly the edges on a chain of at
    least `min_hits` hits stay. The features of an edge also count partners that are dropped.

    Attributes:
        windows: learned tables of layers, doublets and triplets.
        min_hits: fewest hits of a chain whose edges stay; 3, or less, requires a partner only.
        threads: number of threads.
    """

    needs: ClassVar = ("position", "edge_index")
    makes: ClassVar = ("edge_index", "triplets", "chi2", "pair_features")

    windows: Windows
    min_hits: int
    threads: int

    def __call__(
        self, position: Position, edge_index: EdgeIndex
    ) -> tuple[Int64[ndarray, "2 n_kept"], Triplets, Chi2, Float32[ndarray, "n_kept 6"]]:
        triplets, chi2 = kernels.triplets(position, edge_index, self.windows, self.threads)
        features = kernels.pair_features(triplets, chi2, edge_index.shape[1])
        stays = on_chains(features, self.min_hits)
        both = stays[triplets].all(axis=0)
        number = np.cumsum(stays) - 1  # of the edges that stay
        return np.ascontiguousarray(edge_index[:, stays]), number[triplets[:, both]], chi2[both], features[stays]


@dataclass(frozen=True, eq=False)
class ScoreEdges:
    """Scores edges with an interaction network.

    Attributes:
        network: weights of the network; pair features are ignored if it was trained without them.
        threads: number of threads.
    """

    needs: ClassVar = ("position", "edge_index", "pair_features")
    makes: ClassVar = ("edge_score", "edge_logit")

    network: kernels.GnnWeights
    threads: int

    def __call__(
        self, position: Position, edge_index: EdgeIndex, pair_features: PairTable
    ) -> tuple[EdgeValues, EdgeValues]:
        pairs = pair_features if self.network.n_pair_features else pair_features[:, :0]
        return kernels.gnn_scores(position, edge_index, pairs, self.network, self.threads)


@dataclass(frozen=True, eq=False)
class ConnectComponents:
    """Makes tracks of the connected components of the likely edges.

    Attributes:
        score_cut: lowest score of an edge that joins hits, in [0, 1].
        min_hits: fewest hits of a track.
    """

    needs: ClassVar = ("position", "edge_index", "edge_score")
    makes: ClassVar = ("track_id",)

    score_cut: float
    min_hits: int

    def __call__(self, position: Position, edge_index: EdgeIndex, edge_score: EdgeValues) -> tuple[TrackIds]:
        kept = np.ascontiguousarray(edge_index[:, edge_score >= self.score_cut])
        return (kernels.connected_components(len(position), kept, self.min_hits),)


@dataclass(frozen=True, eq=False)
class WalkByChi2:
    """Makes tracks of the best paths, by length and chi2: each edge adds 1 to the score, each triplet subtracts.

    Attributes:
        windows: learned tables, whose layers tell the hits of overlapping modules.
        penalty: cost of a triplet at the edge of its window, in units of one edge.
        min_hits: fewest hits of a path.
        threads: number of threads.
    """

    needs: ClassVar = ("position", "edge_index", "triplets", "chi2")
    makes: ClassVar = ("track_id",)

    windows: Windows
    penalty: float
    min_hits: int
    threads: int

    def __call__(self, position: Position, edge_index: EdgeIndex, triplets: Triplets, chi2: Chi2) -> tuple[TrackIds]:
        weight = np.ones(edge_index.shape[1], np.float32)
        layer = kernels.assign_layers(position, self.windows, self.threads)
        graph = TripletGraph(edge_index, triplets, chi2)
        return (kernels.walk(graph, weight, layer, self.penalty, self.min_hits),)


@dataclass(frozen=True, eq=False)
class WalkByScore:
    """Makes tracks of the best paths, by the scores of their edges and chi2.

    The weight of an edge is its logit less that of `score_cut`, clipped, times `edges_per_logit`: a likely edge
    lengthens a path, an unlikely one costs.

    Attributes:
        windows: learned tables, whose layers tell the hits of overlapping modules.
        penalty: cost of a triplet at the edge of its window, in units of one edge.
        min_hits: fewest hits of a path.
        score_cut: score in [0, 1] at which an edge is as good as none.
        threads: number of threads.
        logit_max: largest distance of a logit from the cut that counts: no edge is worth or costs more.
        edges_per_logit: length that one unit of logit is worth, in edges.
    """

    needs: ClassVar = ("position", "edge_index", "triplets", "chi2", "edge_logit")
    makes: ClassVar = ("track_id",)

    windows: Windows
    penalty: float
    min_hits: int
    score_cut: float
    threads: int
    logit_max: float = 8.0
    edges_per_logit: float = 0.25

    def __call__(
        self, position: Position, edge_index: EdgeIndex, triplets: Triplets, chi2: Chi2, edge_logit: EdgeValues
    ) -> tuple[TrackIds]:
        limit = np.float32(self.logit_max)
        distance = np.clip(edge_logit - kernels.logit_of(self.score_cut), -limit, limit)
        weight = distance * np.float32(self.edges_per_logit)
        layer = kernels.assign_layers(position, self.windows, self.threads)
        graph = TripletGraph(edge_index, triplets, chi2)
        return (kernels.walk(graph, weight, layer, self.penalty, self.min_hits),)


@dataclass(frozen=True, eq=False)
class CompleteTracks:
    """Completes tracks with the free hits beyond their ends, and drops those that are short for their chi2.

    Attributes:
        windows: learned tables of triplets; a track's end may skip one layer more than they do.
        penalty: cost of three layers in a row whose chi2 is at the edge of the window, in layers.
        min_score: lowest score of a track that stays: number of layers, less 1, less the cost of their chi2.
        threads: number of threads.
        min_hits: fewest hits of a completed track that stays.
    """

    needs: ClassVar = ("position", "offsets", "track_id")
    makes: ClassVar = ("track_id",)

    windows: Windows
    penalty: float
    min_score: float
    threads: int
    min_hits: int = 0

    def __call__(self, position: Position, offsets: Offsets | None, track_id: TrackIds) -> tuple[TrackIds]:
        completed = kernels.complete(
            position, track_id, self.windows, self.penalty, self.min_score, self.threads, offsets, self.min_hits
        )
        return (completed,)


STAGE_KINDS: Final = (
    EmbedHits,
    FindNeighbours,
    FilterEdges,
    BuildFromWindows,
    KeepNeighbours,
    FindTriplets,
    PairEdges,
    ScoreEdges,
    ConnectComponents,
    WalkByChi2,
    WalkByScore,
    CompleteTracks,
)
"""All stages of this module, in the order in which a pipeline may run them."""


def stages_of(spec: PipelineSpec, folder: Path, threads: int) -> Line:
    """The stages of one pass of a pipeline, in order.

    Args:
        spec: specification of the pass; passes before it are left out.
        folder: folder of the weight files.
        threads: number of threads for one call.

    Raises:
        FileError: weights are missing or damaged, or one of the networks was not trained.
    """
    windows = load_windows(weight_file(folder, spec.windows)).widened().up_to(spec.curvature)
    trained = None if spec.networks is None else load_networks(weight_file(folder, spec.networks))
    how, line = spec.segmentation, list[tuple[str, Stage]]()
    if trained is not None and spec.graph != "windows":
        line.append(("embedding", EmbedHits(trained.embedding, threads)))
    if trained is not None and spec.graph == "neighbours":
        cuts = trained.config
        neighbours = FindNeighbours(cuts.radius, cuts.max_neighbours, cuts.kappa_max, cuts.z0_max, threads)
        line.append(("building", neighbours))
    else:
        least_curvature = spec.curvature_from / spec.curvature
        line.append(("building", BuildFromWindows(windows, threads, spec.seed_depth, least_curvature)))
    if trained is not None and spec.graph == "both":
        line.append(("building", KeepNeighbours(trained.config.radius)))
    if trained is not None and spec.graph != "windows":
        line.append(("filtering", FilterEdges(trained.filter, trained.config.filter_cut, threads)))
    if trained is not None and spec.scored:
        line.append(("filtering", PairEdges(windows, how.chain_hits, threads)))
        line.append(("gnn", ScoreEdges(trained.gnn, threads)))
    else:
        line.append(("filtering", FindTriplets(windows, threads)))
    if isinstance(how, Walk) and spec.scored:
        line.append(("labelling", WalkByScore(windows, how.penalty, how.min_hits, how.score_cut, threads)))
    elif isinstance(how, Walk):
        line.append(("labelling", WalkByChi2(windows, how.penalty, how.min_hits, threads)))
    elif trained is not None:
        line.append(("labelling", ConnectComponents(trained.config.score_cut, how.min_hits)))
    if (completion := spec.completion) is not None:
        penalty, min_score, min_hits = completion.penalty, completion.min_score, completion.min_hits
        line.append(("labelling", CompleteTracks(windows, penalty, min_score, threads, min_hits)))
    return tuple(line)
