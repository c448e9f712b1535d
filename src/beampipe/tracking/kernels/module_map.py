"""The kernels of the learned windows: layers, edges, triplets, pair features, paths."""

from __future__ import annotations

from typing import Any

from beampipe.tracking.kernels import reference_completion, reference_map
from beampipe.tracking.kernels.arrays import (
    Chi2,
    EdgeIndex,
    EdgeValues,
    LayerNumbers,
    Offsets,
    PairTable,
    Position,
    TrackIds,
    Triplets,
)
from beampipe.tracking.kernels.growth import SEED_DEPTH
from beampipe.tracking.kernels.loading import blocks, contiguous, native, useful_threads
from beampipe.tracking.windows import Windows

__all__ = ["assign_layers", "complete", "fit_on_layers", "module_map_edges", "pair_features", "triplets", "walk"]


def assign_layers(position: Position, windows: Windows, threads: int = 1) -> LayerNumbers:
    """Layer of each hit, -1 for a hit outside every layer's box.

    Args:
        position: r [mm], phi [rad], z [mm].
        windows: learned windows, whose `layers` are the boxes.
        threads: largest number of threads that the call uses.
    """
    if (kernels := native()) is None:
        return reference_map.assign_layers(position, windows)
    layer: LayerNumbers = kernels.assign_layers(
        contiguous(position), _tables(windows), useful_threads(threads, len(position))
    )
    return layer


def fit_on_layers(position: Position, windows: Windows, threads: int = 1) -> tuple[int, int]:
    """Number of hits on no layer, and of layers without a hit or with many that lie in a small part of them.

    Args:
        position: r [mm], phi [rad], z [mm], of the hits of one event.
        windows: learned windows, whose `layers` are the boxes.
        threads: largest number of threads that the call uses.
    """
    if (kernels := native()) is None:
        return reference_map.fit_on_layers(position, windows)
    outside, unfilled = kernels.fit_on_layers(
        contiguous(position), _tables(windows), useful_threads(threads, len(position))
    )
    return outside, unfilled


def module_map_edges(
    position: Position,
    windows: Windows,
    threads: int = 1,
    offsets: Offsets | None = None,
    seed_depth: int = SEED_DEPTH,
    least_curvature: float = 0.0,
) -> EdgeIndex:
    """Doublets inside their windows that take part in a triplet inside its window, as tracks grow outwards.

    Around hits on seed layers all doublets are tried. Farther out a triplet counts only if its inner doublet is an edge
    already: what no track reaches is not looked at. See `beampipe.tracking.kernels.growth`.

    Args:
        position: r [mm], phi [rad] between -pi and pi, z [mm].
        windows: learned windows of doublets and triplets.
        threads: largest number of threads that the call uses.
        offsets: first hit of each event, and the end, where there are several: no edge joins two events.
        seed_depth: most layers before a seed layer.
        least_curvature: share of each window's largest curvature below which doublets are left out.

    Returns:
        edge_index, inner hit then outer hit, sorted by both.
    """
    if (kernels := native()) is None:
        return reference_map.module_map_edges(position, windows, offsets, seed_depth, least_curvature)
    edge_index: EdgeIndex = kernels.module_map_edges(
        contiguous(position),
        blocks(offsets, len(position)),
        _tables(windows),
        seed_depth,
        least_curvature,
        useful_threads(threads, len(position)),
    )
    return edge_index


def triplets(position: Position, edge_index: EdgeIndex, windows: Windows, threads: int = 1) -> tuple[Triplets, Chi2]:
    """Pairs of edges (in, out) that share a hit and lie inside their triplet window.

    Args:
        position: r [mm], phi [rad], z [mm].
        edge_index: inner hit, outer hit; sorted by inner hit.
        windows: learned windows of doublets and triplets.
        threads: largest number of threads that the call uses.

    Returns:
        numbers of both edges, grouped by the shared hit from the beam outwards (by r^2 + z^2), and chi2 in units of
        the window, < 1.
    """
    if (kernels := native()) is None:
        return reference_map.triplets(position, edge_index, windows)
    found: tuple[Triplets, Chi2] = kernels.triplets(
        contiguous(position),
        contiguous(edge_index),
        _tables(windows),
        useful_threads(threads, len(position)),
    )
    return found


