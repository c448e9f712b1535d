"""A finder, a detector and a task that beampipe offers by name once this package is installed."""

from pathlib import Path
from typing import Any

import numpy as np

from beampipe.tracking import Hits, InOneThread, Tracks

DETECTOR = Path(__file__).with_name("six_layers.toml")
TASK = Path(__file__).with_name("coarse_muons")


class Sectors(InOneThread):
    """Labels the hits of each sector in phi and eta that has at least `min_hits`: a baseline for stiff particles."""

    def __init__(self, min_hits: int = 7) -> None:
        self.min_hits = min_hits

    def find(self, hits: Hits, /) -> Tracks:
        """One label per hit, -1 for a hit on no track; tracks are numbered by their first hit."""
        r, phi, z = hits.position.T
        sector = np.stack([np.rint(phi / 0.2), np.rint(np.arcsinh(z / r) / 0.2)])
        _, first, which, size = np.unique(sector, axis=1, return_index=True, return_inverse=True, return_counts=True)
        kept = np.flatnonzero(size >= self.min_hits)
        label = np.full(len(size), -1, np.int64)
        label[kept[np.argsort(first[kept])]] = np.arange(len(kept))
        return Tracks(label[which.reshape(-1)])


def open_sectors(**options: Any) -> Sectors:
    """The finder; the options of `beampipe.tracking.load_pipeline`, such as `threads`, have no effect on it."""
    return Sectors()
