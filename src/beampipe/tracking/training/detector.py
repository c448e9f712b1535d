"""Layers, field and beam line of an unknown detector, derived from its simulated events.

Training needs to know which hits lie on one layer, and which on one module if possible. Three ways are tried:

1. The identifiers are packed as ACTS packs them (volume << 56 | layer << 36 | module << 8), and hits of one volume and
   layer fill boxes in r and z that do not overlap.
2. The identifiers are few: each is a layer by itself, as long as the boxes do not overlap.
3. Hits of all events are laid over each other in r and z. A connected cluster is a layer: a barrel layer is thin in r,
   a disc is thin in z. Clusters of one layer that are apart because hits are few are joined.

Identifiers that give no layers still give modules, whatever their packing: equal identifiers are one module.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha1
from itertools import chain
from typing import Final, Literal

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Float64, Int64
from beampipe.errors import ConfigError, LayoutWarning
from beampipe.events import ON_AXIS, BeamSpot, Event
from beampipe.provenance import DEGRADATION, require_once
from beampipe.tracking.fitting.helix import GEV_PER_TESLA_MM
from beampipe.tracking.kernels.geometry import doublet
from beampipe.tracking.models import LayerRequirements
from beampipe.tracking.truth import (
    FIELDS,
    HEADLINE,
    OTHER_WAY,
    Selection,
    contributions,
    layer_code,
    seen_field,
    select_particles,
    true_edges,
    truth_of,
    vertices_about_beam_spot,
)

_VERTEX_TOLERANCE: Final = 0.2
"""Largest distance between actual and expected beam line [mm] for which pipelines do not search a second time
(kernels/native/pipelines/policy.cpp)."""


_PADDING: Final = 0.5
"""Margin of the boxes of layers that the windows will have [mm]."""

_MOST_LAYERS: Final = 512
"""More distinct identifiers than this do not number layers."""

_FEWEST_LAYERS: Final = 3
"""A track needs a triplet at least."""

_CELLS: Final = (5.0, 2.5, 1.0)
"""Sizes of the cells in r and z [mm] that are tried one after the other: hits of one layer fill neighbouring cells."""

_THICK: Final = 60.0
"""A layer that is thicker than this [mm] both in r and in z is divided with smaller cells."""

_GAP: Final = 30.0
"""Largest gap [mm] between a long piece and its continuation."""

_LONG: Final = 3.0
"""A piece is long, so that the direction of its layer is clear, if its length is this many times its thickness."""

_MOST_PIECES: Final = 4000
"""With more pieces than this none are joined: there are too few hits, or they lie on no layers."""

_FEWEST_HITS: Final = 20
"""A piece with fewer hits is no layer; its hits are left out of the training."""

_LEFT_OUT: Final = 0.01
"""Largest share of the hits that may lie on no layer."""

_LAYER_SHIFT: Final = np.uint64(36)

_MODULE_SHIFT: Final = np.uint64(8)

_VOLUME: Final = np.uint64(1 << 56)


@dataclass(frozen=True, eq=False)
class FoundLayers:
    """Events with numbered layers, and with modules if identifiers give them.

    Attributes:
        events: the events; `geometry_id` is volume 1, the number of the layer, and the number of the module in it.
        n_layers: number of layers.
        source: what the layers were derived from: ``"volume and layer"`` or ``"identifiers"`` or ``"positions"``.
        has_modules: whether hits have modules; without them training cannot switch modules off.
    """

    events: tuple[Event, ...]
    n_layers: int
    source: Literal["volume and layer", "identifiers", "positions"]
    has_modules: bool


def find_layers(events: Sequence[Event]) -> FoundLayers:
    """The same events with layers and modules numbered anew, whatever identifiers they had, if any.

    Args:
        events: events, all with identifiers or all without.

    Raises:
        ConfigError: there is no event, only some have identifiers, or no layers can be derived.
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
    # Hits without identifiers are all on module 0; few identifiers are those of layers, not of modules.
    modules, module = np.unique(np.zeros(len(number)) if ids is None else ids, return_inverse=True)
    packed_id = _VOLUME | ((number + 1).astype(np.uint64) << _LAYER_SHIFT) | (module.astype(np.uint64) << _MODULE_SHIFT)
    begin = np.cumsum([len(event.hits) for event in events])[:-1]
    numbered = []
    for event, identifier, layer in zip(events, np.split(packed_id, begin), np.split(number, begin), strict=True):
        new = replace(event, hits=replace(event.hits, geometry_id=identifier))
        numbered.append(new if (layer >= 0).all() else new.take(layer >= 0))  # some hits lie on no layer
    return FoundLayers(tuple(numbered), n_layers, source, len(modules) > 2 * n_layers)


