"""EDM4hep by uproot: reads tracker hits from ROOT files that podio wrote, and writes tracks. In mm and GeV.

Events are entries of the tree `events`.
A collection NAME is the branches `NAME/NAME.member`; a relation of it is `_NAME_relation`, with `index` (row) and
`collectionID`. Source: `edm4hep.yaml` of https://github.com/key4hep/EDM4hep, `doc/storage_details.md` of
https://github.com/AIDASoft/podio. Tracks are written with these names, but without podio's own tables: uproot reads
them, podio does not.

`cellID` packs the numbers of a module; the detector's DD4hep description defines how: a list of fields, ``name:width``
(right behind the field before) or ``name:offset:width``; a negative width marks a signed number:
``system:5,side:-2,layer:6,module:11,sensor:8``. Source: `BitFieldCoder` of https://github.com/AIDASoft/DD4hep.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Int64, UInt64
from beampipe.errors import ColumnError, ConfigError, FileError, InputError, UnknownNameError
from beampipe.events import NOISE, Event, Particles, TrackParameters, Tracks, Truth, hit_lists
from beampipe.files import MARK, replacing
from beampipe.tracking.fitting.helix import GEV_PER_TESLA_MM
from beampipe.tracking.formats.format import EventFormat, open_root
from beampipe.tracking.formats.read_options import ReadOptions
from beampipe.tracking.formats.tables import Origin, event_of, linked_truth, module_code
from beampipe.tracking.formats.writing import EventsWithTracks, TrackFormat, check_labels

_BITS: Final = 64

_SENSOR_BITS: Final = 32
"""Fields from this bit on are the position of a cell on its sensor, by convention in DD4hep."""


@dataclass(frozen=True)
class Field:
    """One number in a `cellID`.

    Attributes:
        name: name of the field, such as ``layer``.
        offset: position of its lowest bit.
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
    """The fields of an encoding, in the order of their bits.

    Raises:
        ConfigError: it is no encoding, fields overlap, or there is no `layer`.
    """
    fields, offset = [], 0
    for text in encoding.split(","):
        name, *numbers = text.strip().split(":")
        try:
            *given_offset, width = (int(number) for number in numbers)
        except ValueError:
            raise ConfigError(
                f"cell id: got {text.strip()!r}, expected NAME:WIDTH or NAME:OFFSET:WIDTH in whole numbers"
            ) from None
        fields.append(Field(name, given_offset[0] if given_offset else offset, abs(width), width < 0))
        offset = fields[-1].offset + abs(width)
    fields.sort(key=lambda field: field.offset)
    names = [field.name for field in fields]
    bad = any(a.offset + a.width > b.offset for a, b in pairwise(fields)) or len(set(names)) < len(names)
    if bad or "layer" not in names or any(not 0 < field.width < _BITS - field.offset + 1 for field in fields):
        raise ConfigError(
            f"cell id: got {encoding!r}, expected fields in {_BITS} bits that do not overlap, each name once, and"
            " 'layer' among them"
        )
    return tuple(fields)


def modules_of_cells(where: object, cell: UInt64[ndarray, " n"], fields: tuple[Field, ...]) -> UInt64[ndarray, " n"]:
    """Identifiers of modules as ACTS packs them, of the numbers in each `cellID`.

    The volume is `system` and `side`, the layer `layer`; all other fields in the lower 32 bits form the module.

    Args:
        where: file and event, for messages.
        cell: (n_hits,) `cellID`.
        fields: the fields, from `cell_fields`.

    Raises:
        FileError: a number has too many bits for the ACTS identifier.
    """
    module, volume, layer = (np.zeros(len(cell), np.int64) for _ in range(3))
    for field in fields:
        if field.name == "layer":
            layer = field.of(cell)
        elif field.name == "system":
            volume = volume | field.of(cell) << 2
        elif field.name == "side":  # -1, 0 or 1: two bits
            volume = volume | field.of(cell) & 0b11
        elif field.offset < _SENSOR_BITS:
            module = (module << field.width) | (field.of(cell) & ((1 << field.width) - 1))
    return module_code(where, volume, layer, module)


_TREE: Final = "events"

_HIT: Final = ("cellID", "quality", "eDep", "eDepError", "position.x", "position.y", "position.z")

_EXTRA: Final = ("cellID", "type", "quality", "time", "eDep", "eDepError", "du", "dv")

_SIMULATED: Final = ("cellID", "pathLength", "position.x")

_PARTICLE: Final = ("PDG", "charge", "momentum.x", "vertex.x", "generatorStatus")