def pair_features(triplets: Triplets, chi2: Chi2, n_edges: int) -> PairTable:
    """`beampipe.tracking.kernels.features.PAIR_FEATURES` of each edge.

    Smallest chi2 to an edge inwards and outwards (2 for none), log(1 + number of them) / 2, and the length of the
    longest chain inwards and outwards / 8.

    Args:
        triplets: pairs of edges as `triplets` returns them, from the beam outwards.
        chi2: chi2 of each triplet, in units of its window.
        n_edges: number of edges of the graph.
    """
    if (kernels := native()) is None:
        return reference_map.pair_features(triplets, chi2, n_edges)
    features: PairTable = kernels.pair_features(contiguous(triplets), contiguous(chi2), n_edges)
    return features


def walk(
    n_hits: int,
    edge_index: EdgeIndex,
    triplets: Triplets,
    chi2: Chi2,
    weight: EdgeValues,
    layer: LayerNumbers,
    penalty: float,
    min_hits: int,
) -> TrackIds:
    """Best paths through the triplets, best first, each hit on one path at most.

    The score of a path is the sum of its edges' weights less `penalty` times the chi2 of its triplets, in fixed
    point, so that equal paths compare equal whatever the order of adding. A path whose end lies on a better path
    starts inside it. Then each hit of a path takes along the free hit of its layer that fits best in its place:
    modules overlap, and a particle leaves two hits there.

    Args:
        n_hits: number of hits of the graph.
        edge_index: inner hit and outer hit of each edge.
        triplets: pairs of edges as `triplets` returns them, from the beam outwards.
        chi2: chi2 of each triplet, in units of its window.
        weight: what each edge adds to a path's score, below 1000 in absolute value.
        layer: layer of each hit, from `assign_layers`.
        penalty: cost of a triplet at the edge of its window.
        min_hits: fewest hits of a path that becomes a track.

    Returns:
        track_id of each hit, tracks numbered by their first hit, -1 for none.
    """
    if (kernels := native()) is None:
        return reference_map.walk(n_hits, edge_index, triplets, chi2, weight, layer, penalty, min_hits)
    track_id: TrackIds = kernels.walk(
        n_hits,
        contiguous(edge_index),
        contiguous(triplets),
        contiguous(chi2),
        contiguous(weight),
        contiguous(layer),
        penalty,
        min_hits,
    )
    return track_id


def complete(
    position: Position,
    track_id: TrackIds,
    windows: Windows,
    penalty: float,
    min_score: float,
    threads: int = 1,
    offsets: Offsets | None = None,
) -> TrackIds:
    """Tracks with the free hits beyond their ends, less those that are short for their chi2.

    A free hit fits an end if its triplet with the last two layers of the track passes. The nearest layer that has one
    gives the best of them; a hit that fits several tracks goes to the smallest chi2. One layer more may be skipped
    than the windows know, within the widest window of the known ones. At most four hits are added at each end.

    A track's score is its number of layers, less 1, less `penalty` times the sum of the chi2 of each three layers in
    a row: the smallest of their hits, 1 where none passes.

    Args:
        position: r [mm], phi [rad] between -pi and pi, z [mm].
        track_id: track of each hit, -1 for none.
        windows: learned windows; those of doublets have no effect.
        penalty: cost of a chi2 at the edge of the window, in layers.
        min_score: lowest score of a track that stays in an event of 100,000 hits; it is lower by 1 for each factor of
            ten that an event has fewer, as chance then is.
        threads: largest number of threads that the call uses.
        offsets: first hit of each event, and the end, where there are several: no track takes hits of another event.

    Returns:
        track_id of each hit, tracks numbered by their first hit, -1 for none.
    """
    if (kernels := native()) is None:
        return reference_completion.complete(position, track_id, windows, penalty, min_score, offsets)
    completed: TrackIds = kernels.complete(
        contiguous(position),
        blocks(offsets, len(position)),
        contiguous(track_id),
        _tables(windows),
        penalty,
        min_score,
        useful_threads(threads, len(position)),
    )
    return completed


def _tables(windows: Windows) -> Any:
    """The windows as the native kernels read them, made once."""
    if "native" not in windows.__dict__:
        kernels = native()
        assert kernels is not None
        tables = kernels.Windows(
            windows.layers, windows.pairs, windows.pair_windows, windows.out_begin, windows.triplet_windows
        )
        windows.__dict__["native"] = tables  # the dataclass is frozen, its cache is not
    return windows.__dict__["native"]