def layers_from_positions(position: Float32[ndarray, "n 3"]) -> Int64[ndarray, " n"]:
    """Number of the layer of each hit, inside out, from r and z alone; -1 for the few that lie on none.

    Args:
        position: (n, 3) r [mm], phi [rad], z [mm] of the hits of many events.

    Raises:
        ConfigError: no layers can be derived.
    """
    rz = position[:, [0, 2]].astype(np.float64)
    piece = _pieces(rz, _CELLS[0])
    for cell in _CELLS[1:]:
        piece = _refined(rz, piece, cell)
    boxes = boxes_of(rz, piece)
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
    boxes = boxes_of(rz[hits], kept)
    thick = _thick(boxes)
    if len(boxes) < _FEWEST_LAYERS or thick.any() or _overlap(boxes):
        seen = f"{len(boxes)} groups of hits, {int(thick.sum())} of them thick both in r and z"
        raise ConfigError(
            f"layers: got {seen}, r to {rz[:, 0].max():.4g}, z from {rz[:, 1].min():.4g} to"
            f" {rz[:, 1].max():.4g}, expected 3 or more thin layers in mm; give hits their module or layer numbers,"
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
    boxes = boxes_of(position[:, [0, 2]], number)
    return None if _thick(boxes).any() or _overlap(boxes) else number.astype(np.int64)


def _pieces(rz: ndarray, cell: float) -> Int64[ndarray, " n"]:
    """Number of the piece of each hit: occupied cells that touch, corners included."""
    from scipy.ndimage import label

    index = np.floor((rz - rz.min(axis=0)) / cell).astype(np.int64)
    occupied = np.zeros(index.max(axis=0) + 1, np.bool_)
    occupied[tuple(index.T)] = True
    pieces, _ = label(occupied, structure=np.ones((3, 3)))
    return _numbered(pieces[tuple(index.T)])


def _refined(rz: ndarray, piece: Int64[ndarray, " n"], cell: float) -> Int64[ndarray, " n"]:
    """The same pieces, with those that are thick in r and z split by smaller cells."""
    boxes = boxes_of(rz, piece)
    refined, next_number = piece.copy(), len(boxes)
    for number in np.flatnonzero(_thick(boxes)):
        mine = np.flatnonzero(piece == number)
        parts = _pieces(rz[mine], cell)
        refined[mine] = next_number + parts
        next_number += int(parts.max()) + 1
    return _numbered(refined)


def _joined(boxes: Float64[ndarray, "n 4"]) -> Int64[ndarray, " n"]:
    """Number of the layer of each piece: long pieces are joined with their continuation across a small gap."""
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
    """Whether the second box continues the first one, if that is long and thin in column `thin` (0 barrel, 2 disc)."""
    low, high, begin, end = np.roll(boxes, -thin, axis=1).T
    is_long = (high - low < _THICK / 2) & (end - begin > _LONG * np.maximum(high - low, _CELLS[0]))
    is_across = (end - begin < _THICK / 2) & (high - low > _LONG * np.maximum(end - begin, _CELLS[0]))
    aligned = np.maximum(low[:, None], low) - 2 * _PADDING < np.minimum(high[:, None], high)
    aligned &= np.maximum(high[:, None], high) - np.minimum(low[:, None], low) < _THICK / 2
    gap = np.maximum(begin[:, None], begin) - np.minimum(end[:, None], end)
    return np.asarray(aligned & (gap < _GAP) & is_long[:, None] & ~is_across)


def _overlap(boxes: Float64[ndarray, "n 4"]) -> bool:
    """Whether any two boxes overlap, with their padding."""
    low, high = boxes[:, ::2] - 2 * _PADDING, boxes[:, 1::2] + 2 * _PADDING
    return any(np.all((low < box[1::2]) & (high > box[::2]), axis=1).sum() > 1 for box in boxes)


def _thick(boxes: Float64[ndarray, "n 4"]) -> Bool[ndarray, " n"]:
    """Which boxes are thick both in r and in z."""
    return np.asarray((boxes[:, 1] - boxes[:, 0] > _THICK) & (boxes[:, 3] - boxes[:, 2] > _THICK))


def boxes_of(rz: ndarray, number: ndarray) -> Float64[ndarray, "n 4"]:
    """r_min, r_max, z_min, z_max of each group of hits."""
    return _grown(np.repeat(rz, 2, axis=1).astype(np.float64), number)


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


SPLIT: Final = "of six events in a row, one chooses radius and cuts, another one is scored, four are learned from"
"""How events are divided between training, choice of cuts and validation, in words."""

_TURN: Final = 6

_CHOOSES, _SCORED = 1, 4

_FEWEST_EVENTS: Final = 6

AGREEMENT: Final = 0.05
"""Largest relative difference between a field that is given and the one that the tracks show."""

_INNER: Final = 200.0
"""Radius [mm] up to which steps between layers point to where their particle started."""

_FEWEST_STEPS: Final = 30
"""Fewest steps between layers that show a field. That of one event is then right within 2 %."""

EventsOfFiles = Iterable[Event] | Mapping[str, Iterable[Event]]
"""Events, or the events of each file by its name."""


@dataclass(frozen=True, eq=False)
class InspectedEvents:
    """Events and the properties of the detector that were derived from them.

    Attributes:
        layers: the events with their layers.
        field: magnetic field [T] that the tracks show.
        hits: mean number of hits of an event.
        z_reach: |z| below which all but a thousandth of the prompt particles start [mm].
        crossing: how many layers particles cross, and how many one must cross to count as reconstructable.
    """

    layers: FoundLayers
    field: float
    hits: float
    z_reach: float
    crossing: LayerRequirements


@dataclass(frozen=True, eq=False)
class TrainingSample(InspectedEvents):
    """Events divided into training, choice of cuts and validation, with the derived properties of the detector.

    Attributes:
        taught: events that are learned from.
        chooses: events that radius and cuts are chosen on.
        scored: events that are kept for the validation report.
    """

    taught: tuple[Event, ...]
    chooses: tuple[Event, ...]
    scored: tuple[Event, ...]


def prepare(
    events: EventsOfFiles,
    beam_spot: BeamSpot = ON_AXIS,
    field: float | None = None,
    min_layers: int | None = None,
    *,
    keep_identifiers: bool = False,
) -> TrainingSample:
    """Inspect events and divide them into training, choice of cuts and validation.

    Args:
        events: clean events with truth, or those of each file by its name; hits in mm and rad, momenta in GeV.
        beam_spot: beam line in the frame of the hits; they are shifted so that it is the z axis.
        field: magnetic field [T]; if not given, it is measured.
        min_layers: fewest layers of a reconstructable particle; if not given, derived from the events.
        keep_identifiers: whether events of the report keep their identifiers, which are those of a detector file.

    Raises:
        ConfigError: there are too few events or particles, no layers can be derived, the field that the tracks show is
            impossible, differs between events or from the one given, or `min_layers` is below 3.
        InputError: an event has no truth.
    """
    files = by_file(events)
    read = list(chain.from_iterable(files.values()))
    if len(read) < _FEWEST_EVENTS:
        raise ConfigError(
            f"training: got {len(read)} events, expected {_FEWEST_EVENTS} or more, better 30 with hundreds of tracks"
        )
    _require_different(files)
    inspected = inspect_events(files, beam_spot)
    if field is not None:
        require_field(inspected.field, field, "--field says", AGREEMENT)
    numbered = inspected.layers.events
    return TrainingSample(
        inspected.layers,
        inspected.field if field is None else field,
        inspected.hits,
        inspected.z_reach,
        inspected.crossing if min_layers is None else replace(inspected.crossing, min_layers=min_layers),
        taught=tuple(event for k, event in enumerate(numbered) if k % _TURN not in (_CHOOSES, _SCORED)),
        chooses=numbered[_CHOOSES::_TURN],
        scored=(tuple(read) if keep_identifiers else numbered)[_SCORED::_TURN],
    )


def _require_different(files: Mapping[str, Sequence[Event]]) -> None:
    """Refuse an event that comes twice: it would be scored after it was learned from."""
    seen: dict[bytes, str] = {}
    for name, events in files.items():
        for event in events:
            where = f"event {event.event_id}" + (f" of {name}" if name else "")
            first = seen.setdefault(sha1(event.hits.position.tobytes()).digest(), where)
            if len(event.hits) and first is not where:
                raise ConfigError(
                    f"training: got the hits of {first} again in {where}, expected different events: one would be"
                    " scored after it was learned from"
                )


def by_file(events: EventsOfFiles) -> dict[str, list[Event]]:
    """All events, read, by the names of their files; events without a file have the name ``""``."""
    return {name: list(each) for name, each in (events if isinstance(events, Mapping) else {"": events}).items()}


def inspect_events(events: EventsOfFiles, beam_spot: BeamSpot = ON_AXIS) -> InspectedEvents:
    """Derive layers, field and luminous region from events.

    Args:
        events: clean events with truth, or those of each file by its name; hits in mm and rad, momenta in GeV.
        beam_spot: beam line in the frame of the hits; they are shifted so that it is the z axis.

    Raises:
        ConfigError: there are too few particles, they come from another beam line, no layers can be derived, or the
            tracks show an impossible field, or several.
        InputError: an event has no truth.
    """
    files = by_file(events)
    read = [about_beam_spot(event, beam_spot) for event in chain.from_iterable(files.values())]
    for event in read:
        require_once(event.provenance, DEGRADATION, f"event {event.event_id}", "--degrade-again")
    _require_vertices_about(read, beam_spot)
    layers = find_layers(read)
    numbered = layers.events
    if any((seen_field(event) or 0) < 0 for event in numbered):
        warnings.warn(f"training: {OTHER_WAY}", LayoutWarning, stacklevel=2)
    # Vertices of prompt particles only, without decays along the beam line.
    vertex_z = [
        np.abs(particles.vertex[particles.primary & (particles.origin_radius < HEADLINE.max_origin), 2])
        for particles in (truth_of(event).particles for event in numbered)
    ]
    return InspectedEvents(
        layers,
        field=round(measured_field(numbered, [name for name, each in files.items() for _ in each]), 3),
        hits=float(np.mean([len(event.hits) for event in numbered])),
        z_reach=float(np.quantile(np.concatenate(vertex_z), 0.999)),
        crossing=_crossing(numbered),
    )


def require_field(measured: float, expected: float, source: str, tolerance: float = 0.2) -> None:
    """Refuse events in another field [T]; that of a coil depends on where the tracks go, so the tolerance is wide."""
    if abs(measured - expected) > tolerance * expected:
        raise ConfigError(f"field: got tracks that show {measured:.3g} T, expected {expected:.3g} T as {source}")


def about_beam_spot(event: Event, beam_spot: BeamSpot) -> Event:
    """The event relative to the beam line: hits and vertices shifted so that the line is the z axis."""
    if beam_spot == ON_AXIS:
        return event
    event = vertices_about_beam_spot(event, beam_spot)
    return replace(event, hits=replace(event.hits, position=beam_spot.relative_to(event.hits.position)))


def measured_field(events: Sequence[Event], files: Sequence[str] = ()) -> float:
    """Magnetic field [T] from the curvature of true edges of particles from the beam line: kappa pT / 0.0003.

    Args:
        events: events with truth, of one field.
        files: name of the file of each event, for messages; none if not given.

    Raises:
        ConfigError: there are no such edges, the field is impossible, or it differs between events.
    """
    selection = Selection(min_pt=0.3, min_layers=3)
    products, lines = [], []
    for event in events:
        truth = truth_of(event)
        edges = true_edges(event, selection)
        row = truth.particles.rows(truth.particle_id[edges[0]])
        pt, edge = truth.particles.pt[row], doublet(event.hits.position, edges)
        far = (edge.dr > 20) & (row >= 0)
        products.append(np.abs(edge.kappa[far]) * pt[far])
        inner = far & (pt > 1) & (event.hits.position[edges[0], 0] < _INNER)
        momentum, vertex_z = (values[row[inner]] for values in (truth.particles.momentum, truth.particles.vertex[:, 2]))
        lines.append([edge.z0[inner], vertex_z, edge.slope[inner], momentum[:, 2] / pt[inner]])
    _require_directions(np.concatenate([np.empty((4, 0)), *lines], axis=1))
    _require_one_field(events, products, files)
    curvatures = np.concatenate(products[:20])
    if len(curvatures) < _FEWEST_STEPS:
        raise ConfigError(
            f"training: got {len(curvatures)} steps between layers of primary particles above {selection.min_pt:g} GeV,"
            " expected hundreds; are particle ids, momenta (GeV) and vertices (mm) those of the hits?"
        )
    field = float(np.median(curvatures)) / GEV_PER_TESLA_MM
    if not FIELDS[0] <= field <= FIELDS[1]:
        raise ConfigError(
            f"training: got momenta and curvatures that mean a field of {field:.3g} T, expected {FIELDS[0]:g} to"
            f" {FIELDS[1]:g} T; are momenta in GeV, r and z in mm, phi in rad, and is the beam line at x = y = 0"
            " (--beam-spot)?"
        )
    return field


def _require_directions(lines: Float64[ndarray, "4 n"]) -> None:
    """Refuse vertices and momenta that say no more of where tracks lead than any others would.

    Args:
        lines: z0 [mm] of inner steps between layers, z of their particle's vertex, slope dz/dr, pz / pT of the
            particle.
    """
    kinds = (("vertices", "z", 5.0, lines[:2]), ("momenta", "pz / pT", 0.1, lines[2:]))
    for what, of, smallest, (seen, stated) in kinds if lines.shape[1] >= _FEWEST_STEPS else ():
        off, spread = np.median(np.abs(seen - stated)), np.median(np.abs(seen - np.median(seen)))
        if off > max(smallest, 0.7 * spread):
            raise ConfigError(
                f"training: got {what} whose {of} is off by {off:.3g} (median) from where tracks lead, expected less"
                f" than their spread, {spread:.3g}; are they those of these particles, in mm and GeV, z not mirrored?"
            )


def _require_one_field(events: Sequence[Event], products: Sequence[ndarray], files: Sequence[str]) -> None:
    """Refuse events in several fields; small ones are taken together until they show one."""
    first, steps = "", np.empty(0)
    expected = 0.0
    for number, event in enumerate(events):
        steps = np.concatenate([steps, products[number]])
        if len(steps) < _FEWEST_STEPS:
            continue
        where = f"event {event.event_id}" + (f" of {files[number]}" if any(files) else f" (number {number})")
        field = float(np.median(steps)) / GEV_PER_TESLA_MM
        if not first:
            first, expected = where, field
        # In a field that is not constant, that of a few tracks depends on where they go.
        elif abs(field - expected) > (0.03 + 0.5 / np.sqrt(len(steps))) * expected:
            raise ConfigError(
                f"field: got tracks that show {expected:.3g} T in {first} and {field:.3g} T in {where}, expected one"
                " field; learn a model of each, or are the momenta of one of them in other units?"
            )
        steps = np.empty(0)


def _require_vertices_about(events: Sequence[Event], beam_spot: BeamSpot) -> None:
    """Refuse events whose primary particles do not come from the beam line."""
    primaries = [truth_of(event).particles for event in events]
    vertices = np.concatenate([particles.vertex[particles.primary, :2] for particles in primaries])
    if len(vertices) == 0:
        raise ConfigError("training: got no primary particle, expected thousands; mark those of the generator")
    x, y = np.median(vertices.astype(np.float64), axis=0)
    if np.hypot(x, y) > _VERTEX_TOLERANCE:
        suggestion = f"{beam_spot.x + x:.3g},{beam_spot.y + y:.3g}"
        raise ConfigError(
            f"training: got vertices about ({x:.3g}, {y:.3g}) mm from the beam line, expected them within"
            f" {_VERTEX_TOLERANCE:g} mm; give --beam-spot {suggestion}"
        )


def _crossing(events: Sequence[Event]) -> LayerRequirements:
    """Layers that a typical particle crosses, without particles of one or two layers, which miss the detector."""
    crossed = []
    for event in events[:20]:
        truth = truth_of(event)
        owners = contributions(truth)
        rows = owners.row(truth.particles.particle_id[select_particles(event, Selection(min_layers=3), owners)])
        crossed.append(owners.n_layers(event.hits)[rows])
    every = np.concatenate(crossed)
    if len(every) == 0:
        raise ConfigError(
            f"training: got no particle that is {Selection(min_layers=3)}, expected hundreds; see that particles have"
            " charge, momentum (GeV), vertex (mm) and are marked primary"
        )
    return LayerRequirements.usual(float(np.median(every)))