_LINK_ENDS: Final = (("from", "to"), ("rec", "sim"))
"""Relations of a link from a hit to a simulated one: today's names, and those before EDM4hep 0.99."""

_IN_SIMULATION: Final = 1 << 30
"""Bit of `simulatorStatus`: the particle was made in the detector."""


def read_edm4hep(path: Path, options: ReadOptions, first: int = 0) -> Iterator[Event]:
    """The events of a file: the hits of the collections `options.hits`, one behind the other.

    Args:
        path: ROOT file.
        options: names of the collections. Without `hits` the only collection of tracker hits is read; without `links`
            there is no truth; without `particles` the only collection of simulated particles is taken.
        first: row of the first event that is read.

    Yields:
        Each event; its number is `EventHeader.eventNumber`, or the entry where that is not unique. Hits are numbered
        by their rows, continued over several collections, with `collection` and `index` (row in it) as columns;
        `cellID` and the other plain members are kept. Modules are known if `options.cell_id`
        gives the packing of `cellID`, which depends on the detector.

    Raises:
        FileError: the file is cut short, a link points nowhere, or several collections could be meant.
        UnknownNameError: there is no collection of that name.
    """
    with open_root(path) as file:
        if _TREE not in file:
            raise FileError(f"{path}: got no tree {_TREE!r}, expected one, as podio writes it", path=path)
        tree = _Tree(path, file)
        hits = options.hits or (tree.only(_HIT, "tracker hits", "--hits NAME"),)
        for name in hits:
            tree.expect(name, _HIT, "collection of tracker hits")
        links = _links(tree, hits, options) if options.links else []
        fields = () if options.cell_id is None else cell_fields(options.cell_id)
        for entry, event_id in islice(enumerate(tree.event_ids()), first, None):
            origin = Origin(path, EDM4HEP.name, event_id)
            columns, lengths = _hit_columns(tree, entry, hits)
            if fields:
                columns["geometry_id"] = modules_of_cells(origin, columns["cellID"].astype(np.uint64), fields)
            yield event_of(origin, columns, truth=_truth(tree, entry, links, lengths) if links else None)


@dataclass(frozen=True)
class _Link:
    """The way from hits to particles: a link to simulated hits, and their relation to particles."""

    start: str
    end: str
    relation: str
    particles: str


class _Tree:
    """The tree of events, by collection, member and entry."""

    def __init__(self, path: Path, file: Any) -> None:
        self.path = path
        try:
            self._tree = file[_TREE]
            keys = self._tree.keys(recursive=True)
            self.n_entries = int(self._tree.num_entries)
        except Exception as error:  # uproot raises all kinds of exceptions for damaged files
            raise FileError(
                f"{path}: the tree {_TREE} cannot be read ({error}); copy or write it again", path=path
            ) from error
        self._branches = {key.rpartition("/")[2].partition("[")[0] for key in keys}

    def has(self, branch: str) -> bool:
        return branch in self._branches

    def collections(self, members: tuple[str, ...]) -> list[str]:
        """Names of the collections that have these members, in alphabetical order."""
        names = {branch.partition(".")[0] for branch in self._branches if "." in branch and branch[0] != "_"}
        return sorted(name for name in names if all(self.has(f"{name}.{member}") for member in members))

    def only(self, members: tuple[str, ...], what: str, option: str) -> str:
        """The only collection with these members; an error names the option that selects one of several."""
        names = self.collections(members)
        if len(names) != 1:
            raise FileError(
                f"{self.path}: got {len(names)} collections of {what}{': ' if names else ''}{', '.join(names)};"
                f" expected one; say which by {option}",
                path=self.path,
            )
        return names[0]

    def expect(self, name: str, members: tuple[str, ...], what: str) -> None:
        if not all(self.has(f"{name}.{member}") for member in members):
            raise UnknownNameError(f"{what} in {self.path}", name, self.collections(members))

    def get(self, branch: str, entry: int) -> ndarray:
        """The values of one branch in one event."""
        try:
            return np.asarray(self._tree[branch].array(entry_start=entry, entry_stop=entry + 1, library="np")[0])
        except Exception as error:  # uproot raises all kinds of exceptions for damaged files
            raise FileError(
                f"{self.path}: event {entry}: {branch} cannot be read ({error}); copy or write the file again",
                path=self.path,
                name=branch,
            ) from error

    def event_ids(self) -> list[int]:
        """The number of each event from its header, or its entry where the headers do not have one number each."""
        entries = list(range(self.n_entries))
        if not self.has("EventHeader.eventNumber"):
            return entries
        numbers = [self.get("EventHeader.eventNumber", entry) for entry in entries]
        ids = [int(number[0]) for number in numbers if len(number) == 1]
        return ids if len(set(ids)) == self.n_entries else entries


