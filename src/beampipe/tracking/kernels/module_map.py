"""The kernels of the learned windows: layers, edges, triplets, pair features, paths."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float32, Int16, Int64
from numpy import ndarray

from beampipe.tracking.kernels import reference_map
from beampipe.tracking.kernels.loading import answer, blocks, contiguous, native, useful_threads
from beampipe.tracking.windows import Windows

__all__ = ["assign_layers", "module_map_edges", "pair_features", "triplets", "walk"]


def assign_layers(position: Float32[ndarray, "n 3"], windows: Windows, threads: int = 1) -> Int16[ndarray, " n"]:
    """Layer of each hit, -1 for a hit outside every layer's box.

    Args:
        position: r [mm], phi [rad], z [mm].
        windows: whose `layers` count.
        threads: for this call.
    """
    if (kernels := native()) is None:
        return reference_map.assign_layers(position, windows)
    layer: Int16[ndarray, " n"] = kernels.assign_layers(
        contiguous(position), _tables(windows), useful_threads(threads, len(position))
    )
    return layer


def module_map_edges(
    position: Float32[ndarray, "n 3"],
    windows: Windows,
    threads: int = 1,
    offsets: Int64[ndarray, " n_events_and_1"] | None = None,
) -> Int64[ndarray, "2 n_edges"]:
    """Doublets inside their windows that take part in at least one triplet inside its window.

    Args:
        position: r [mm], phi [rad] between -pi and pi, z [mm].
        windows: learned tables.
        threads: for this call.
        offsets: first hit of each event, and the end, where there are several: no edge joins two events.

    Returns:
        edge_index, inner hit then outer hit, sorted by both.
    """
    if (kernels := native()) is None:
        return reference_map.module_map_edges(position, windows, offsets)
    edge_index: Int64[ndarray, "2 n_edges"] = answer(
        kernels.module_map_edges,
        contiguous(position),
        blocks(offsets, len(position)),
        _tables(windows),
        useful_threads(threads, len(position)),
    )
    return edge_index


def triplets(
    position: Float32[ndarray, "n 3"], edge_index: Int64[ndarray, "2 n_edges"], windows: Windows, threads: int = 1
) -> tuple[Int64[ndarray, "2 n_triplets"], Float32[ndarray, " n_triplets"]]:
    """Pairs of edges (in, out) that share a hit and lie inside their triplet window.

    Args:
        position: r [mm], phi [rad], z [mm].
        edge_index: inner hit, outer hit; sorted by inner hit.
        windows: learned tables.
        threads: for this call.

    Returns:
        numbers of both edges, grouped by the shared hit from the beam outwards (by r^2 + z^2), and chi2 in units of
        the window, < 1.
    """
    if (kernels := native()) is None:
        return reference_map.triplets(position, edge_index, windows)
    found: tuple[Int64[ndarray, "2 n_triplets"], Float32[ndarray, " n_triplets"]] = answer(
        kernels.triplets,
        contiguous(position),
        contiguous(edge_index),
        _tables(windows),
        useful_threads(threads, len(position)),
    )
    return found


def pair_features(
    triplets: Int64[ndarray, "2 n_triplets"], chi2: Float32[ndarray, " n_triplets"], n_edges: int
) -> Float32[ndarray, "n_edges 6"]:
    """`beampipe.tracking.kernels.features.PAIR_FEATURES` of each edge.

    Smallest chi2 to an edge inwards and outwards (2 for none), log(1 + number of them) / 2, and the length of the
    longest chain inwards and outwards / 8.

    Args:
        triplets: as `triplets` returns them, from the beam outwards.
        chi2: of each.
        n_edges: number of edges.
    """
    if (kernels := native()) is None:
        return reference_map.pair_features(triplets, chi2, n_edges)
    features: Float32[ndarray, "n_edges 6"] = kernels.pair_features(contiguous(triplets), contiguous(chi2), n_edges)
    return features


def walk(
    n_hits: int,
    edge_index: Int64[ndarray, "2 n_edges"],
    triplets: Int64[ndarray, "2 n_triplets"],
    chi2: Float32[ndarray, " n_triplets"],
    weight: Float32[ndarray, " n_edges"],
    layer: Int16[ndarray, " n_hits"],
    penalty: float,
    min_hits: int,
) -> Int64[ndarray, " n_hits"]:
    """Best paths through the triplets, best first, each hit on one path at most.

    The score of a path is the sum of its edges' weights less `penalty` times the chi2 of its triplets, in fixed
    point, so that equal paths compare equal whatever the order of adding. A path whose end lies on a better path
    starts inside it. Then each hit of a path takes along the free hit of its layer that fits best in its place:
    modules overlap, and a particle leaves two hits there.

    Args:
        n_hits: number of hits.
        edge_index: inner hit, outer hit.
        triplets: as `triplets` returns them, from the beam outwards.
        chi2: of each triplet.
        weight: of each edge, below 1000 in absolute value.
        layer: of each hit.
        penalty: cost of a triplet at the edge of its window.
        min_hits: shorter paths are dropped.

    Returns:
        track_id of each hit, tracks numbered by their first hit, -1 for none.
    """
    if (kernels := native()) is None:
        return reference_map.walk(n_hits, edge_index, triplets, chi2, weight, layer, penalty, min_hits)
    track_id: Int64[ndarray, " n_hits"] = kernels.walk(
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
