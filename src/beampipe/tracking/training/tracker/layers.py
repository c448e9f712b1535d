"""The layers of a detector, from identifiers of any kind or from nothing but r and z of the hits.

Training needs to know which hits lie on one layer, and likes to know which lie on one module. Three ways are tried:

1. The identifiers are packed as ACTS packs them (volume << 56 | layer << 36 | module << 8), and hits of one volume and
   layer fill boxes in r and z that do not overlap.
2. The identifiers are few: each is a layer by itself, as long as the boxes do not overlap.
3. Hits of all events are laid over each other in r and z. What hangs together is a layer: a barrel layer is thin in r,
   a disc is thin in z. Pieces of one layer that few hits left apart are joined again.

Identifiers that do not tell layers still tell modules, whatever their packing: equal identifiers are one module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Float64, Int64
from beampipe.errors import ConfigError
from beampipe.tracking.events import Event
from beampipe.tracking.truth import layer_code

__all__ = ["FoundLayers", "find_layers", "layers_from_positions"]

_PADDING: Final = 0.5
"""Margin of the boxes of layers that the windows will have [mm]."""

_MOST_LAYERS: Final = 512
"""More identifiers than this are not those of layers."""

_FEWEST_LAYERS: Final = 3
"""A track needs a triplet at least."""

_CELLS: Final = (5.0, 2.5, 1.0)
"""Sizes of the cells in r and z [mm] that are tried one after the other: hits of one layer fill neighbouring cells."""

_THICK: Final = 60.0
"""A layer that is thicker than this [mm] both in r and in z is looked at again with smaller cells."""

_GAP: Final = 30.0
"""Largest gap [mm] between a long piece and what continues it."""

_LONG: Final = 3.0
"""A piece is long if it is this many times as long as thin: it is seen which way its layer goes."""

_MOST_PIECES: Final = 4000
"""More pieces than this are not joined: hits are too few, or lie on no layers."""

_FEWEST_HITS: Final = 20
"""A piece with fewer hits is no layer; its hits are left out of the training."""

_LEFT_OUT: Final = 0.01
"""Largest share of the hits that may lie on no layer."""

_LAYER_SHIFT: Final = np.uint64(36)
_MODULE_SHIFT: Final = np.uint64(8)
_VOLUME: Final = np.uint64(1 << 56)


@dataclass(frozen=True, eq=False)
class FoundLayers:
    """Events whose hits know their layer, and their module where it is known.

    Attributes:
        events: the events; `geometry_id` is volume 1, the number of the layer, and the number of the module in it.
        n_layers: number of layers.
        source: what told the layers: ``"volume and layer"`` or ``"identifiers"`` or ``"positions"``.
        has_modules: whether modules are known; without them none can be switched off in training.
    """

    events: tuple[Event, ...]
    n_layers: int
    source: Literal["volume and layer", "identifiers", "positions"]
    has_modules: bool


def find_layers(events: Sequence[Event]) -> FoundLayers:
    """The same events with layers and modules numbered afresh, however they were told before, or not.

    Args:
        events: events, all with identifiers or all without.

    Raises:
        ConfigError: there is no event, only some have identifiers, or no layers can be told.
    """
    if not events:
        raise ConfigError("layers: got no event, expected some")
    with_ids = [event.hits.geometry_id is not None for event in events]
    if any(with_ids) and not all(with_ids):
        raise ConfigError(f"layers: got {sum(with_ids)} of {len(events)} events with identifiers, expected all or none")
    position = np.concatenate([event.hits.position for event in events])
    ids = None if not all(with_ids) else np.concatenate([event.hits.geometry_id for event in events])
    number: Int64[ndarray, " n"] | None = None
    source: Literal["volume and layer", "identifiers", "positions"] = "positions"
    if ids is not None:
        packed = np.concatenate([layer_code(event.hits) for event in events])
        if (number := _layers_of_codes(position, packed)) is not None:
            source = "volume and layer"
        elif (number := _layers_of_codes(position, ids)) is not None:
            source = "identifiers"
    if number is None:
        number = layers_from_positions(position)
    n_layers = int(number.max()) + 1
    module, has_modules = _modules(ids, number, n_layers)
    packed_id = _VOLUME | ((number + 1).astype(np.uint64) << _LAYER_SHIFT) | (module << _MODULE_SHIFT)
    begin = np.cumsum([len(event.hits) for event in events])[:-1]
    told = tuple(
        _told(event, *parts)
        for event, *parts in zip(events, np.split(packed_id, begin), np.split(number, begin), strict=True)
    )
    return FoundLayers(told, n_layers, source, has_modules)


def _told(event: Event, packed_id: ndarray, number: ndarray) -> Event:
    """The event with new identifiers, without the hits that lie on no layer."""
    told = replace(event, hits=replace(event.hits, geometry_id=packed_id))
    return told if (number >= 0).all() else told.take(number >= 0)


def layers_from_positions(position: Float32[ndarray, "n 3"]) -> Int64[ndarray, " n"]:
    """Number of the layer of each hit, inside out, from r and z alone; -1 for the few that lie on none.

    Args:
        position: (n, 3) r [mm], phi [rad], z [mm] of the hits of many events.

    Raises:
        ConfigError: no layers can be told.
    """
    place = position[:, [0, 2]].astype(np.float64)
    piece = _pieces(place, _CELLS[0])
    for cell in _CELLS[1:]:
        piece = _refined(place, piece, cell)
    boxes = _boxes(place, piece)
    if len(boxes) <= _MOST_PIECES:
        piece = _numbered(_joined(boxes)[piece])
    few = np.bincount(piece) < _FEWEST_HITS
    hits = np.flatnonzero(~few[piece])
    if (~few).sum() > _MOST_LAYERS or len(hits) < (1 - _LEFT_OUT) * len(position):
        raise ConfigError(
            f"layers: got {len(position)} hits that fall into {len(few)} groups, {len(position) - len(hits)} of them"
            f" into groups below {_FEWEST_HITS} hits, expected enough hits to see layers in r and z; use more events,"
            " or give hits their module or layer numbers"
        )
    kept = _numbered(piece[hits])
    boxes = _boxes(place[hits], kept)
    thick = _thick(boxes)
    if len(boxes) < _FEWEST_LAYERS or thick.any() or _overlap(boxes):
        seen = f"{len(boxes)} groups of hits, {int(thick.sum())} of them thick both in r and z"
        raise ConfigError(
            f"layers: got {seen}, r to {place[:, 0].max():.4g}, z from {place[:, 1].min():.4g} to"
            f" {place[:, 1].max():.4g}, expected 3 or more thin layers in mm; give hits their module or layer numbers,"
            " or check the units"
        )
    order = np.lexsort((boxes[:, 2], boxes[:, 0]))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    number = np.full(len(position), -1)
    number[hits] = rank[kept]
    return number


def _layers_of_codes(position: Float32[ndarray, "n 3"], code: ndarray) -> Int64[ndarray, " n"] | None:
    """Number of the layer of each hit if the codes are those of layers, else None."""
    names, number = np.unique(code, return_inverse=True)
    if not _FEWEST_LAYERS <= len(names) <= _MOST_LAYERS:
        return None
    boxes = _boxes(position[:, [0, 2]], number)
    return None if _thick(boxes).any() or _overlap(boxes) else number.astype(np.int64)


def _modules(ids: ndarray | None, layer: Int64[ndarray, " n"], n_layers: int) -> tuple[ndarray, bool]:
    """Number of the module of each hit, and whether it is one: hits without identifiers are all on module 0."""
    if ids is None:
        return np.zeros(len(layer), np.uint64), False
    names, module = np.unique(ids, return_inverse=True)
    return module.astype(np.uint64), len(names) > 2 * n_layers


def _pieces(place: ndarray, cell: float) -> Int64[ndarray, " n"]:
    """Number of the piece of each hit: occupied cells that touch, corners included."""
    from scipy.ndimage import label

    index = np.floor((place - place.min(axis=0)) / cell).astype(np.int64)
    occupied = np.zeros(index.max(axis=0) + 1, np.bool_)
    occupied[tuple(index.T)] = True
    pieces, _ = label(occupied, structure=np.ones((3, 3)))
    return _numbered(pieces[tuple(index.T)])


def _refined(place: ndarray, piece: Int64[ndarray, " n"], cell: float) -> Int64[ndarray, " n"]:
    """The same pieces, those that are thick both ways cut by smaller cells."""
    boxes = _boxes(place, piece)
    refined, next_number = piece.copy(), len(boxes)
    for number in np.flatnonzero(_thick(boxes)):
        mine = np.flatnonzero(piece == number)
        parts = _pieces(place[mine], cell)
        refined[mine] = next_number + parts
        next_number += int(parts.max()) + 1
    return _numbered(refined)


def _joined(boxes: Float64[ndarray, "n 4"]) -> Int64[ndarray, " n"]:
    """Number of the layer of each piece: long pieces are joined with what continues them across a small gap."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    layer = np.arange(len(boxes))
    while True:
        a, b = np.nonzero(_continues(boxes, 0) | _continues(boxes, 2))
        n, group = connected_components(coo_array((np.ones(len(a)), (a, b)), (len(boxes), len(boxes))), directed=False)
        if n == len(boxes):
            return layer
        layer = group.astype(np.int64)[layer]
        boxes = _grown(boxes, group)