def _links(tree: _Tree, hits: tuple[str, ...], options: ReadOptions) -> list[_Link]:
    if len(options.links) != len(hits):
        raise FileError(
            f"{tree.path}: got {len(options.links)} links for {len(hits)} collections of hits ({', '.join(hits)}),"
            " expected one for each, in the same order",
            path=tree.path,
        )
    particles = options.particles or tree.only(_PARTICLE, "simulated particles", "--particles NAME")
    tree.expect(particles, _PARTICLE, "collection of particles")
    return [_link(tree, name, particles) for name in options.links]


def _link(tree: _Tree, text: str, particles: str) -> _Link:
    name, _, simulated = text.partition(":")
    ends = next((ends for ends in _LINK_ENDS if all(tree.has(f"_{name}_{end}.index") for end in ends)), None)
    if ends is None:
        link_names = {branch[1:].rpartition("_")[0] for branch in tree._branches if branch.endswith("_from.index")}
        raise UnknownNameError(f"link in {tree.path}", name, link_names)
    # A link holds only the number of the collection of simulated hits; if there are several, the user must name it.
    simulated = simulated or tree.only(_SIMULATED, "simulated tracker hits", f"--links {name}:NAME")
    tree.expect(simulated, _SIMULATED, "collection of simulated tracker hits")
    for relation in ("particle", "MCParticle"):
        if tree.has(f"_{simulated}_{relation}.index"):
            return _Link(f"_{name}_{ends[0]}", f"_{name}_{ends[1]}", f"_{simulated}_{relation}", particles)
    raise ColumnError(f"{tree.path}: got no _{simulated}_particle, expected the particle of each", path=tree.path)


def _hit_columns(tree: _Tree, entry: int, hits: tuple[str, ...]) -> tuple[dict[str, ndarray], list[int]]:
    """The columns of the hits of some collections, and how many hits each has."""
    members = [member for member in _EXTRA if all(tree.has(f"{name}.{member}") for name in hits)]
    members_of_columns = {**{axis: f"position.{axis}" for axis in "xyz"}, **{member: member for member in members}}
    columns = {
        column: np.concatenate([tree.get(f"{name}.{member}", entry) for name in hits])
        for column, member in members_of_columns.items()
    }
    lengths = [len(tree.get(f"{name}.cellID", entry)) for name in hits]
    columns = {"hit_id": np.arange(sum(lengths), dtype=np.int64), **columns}
    if len(hits) > 1:
        columns["collection"] = np.repeat(np.array(hits, object), lengths)
        columns["index"] = np.concatenate([np.arange(length, dtype=np.int64) for length in lengths])
    return columns, lengths


def _truth(tree: _Tree, entry: int, links: list[_Link], lengths: list[int]) -> Truth:
    """The truth of the hits of all collections, numbered continuously."""
    start = np.cumsum(lengths) - lengths
    made_by = [_made_by(tree, entry, link, length) for link, length in zip(links, lengths, strict=True)]
    hit = np.concatenate([rows[0] + offset for rows, offset in zip(made_by, start, strict=True)])
    particle = np.concatenate([rows[1] for rows in made_by])
    is_known = particle != NOISE
    return linked_truth(sum(lengths), hit[is_known], particle[is_known], _particles(tree, entry, links[0].particles))


def _made_by(tree: _Tree, entry: int, link: _Link, n_hits: int) -> ndarray:
    """(2, n_links): row of the hit and number of the particle (row + 1), in the order of the links."""
    hit, simulated = tree.get(f"{link.start}.index", entry), tree.get(f"{link.end}.index", entry)
    particle = tree.get(f"{link.relation}.index", entry)
    n_particles = len(tree.get(f"{link.particles}.PDG", entry))
    collections = np.unique(tree.get(f"{link.start}.collectionID", entry))
    if len(collections) > 1:
        raise FileError(
            f"{tree.path}: event {entry}: {link.start} points to {len(collections)} collections of hits, expected one;"
            " such links are not read",
            path=tree.path,
        )
    for name, rows, n in ((link.start, hit, n_hits), (link.end, simulated, len(particle))):
        if len(rows) and (rows.min() < 0 or rows.max() >= n):
            raise FileError(
                f"{tree.path}: event {entry}: {name} points to row {rows.max()} of {n}, expected a row that is there;"
                " is it the link of other hits?",
                path=tree.path,
            )
    made_by = particle[simulated].astype(np.int64)
    if len(made_by) and made_by.max() >= n_particles:
        raise FileError(
            f"{tree.path}: event {entry}: {link.relation} points to row {made_by.max()} of {n_particles} particles in"
            f" {link.particles}, expected a row that is there; name another collection by --particles",
            path=tree.path,
        )
    return np.stack([hit.astype(np.int64), np.maximum(made_by, -1) + 1])  # a particle missing in the file: noise


