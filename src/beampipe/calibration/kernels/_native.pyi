# Written by hand: the compiled module is not there when types are checked.
from collections.abc import Mapping, Sequence
from typing import Any

from numpy import ndarray

BUILD: str

class Filler:
    refusal: str
    def __init__(
        self,
        select: Mapping[str, Any],
        fill: Mapping[str, Any],
        sums: tuple[ndarray, ...] | None,
        n_varied: int,
        n_floats: int,
        table_rows: int,
    ) -> None: ...
    def add(
        self, n: int, n_weights: int, offsets: ndarray, columns: Sequence[tuple[ndarray, bool, int] | None]
    ) -> bool: ...
    def finish(self) -> dict[str, Any]: ...
    def take_table(self, n_weights: int) -> dict[str, Any]: ...

def list_offsets(stored: ndarray, key: int, item: int, end: int, out: ndarray) -> bool: ...