def _continues(boxes: Float64[ndarray, "n 4"], thin: int) -> Bool[ndarray, "n n"]:
    """Whether the second box continues the first one, which is long.

    Args:
        boxes: r_min, r_max, z_min, z_max of each piece.
        thin: column of the coordinate that long boxes are thin in: 0 for barrel layers, 2 for discs.
    """
    low, high, begin, end = np.roll(boxes, -thin, axis=1).T
    is_long = (high - low < _THICK / 2) & (end - begin > _LONG * np.maximum(high - low, _CELLS[0]))
    is_across = (end - begin < _THICK / 2) & (high - low > _LONG * np.maximum(end - begin, _CELLS[0]))
    aligned = np.maximum(low[:, None], low) - 2 * _PADDING < np.minimum(high[:, None], high)
    aligned &= np.maximum(high[:, None], high) - np.minimum(low[:, None], low) < _THICK / 2
    gap = np.maximum(begin[:, None], begin) - np.minimum(end[:, None], end)
    continues: Bool[ndarray, "n n"] = aligned & (gap < _GAP) & is_long[:, None] & ~is_across
    return continues


def _meets(box: ndarray, others: ndarray) -> Bool[ndarray, " n"]:
    """Which other boxes overlap a box, both with their padding."""
    low, high = others[:, ::2] - 2 * _PADDING, others[:, 1::2] + 2 * _PADDING
    meets: Bool[ndarray, " n"] = np.all((low < box[1::2]) & (high > box[::2]), axis=1)
    return meets