def _particles(tree: _Tree, entry: int, name: str) -> Particles:
    def triple(member: str) -> ndarray:
        return np.stack([tree.get(f"{name}.{member}.{axis}", entry) for axis in "xyz"], axis=1).astype(np.float32)

    pdg = tree.get(f"{name}.PDG", entry)
    primary = np.isin(tree.get(f"{name}.generatorStatus", entry), (1, 2))
    if tree.has(f"{name}.simulatorStatus"):
        primary &= tree.get(f"{name}.simulatorStatus", entry).astype(np.int64) & _IN_SIMULATION == 0
    return Particles(
        np.arange(1, len(pdg) + 1, dtype=np.int64),
        pdg.astype(np.int32),
        tree.get(f"{name}.charge", entry).astype(np.float32),
        triple("momentum"),
        triple("vertex"),
        primary,
    )


def _count_entries(path: Path) -> int:
    with open_root(path) as file:
        return int(file[_TREE].num_entries)


EDM4HEP: Final = EventFormat(
    "edm4hep",
    lambda file: file.kind == "root" and file.has(_TREE),
    read_edm4hep,
    frozenset({"hits", "links", "particles", "cell_id"}),
    count=_count_entries,
    read_from=read_edm4hep,
)
"""Tracker hits of EDM4hep, in mm and GeV."""


# Tracks


_HITS_NAME: Final = "TrackerHits"

_TRACKS_NAME: Final = "Tracks"

_STATES_NAME: Final = f"_{_TRACKS_NAME}_trackStates"

_LINKS_NAME: Final = f"_{_TRACKS_NAME}_trackerHits"

_HITS_ID: Final = 1
"""Number of the collection of hits, which relations name."""

_AT_PERIGEE: Final = 1
"""`TrackState::AtIP`."""

_STATE_PARAMETERS: Final = ("D0", "phi", "omega", "Z0", "tanLambda", "time")

_VECTORS_OF_TRACKS: Final = ("subdetectorHitNumbers", "subdetectorHoleNumbers", "tracks")
"""Vector members and relations of a track that stay empty."""

_HIT_TYPES: Final = {"cellID": np.uint64, "type": np.int32, "quality": np.int32} | dict.fromkeys(
    ("time", "eDep", "eDepError"), np.float32
)

Collections = dict[str, dict[str, ndarray]]
"""Collection -> member -> one value per object."""


def track_states(parameters: TrackParameters) -> tuple[Float32[ndarray, "n 6"], Float32[ndarray, "n 21"]]:
    """Parameters at the perigee and the lower triangle of their covariance, as `TrackState` has them.

    d0 and phi are those of ACTS; omega = c B q / pT [1/mm] has the sign of the charge in a field along z,
    tan(lambda) = cot(theta). The time, which was not measured, is 0 with variance 0.

    Args:
        parameters: fitted tracks.

    Raises:
        InputError: the field of the fit is not known.
    """
    if not np.isfinite(parameters.field):
        raise InputError(
            "edm4hep: got tracks whose magnetic field is not known, as of a server, expected tracks that were fitted"
            " here; leave out --url"
        )
    d0, z0, phi, theta, q_over_p = parameters.values.T
    unit, sine = GEV_PER_TESLA_MM * parameters.field, np.sin(theta)
    values = np.stack([d0, phi, unit * q_over_p / sine, z0, 1 / np.tan(theta), np.zeros(len(d0))], axis=1)
    # Derivatives of these by d0, z0, phi, theta and q/p.
    jacobian = np.zeros((len(d0), len(_STATE_PARAMETERS), 5))
    jacobian[:, 0, 0] = jacobian[:, 1, 2] = jacobian[:, 3, 1] = 1
    jacobian[:, 2, 3] = -unit * q_over_p * np.cos(theta) / sine**2
    jacobian[:, 2, 4] = unit / sine
    jacobian[:, 4, 3] = -1 / sine**2
    covariance = jacobian @ parameters.covariance @ jacobian.transpose(0, 2, 1)
    rows, columns = np.tril_indices(len(_STATE_PARAMETERS))
    return values.astype(np.float32), covariance[:, rows, columns].astype(np.float32)


