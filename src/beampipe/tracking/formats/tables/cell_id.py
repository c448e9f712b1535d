"""How a detector of DD4hep packs the numbers of its modules into `cellID`.

An encoding is a list of fields, ``name:width`` one behind the other or ``name:offset:width``; a negative width is that
of a signed number: ``system:5,side:-2,layer:6,module:11,sensor:8``.

Source: `BitFieldCoder` of https://github.com/AIDASoft/DD4hep.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64, UInt64
from beampipe.errors import ConfigError
from beampipe.tracking.formats.tables.columns import module_code

__all__ = ["Field", "cell_fields", "modules_of_cells"]

_BITS: Final = 64
_SENSOR_BITS: Final = 32
"""Fields from this bit on tell where on a sensor a cell is, by convention of DD4hep."""

_VOLUME: Final = ("system", "side")
_LAYER: Final = "layer"
_SIDE_BITS: Final = 2
_SIDE: Final = 0b11
"""A side is -1, 0 or 1: two bits."""


@dataclass(frozen=True)
class Field:
    """One number in a `cellID`.

    Attributes:
        name: what is numbered.
        offset: place of its lowest bit.
        width: number of its bits.
        signed: whether its highest bit is a sign.
    """

    name: str
    offset: int
    width: int
    signed: bool

    def of(self, cell: UInt64[ndarray, " n"]) -> Int64[ndarray, " n"]:
        """The number in each `cellID`."""
        value = (cell >> np.uint64(self.offset) & np.uint64((1 << self.width) - 1)).astype(np.int64)
        return np.where(value >> (self.width - 1) == 1, value - (1 << self.width), value) if self.signed else value


def cell_fields(encoding: str) -> tuple[Field, ...]:
    """The fields of an encoding, by their places.

    Raises:
        ConfigError: it is no encoding, fields overlap, or there is no `layer`.
    """
    fields, offset = [], 0
    for text in encoding.split(","):
        name, *numbers = text.strip().split(":")
        try:
            *place, width = (int(number) for number in numbers)
        except ValueError:
            raise ConfigError(
                f"cell id: got {text.strip()!r}, expected NAME:WIDTH or NAME:OFFSET:WIDTH in whole numbers"
            ) from None
        fields.append(Field(name, place[0] if place else offset, abs(width), width < 0))
        offset = fields[-1].offset + abs(width)
    fields.sort(key=lambda field: field.offset)
    names = [field.name for field in fields]
    bad = any(a.offset + a.width > b.offset for a, b in pairwise(fields)) or len(set(names)) < len(names)
    if bad or _LAYER not in names or any(not 0 < field.width < _BITS - field.offset + 1 for field in fields):
        raise ConfigError(
            f"cell id: got {encoding!r}, expected fields in {_BITS} bits that do not overlap, each name once, and"
            f" {_LAYER!r} among them"
        )
    return tuple(fields)


def modules_of_cells(where: object, cell: UInt64[ndarray, " n"], fields: tuple[Field, ...]) -> UInt64[ndarray, " n"]:
    """Identifiers of modules as ACTS packs them, of the numbers in each `cellID`.

    The volume is `system` and `side`, the layer `layer`, the module whatever else stands in the lower 32 bits.

    Args:
        where: file and event, for messages.
        cell: (n_hits,) `cellID`.
        fields: the fields, from `cell_fields`.

    Raises:
        FileError: a number is too large for its place.
    """
    module, volume, layer = (np.zeros(len(cell), np.int64) for _ in range(3))
    for field in fields:
        if field.name == _LAYER:
            layer = field.of(cell)
        elif field.name in _VOLUME:
            volume = volume | (field.of(cell) << _SIDE_BITS if field.name == "system" else field.of(cell) & _SIDE)
        elif field.offset < _SENSOR_BITS:
            module = (module << field.width) | (field.of(cell) & ((1 << field.width) - 1))
    return module_code(where, volume, layer, module)