def _overlap(boxes: Float64[ndarray, "n 4"]) -> bool:
    """Whether any two boxes overlap, with their padding."""
    return any(_meets(box, boxes).sum() > 1 for box in boxes)


def _thick(boxes: Float64[ndarray, "n 4"]) -> Bool[ndarray, " n"]:
    """Which boxes are thick both in r and in z."""
    thick: Bool[ndarray, " n"] = (boxes[:, 1] - boxes[:, 0] > _THICK) & (boxes[:, 3] - boxes[:, 2] > _THICK)
    return thick


def _boxes(place: ndarray, number: ndarray) -> Float64[ndarray, "n 4"]:
    """r_min, r_max, z_min, z_max of each group of hits."""
    return _grown(np.repeat(place, 2, axis=1).astype(np.float64), number)


def _grown(boxes: Float64[ndarray, "n 4"], number: ndarray) -> Float64[ndarray, "m 4"]:
    """The box around the boxes of each group."""
    grown = np.empty((int(number.max(initial=-1)) + 1, 4))
    grown[:, ::2], grown[:, 1::2] = np.inf, -np.inf
    for column in range(4):
        (np.maximum if column % 2 else np.minimum).at(grown[:, column], number, boxes[:, column])
    return grown


def _numbered(number: ndarray) -> Int64[ndarray, " n"]:
    """The same groups, numbered from 0 without gaps."""
    return np.unique(number, return_inverse=True)[1].astype(np.int64)