def track_collections(event: Event, tracks: Tracks) -> Collections:
    """The hits of an event, its tracks, their states where they were fitted, and their relations to hits."""
    check_labels(event, tracks)
    rows, begin = hit_lists(event.hits, tracks, outwards=True)
    n_tracks, parameters = len(begin) - 1, tracks.parameters
    extra = {} if event.source is None else event.source.extra
    n_hits = len(event.hits)
    hits = {name: np.asarray(extra.get(name, np.zeros(n_hits)), kind) for name, kind in _HIT_TYPES.items()}
    if "cellID" not in extra and event.hits.geometry_id is not None:
        hits["cellID"] = event.hits.geometry_id
    hits |= {
        f"position.{axis}": values.astype(np.float64) for axis, values in zip("xyz", event.hits.xyz.T, strict=True)
    }
    chi2, ndf = np.zeros(n_tracks, np.float32), np.zeros(n_tracks, np.int32)
    values, covariance = np.empty((0, len(_STATE_PARAMETERS)), np.float32), np.empty((0, 21), np.float32)
    fitted = np.zeros(n_tracks, np.bool_)
    if parameters is not None:
        fitted = parameters.fitted
        values, covariance = (part[fitted] for part in track_states(parameters))
        chi2[fitted], ndf[fitted] = parameters.chi2[fitted], parameters.ndf[fitted]
    states: dict[str, ndarray] = {"location": np.full(len(values), _AT_PERIGEE, np.int32)}
    states |= dict(zip(_STATE_PARAMETERS, values.T, strict=True))
    states |= {f"referencePoint.{axis}": np.zeros(len(values), np.float32) for axis in "xyz"}
    end_of_states = np.cumsum(fitted, dtype=np.uint32)
    members = {"type": np.zeros(n_tracks, np.int32), "chi2": chi2, "ndf": ndf, "Nholes": np.zeros(n_tracks, np.int32)}
    members |= _ranges("trackStates", end_of_states - fitted, end_of_states)
    members |= _ranges("trackerHits", begin[:-1], begin[1:])
    for name in _VECTORS_OF_TRACKS:
        members |= _ranges(name, np.zeros(n_tracks), np.zeros(n_tracks))
    return {
        "EventHeader": {
            "eventNumber": np.array([event.event_id], np.uint64),
            "runNumber": np.zeros(1, np.uint32),
            "weight": np.ones(1),
        },
        _HITS_NAME: hits,
        _TRACKS_NAME: members,
        _STATES_NAME: states,
        # uproot writes no arrays of fixed length in a vector: 21 numbers of each state follow each other.
        f"{_STATES_NAME}.covMatrix": {"values": covariance.ravel()},
        _LINKS_NAME: {"index": rows.astype(np.int32), "collectionID": np.full(len(rows), _HITS_ID, np.uint32)},
    }


def _ranges(name: str, begin: ndarray, end: ndarray) -> dict[str, ndarray]:
    """Where the elements of a vector member begin and end, of each object."""
    return {f"{name}_begin": begin.astype(np.uint32), f"{name}_end": end.astype(np.uint32)}


def _write_tracks(form: TrackFormat, path: Path, events: EventsWithTracks) -> int:
    """Write one entry per event."""
    import awkward as ak
    import uproot

    written = 0
    with replacing(path) as part, uproot.recreate(part, compression=uproot.ZSTD(3)) as file:
        tree = None
        for event, tracks in events:
            collections = track_collections(event, tracks)
            branches = {
                f"{name}.{member}": values
                for name, members in collections.items()
                for member, values in members.items()
            }
            if tree is None:
                types = {name: f"var * {values.dtype.name}" for name, values in branches.items()}
                tree = file.mktree(_TREE, types, title=MARK, counter_name=lambda name: f"n_{name.replace('.', '_')}")
            tree.extend({name: ak.unflatten(values, [len(values)]) for name, values in branches.items()})
            written += 1
        if tree is None:
            file.mktree(_TREE, {"EventHeader.eventNumber": "var * uint64"}, title=MARK)
    return written


EDM4HEP_TRACKS: Final = TrackFormat(
    EDM4HEP.name, (".root",), {"event_id": np.int64}, lambda event, tracks: {}, writer=_write_tracks
)
"""Tracks of EDM4hep with a state at the perigee, and the hits that they refer to; in mm and GeV."""
