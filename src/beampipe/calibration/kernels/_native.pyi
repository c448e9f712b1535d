# Written by hand: the compiled module is not there when types are checked.
from collections.abc import Mapping, Sequence
from typing import Any

from numpy import ndarray

BUILD: str

class Filler:
    def __init__(
        self,
        settings: Mapping[str, Any],
        sumw: ndarray,
        sumw2: ndarray,
        varied_sumw: ndarray,
        varied_sumw2: ndarray,
        replicas: ndarray,
        entries: ndarray,
        n_varied: int,
    ) -> None: ...
    def add(
        self, n: int, n_weights: int, offsets: ndarray, columns: Sequence[tuple[ndarray, bool, int] | None]
    ) -> bool: ...
    def finish(self) -> dict[str, Any]: ...

def list_offsets(stored: ndarray, key: int, item: int, end: int, out: ndarray) -> bool: ...
def leading_pairs(trigger: ndarray, offsets: ndarray, pt: ndarray, events: ndarray, places: ndarray) -> int: ...
def choose_pairs(
    trigger: ndarray,
    weight: ndarray,
    entries: ndarray,
    pt: ndarray,
    eta: ndarray,
    clean: ndarray,
    n_trk: ndarray,
    most_trk: ndarray,
    flavour: ndarray,
    cuts: tuple[float, ...],
    margin: float,
    scale: float,
    rows: ndarray,
    events: ndarray,
    sums: ndarray,
) -> int: ...
def event_keys(dataset: int, run: ndarray, event: ndarray, keys: ndarray) -> None: ...
def histogram_rows(
    pt: ndarray,
    n_trk: ndarray,
    region: ndarray,
    flavour: ndarray,
    edges: ndarray,
    cuts: tuple[float, ...],
    n_flavours: int,
    width: int,
    rows: ndarray,
) -> None: ...
def tagger_bins(x: ndarray, low: float, high: float, n_bins: int, offset: int, out: ndarray) -> None: ...
def fill_weights(
    rows: ndarray, bins: ndarray, weight: ndarray, scale: float, sumw: ndarray, sumw2: ndarray
) -> None: ...
def fill_single(
    rows: ndarray,
    bins: ndarray,
    weights: ndarray,
    squares: ndarray,
    sumw: ndarray,
    sumw2: ndarray,
    entries: ndarray,
) -> None: ...
def fill_replicas(
    rows: ndarray, bins: ndarray, weights: ndarray, keys: ndarray, seed: int, table: ndarray, replicas: ndarray
) -> None: ...
