"""Tracks as jagged arrays of awkward, one record per track."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from beampipe.tracking.events import Hits, Tracks
from beampipe.tracking.fitting.circle import pt_of_tracks
from beampipe.tracking.fitting.fitter import hit_lists

if TYPE_CHECKING:
    from awkward import Array

__all__ = ["jagged_tracks"]


def jagged_tracks(hits: Hits, tracks: Tracks, field: float) -> Array:
    """`Tracks.to_awkward`, which says what the records hold.

    Args:
        hits: hits that the tracks were found in.
        tracks: the tracks.
        field: solenoidal field along z [T], for the pT of tracks that were not fitted.

    Raises:
        ShapeError: the tracks are of another number of hits.
        MissingExtraError: awkward is not installed.
    """
    import awkward as ak

    pt = pt_of_tracks(hits, tracks, field)
    row, begin = hit_lists(hits, tracks)
    n_hits = np.diff(begin)
    r, phi, z = hits.position[row].T
    order = np.lexsort((r * r + z * z, np.repeat(np.arange(len(n_hits)), n_hits)))
    columns = {"row": row, "r": r, "phi": phi, "z": z}
    points = ak.zip({name: ak.unflatten(values[order], n_hits) for name, values in columns.items()})
    named = {"pt": pt, "n_hits": n_hits, "hits": points}
    if (fit := tracks.parameters) is not None:
        named |= dict(zip(("d0", "z0", "phi", "theta", "q_over_p"), fit.values.T, strict=True))
        named |= {"chi2": fit.chi2, "fitted": fit.fitted}
    return ak.zip(named, depth_limit=1)
