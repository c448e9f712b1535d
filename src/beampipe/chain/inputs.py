"""Events of files in place of the first stages: generated particles (HepMC, LHE), hits, tracks.

A chunk is a range of the events of one file. It has the key of its contents, so that a file that is added or moved
makes nothing again. Truth may be absent; then nothing is compared with particles.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64
from beampipe.chain.collisions import sample_spec_of, with_soft_collisions
from beampipe.chain.settings import FileInput
from beampipe.chain.tables import UNKNOWN, EventTable, ParticleTable, TrackEvents, TrackTable, joined
from beampipe.columns import Column, ColumnScan, recognised
from beampipe.errors import ColumnError, ConfigError, FileError, UnknownNameError, look_up, nearest
from beampipe.events import Event, Events, Hits, Tracks
from beampipe.simulation.detector import Detector
from beampipe.simulation.pythia import (
    ETA_MAX,
    PARTON_STATUS,
    PHOTON,
    PT_MIN,
    TRACKER_R,
    TRACKER_Z,
    UNSEEN,
    CollisionPool,
    Collisions,
    PythiaRun,
    pythia8,
)
from beampipe.simulation.samples import Slice
from beampipe.tables import save_tables
from beampipe.tracking.fitting.helix import GEV_PER_TESLA_MM
from beampipe.tracking.formats.edm4hep import EDM4HEP
from beampipe.tracking.formats.format import FileProbe, open_root, probe_file
from beampipe.tracking.formats.parquet import read_tracks, write_events
from beampipe.tracking.formats.read_options import ReadOptions
from beampipe.tracking.formats.registry import input_files, open_with
from beampipe.tracking.formats.tables import EVENT, equal_runs
from beampipe.tracking.formats.writing import TRACK_COLUMNS
from beampipe.tracking.loading import load_track_fitter
from beampipe.workflow import FileStamp, digest_of, file_digest

if TYPE_CHECKING:
    from beampipe.chain.recipes import Chunk
    from beampipe.chain.settings import TrackSettings
    from beampipe.tracking.fitting.fitter import TrackFitter


@dataclass(frozen=True)
class Source:
    """A range of the events of one file, or folder.

    Attributes:
        kind: ``hepmc``, ``lhe``, ``hits`` or ``tracks``.
        path: the file or folder.
        first: number of the first event.
        given: the input that it belongs to.
    """

    kind: str
    path: Path
    first: int
    given: FileInput

    @property
    def identity(self) -> list[object]:
        """What its events depend on: contents and options, and no names."""
        plain = replace(self.given, name="", files=(self.path,), cross_section=None)
        options = [plain.tree, plain.columns, plain.units, *_read_options(plain)]
        return [self.kind, self.first, _digest(self.path, self.given.particles), options]


def sources(kind: str, given: FileInput, most: int, size: int) -> Iterator[tuple[Source, int]]:
    """The chunks of an input, with their numbers of events.

    Args:
        kind: ``events``, ``hits`` or ``tracks``.
        given: the input.
        most: largest number of events, 0 for all.
        size: largest number of events of a chunk.

    Raises:
        FileError: a file cannot be read, or is cut short.
    """
    left = most or np.inf
    for path in given.files:
        reader = _generated_kind(path) if kind == "events" else kind
        n_events = min(left, _count(reader, path, given, _stamps(path)))
        left -= n_events
        for first in range(0, int(n_events), size):
            yield Source(reader, path, first, given), min(size, int(n_events) - first)


def parameters_of(chunk: Chunk) -> object:
    """What the events of a chunk depend on beside its source."""
    settings, source = chunk.settings, chunk.source
    assert source is not None
    if source.kind == "hits":
        return None
    if source.kind == "tracks":
        return [settings.tracks.cuts, settings.tracks.model, _field(chunk)]
    soft = [settings.collisions.pileup, settings.collisions.energy, chunk.seed(1)]
    if source.kind == "lhe":
        return [soft, chunk.spec.settings]
    return soft if settings.collisions.pileup else None


def _read_options(given: FileInput) -> tuple[object, ...]:
    return given.scale, given.format, given.hits, given.links, given.particles, given.cell_id


def _stamps(path: Path) -> tuple[FileStamp, ...]:
    """Stamps of a file, or of the files of a folder: what was read of it may be kept as long as they stay."""
    return tuple(map(FileStamp.of, _files_of(path)))


def _files_of(path: Path) -> list[Path]:
    return sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]


def _digest(path: Path, particles: str | None) -> str:
    """Digest of the contents of a file or folder, and of the files beside it that are read, too."""
    beside = {*_files_of(path), *input_files(path, particles)}
    return digest_of([_digest_of_file(each, FileStamp.of(each)) for each in sorted(beside)])


@lru_cache(maxsize=4096)
def _digest_of_file(path: Path, stamp: FileStamp) -> str:
    return file_digest(path)


@lru_cache(maxsize=4096)
def _count(kind: str, path: Path, given: FileInput, stamps: tuple[FileStamp, ...]) -> int:
    """Number of the events of a file."""
    if kind in _FIRST_LINE:
        return _count_generated(kind, path)
    if kind == "hits":
        return len(_open_hits(path, given))
    found = _read_tracks(path, given, stamps)
    return len(found.offset) - 1 if isinstance(found, _Columns) else len(found)


# Generated particles


_OF_ROOT: Final = ("root", "tree")
"""Kinds of files that ROOT writes, as `FileProbe` calls them."""

_COMPRESSED: Final[Mapping[bytes, Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
"""First bytes of a compressed file -> what opens it."""

_FIRST_LINE: Final = {"hepmc": b"E ", "lhe": b"<event"}
"""How the first line of an event begins, by kind of file."""

_LAST_LINE: Final = {"hepmc": b"END_EVENT_LISTING", "lhe": b"</LesHouchesEvents>"}
"""What the last line of a whole file contains."""


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, compressed or not."""
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
        opened = next((way for magic, way in _COMPRESSED.items() if start.startswith(magic)), None)
        with path.open("rb") if opened is None else opened(path) as stream:
            yield from stream
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise FileError(f"{path}: cannot be read to its end ({error}); copy or write it again", path=path) from error


def _generated_kind(path: Path) -> str:
    """Whether a file is HepMC or LHE."""
    start = b"".join(islice(_lines(path), 20))[:4000]
    if b"HepMC::" in start:
        return "hepmc"
    if b"<LesHouchesEvents" in start:
        return "lhe"
    raise FileError(
        f"{path}: got neither HepMC nor LHE, expected one of these texts, perhaps compressed by gzip, bzip2 or xz;"
        " write HepMC3 as ASCII, not to ROOT",
        path=path,
    )


def _count_generated(kind: str, path: Path) -> int:
    n_events, last = 0, b""
    for line in _lines(path):
        n_events += line.lstrip().startswith(_FIRST_LINE[kind])
        last = line if line.strip() else last
    if _LAST_LINE[kind] not in last:
        raise FileError(
            f"{path}: got no {_LAST_LINE[kind].decode()} after {n_events} events, expected it in the last line: the"
            " file was cut short; copy or write it again",
            path=path,
        )
    return n_events


def _part(source: Source, n_events: int) -> bytes:
    """A file of some events of a source."""
    first_line, part, number = _FIRST_LINE[source.kind], [], -1
    for line in _lines(source.path):
        number += line.lstrip().startswith(first_line)
        if number >= source.first + n_events:
            break
        if number < 0 or number >= source.first:
            part.append(line)
    part.append(b"</LesHouchesEvents>\n" if source.kind == "lhe" else b"HepMC::Asciiv3-END_EVENT_LISTING\n")
    return b"".join(part)


def read_hepmc(path: Path, chunk: Chunk) -> None:
    """Write the record of generated events that HepMC files have, as `beampipe.chain.collisions.generate` does.

    Collisions are moved to the origin, from where the simulation spreads them. Partons that label jets are those with
    Pythia's status codes of showers, or, in an event without, all quarks and gluons that are not final.

    Raises:
        FileError: an event cannot be read, or has particles that Pythia does not know.
    """
    import pyhepmc

    source = chunk.source
    assert source is not None
    events = []
    with pyhepmc.open(BytesIO(_part(source, chunk.n_events))) as file:
        for event in file:
            event.set_units(pyhepmc.Units.GEV, pyhepmc.Units.MM)
            events.append(_arrays_of(event))
    if len(events) != chunk.n_events:
        raise FileError(
            f"{source.path}: event {source.first + len(events)} cannot be read by HepMC3, expected whole events; write"
            " the file again",
            path=source.path,
        )
    counts = [len(event["pdg"]) for event in events]
    event_of = np.repeat(np.arange(len(events)), counts)
    every = {name: np.concatenate([event[name] for event in events]) for name in events[0]}
    pdg, status, momentum, vertex = (every[name] for name in ("pdg", "status", "momentum", "vertex"))
    charge = _charges(source.path, pdg, status == 1)
    has_codes = np.bincount(event_of, np.isin(status, PARTON_STATUS), len(events)) > 0
    parton = np.isin(np.abs(pdg), (1, 2, 3, 4, 5, 21)) & (status != 1) & (status != _BEAM)
    parton &= np.isin(status, PARTON_STATUS) | ~has_codes[event_of]
    final = (status == 1) & ~np.isin(np.abs(pdg), UNSEEN)

    def offsets(chosen: ndarray) -> Int64[ndarray, " n"]:
        return np.searchsorted(event_of[chosen], np.arange(len(events) + 1)).astype(np.int64)

    collisions = Collisions(
        0,
        offsets(final),
        momentum[final],
        charge[final] != 0,
        offsets(parton),
        momentum[parton],
        np.abs(pdg[parton]).astype(np.int64),
        every["weight"][:, None],
        pdg[final].astype(np.int32),
    )
    pt = np.hypot(momentum[:, 0], momentum[:, 1])
    tracked = (status == 1) & ((charge != 0) | (pdg == PHOTON)) & (pt >= PT_MIN)
    tracked &= np.abs(momentum[:, 2]) <= np.sinh(ETA_MAX) * pt
    tracked &= (np.hypot(vertex[:, 0], vertex[:, 1]) <= TRACKER_R) & (np.abs(vertex[:, 2]) <= TRACKER_Z)
    pool = CollisionPool(
        offsets(tracked),
        pdg[tracked].astype(np.int32),
        charge[tracked].astype(np.float32),
        every["mass"][tracked].astype(np.float32),
        momentum[tracked, :3].astype(np.float32),
        vertex[tracked].astype(np.float32),
    )
    _save_record(path, chunk, collisions, pool)


_BEAM: Final = 4
"""Status of beam particles in HepMC."""


def _arrays_of(event: Any) -> dict[str, ndarray]:
    """Particles of an event of HepMC in GeV and mm, and the collision at the origin."""
    particles = event.numpy.particles
    vertex = np.zeros((len(event.particles), 4))
    for each in event.vertices:
        rows = [particle.id - 1 for particle in each.particles_out]
        vertex[rows] = each.position.x, each.position.y, each.position.z, each.position.t
    status = np.asarray(particles.status)
    # Most particles start where the collision was.
    vertex -= np.median(vertex[status == 1], axis=0) if (status == 1).any() else 0.0
    return {
        "pdg": np.asarray(particles.pid),
        "status": status,
        "momentum": np.stack([particles.px, particles.py, particles.pz, particles.e], axis=1),
        "mass": np.asarray(particles.generated_mass),
        "vertex": vertex,
        "weight": np.array([event.weights[0] if len(event.weights) else 1.0]),
    }


def _charges(path: Path, pdg: ndarray, final: ndarray) -> Float64[ndarray, " n"]:
    """Charges of particles [e]; final ones must be known."""
    table = pythia8().Pythia("", False).particleData
    codes, row = np.unique(pdg, return_inverse=True)
    unknown = np.array([not table.isParticle(code) for code in codes.tolist()])[row] & final
    if unknown.any():
        names = ", ".join(map(str, np.unique(pdg[unknown])[:5].tolist()))
        raise FileError(
            f"{path}: got final particles with the PDG codes {names}, whose charge Pythia does not know; decay them in"
            " the generator",
            path=path,
        )
    return np.array([table.charge(code) for code in codes.tolist()], np.float64)[row]


def shower_lhe(path: Path, chunk: Chunk) -> None:
    """Write the record of events whose hard process is in LHE files; Pythia adds showers, hadrons and decays.

    Raises:
        ConfigError: Pythia cannot read the file.
        FileError: it cannot read all events.
    """
    source = chunk.source
    assert source is not None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "events.lhe"
        file.write_bytes(_part(source, chunk.n_events))
        lines = (*chunk.sample.lines, "HardQCD:all = off", "Beams:frameType = 4", f"Beams:LHEF = {file}")
        spec = sample_spec_of(chunk.sample.generator, lines, chunk.settings.collisions.energy)
        collisions, pool = PythiaRun(spec, _AS_GIVEN, chunk.seed(1)).with_tracker_particles(chunk.n_events)
    if len(collisions) != chunk.n_events:
        raise FileError(
            f"{source.path}: Pythia could shower {len(collisions)} of the {chunk.n_events} events from event"
            f" {source.first} on, expected all; see what it prints for `Beams:LHEF`",
            path=source.path,
        )
    _save_record(path, chunk, collisions, pool)


class _AllEvents(Slice):
    """No range of the hard process: events are taken as they are."""

    @property
    def settings(self) -> tuple[str, ...]:
        return ()


_AS_GIVEN: Final = _AllEvents(0.0, np.inf, 0.0, 1.0)


def _save_record(path: Path, chunk: Chunk, collisions: Collisions, pool: CollisionPool) -> None:
    settings = chunk.settings.collisions
    soft = with_soft_collisions(len(pool), settings.pileup, chunk.seed(1), settings.energy)
    save_tables(path, collisions=collisions, pool=pool, **soft)


def stated_cross_section(given: FileInput) -> float:
    """Cross section of generated events [pb]: as configured, or as the first file states it.

    Raises:
        ConfigError: neither does.
    """
    if given.cross_section is not None:
        return given.cross_section
    path, found, in_init = given.files[0], 0.0, False
    is_lhe = _generated_kind(path) == "lhe"
    for line in _lines(path):
        words = line.split()
        if is_lhe:
            if words[:1] == [b"</init>"]:
                break
            # After the line of the beams, each process has a line of cross section, its error, weight and number.
            found += float(words[0]) if in_init and len(words) == 4 else 0.0
            in_init = in_init or words[:1] == [b"<init>"]
        elif b"GenCrossSection" in words:  # an attribute of HepMC3; later events know it better
            found = float(words[words.index(b"GenCrossSection") + 1])
        elif words[:1] == [b"C"]:  # of HepMC2
            found = float(words[1])
    if not (np.isfinite(found) and found > 0):
        raise ConfigError(
            f"input of {given.name}: {path} states no cross section; give cross_section = ... [pb] in [input.events]"
        )
    return found


# Hits


def read_hits(path: Path, chunk: Chunk) -> None:
    """Write the hits of a source as the simulation does, with their truth if there is one."""
    source = chunk.source
    assert source is not None
    events = _open_hits(source.path, source.given)
    write_events(path, events[source.first : source.first + chunk.n_events])


def _open_hits(path: Path, given: FileInput) -> Events:
    options = ReadOptions(
        given.scale,
        given.format,
        given.hits,
        given.links,
        given.particles,
        given.cell_id,
        given.columns,
        given.units,
    )
    if (
        not path.is_dir()
        and (probe := probe_file(path)).kind in _OF_ROOT
        and (given.tree or not EDM4HEP.recognises(probe))
    ):
        return open_with(_root_table(path, given.tree, probe), options)
    return open_with(path, options)


def _root_table(path: Path, tree: str, probe: FileProbe) -> Any:
    """The tree of a ROOT file as an array of awkward."""
    with open_root(path) as file:
        trees = [name for name, kind in file.classnames(cycle=False).items() if "TTree" in kind or "RNTuple" in kind]
        if tree and tree not in trees:
            raise FileError(
                f"{path}: no tree {tree!r}{nearest(tree, trees)}; got {', '.join(trees) or 'none'}",
                path=path,
                name=tree,
            )
        if not tree and len(trees) != 1:
            raise FileError(f"{path}: got the trees {', '.join(trees) or 'none'}; say which by tree = ...", path=path)
        try:
            return file[tree or trees[0]].arrays()
        except Exception as error:  # uproot raises all kinds of exceptions for damaged files
            raise FileError(f"{path}: cannot be read ({error}); copy or write it again", path=path) from error


# Tracks


def _of_track(name: str, *aliases: str, unit: str = "", low: float = -np.inf, high: float = np.inf) -> Column:
    words = (name, *aliases)
    return Column(
        name, (*aliases, *(f"{of}_{word}" for of in ("track", "trk", "tracks") for word in words)), unit, low, high
    )


_TRACK: Final = (
    _of_track("pt", unit="GeV", low=0.0, high=1e5),
    _of_track("eta", low=-10.0, high=10.0),
    _of_track("phi", unit="rad", low=-2 * np.pi - 1e-3, high=2 * np.pi + 1e-3),
    _of_track("theta", unit="rad", low=0.0, high=np.pi),
    _of_track("q_over_p", "qop", "qoverp", unit="e/GeV"),
    _of_track("d0", unit="mm"),
)


@dataclass(frozen=True, eq=False)
class _Columns:
    """Quantities of the tracks of all events of a file.

    Attributes:
        offset: (n_events + 1,) int64, first track of each event.
        values: (n,) float64 of each quantity, by its name in `_TRACK`; of EDM4hep also `omega` and `tan_lambda`.
    """

    offset: Int64[ndarray, " n_events_1"]
    values: dict[str, ndarray]


def read_found_tracks(path: Path, chunk: Chunk) -> None:
    """Write the tracks of a source that pass the cuts, as `beampipe.chain.tracks.find_tracks` does, without particles.

    Tracks of `Tracks.save`, and labels of hits, are fitted if they are not.

    Raises:
        FileError: a file is damaged, or its numbers are impossible.
        ColumnError: columns are missing.
    """
    source, settings = chunk.source, chunk.settings.tracks
    assert source is not None
    found = _read_tracks(source.path, source.given, _stamps(source.path))
    numbers = range(source.first, source.first + chunk.n_events)
    if isinstance(found, _Columns):
        read = [_of_columns(source, found, number, _field(chunk)) for number in numbers]
    else:
        read = [_of_fit(source, found[number], number, settings) for number in numbers]
    tables = []
    for number, (pt, eta, phi, d0) in enumerate(read):
        with np.errstate(invalid="ignore"):
            kept = (pt > settings.min_pt) & (np.abs(eta) < settings.max_abs_eta) & (np.abs(d0) < settings.max_d0)
        n = int(kept.sum())
        tables.append(TrackTable(np.full(n, number), pt[kept], eta[kept], phi[kept], np.full(n, UNKNOWN, np.int8)))
    n_tracks = np.array([len(pt) for pt, *_ in read], np.int64)
    n_unfitted = np.array([np.count_nonzero(~np.isfinite(pt)) for pt, *_ in read], np.int64)
    ones, none = np.ones(len(read)), np.zeros(len(read), np.int64)
    events = EventTable(ones, n_tracks, n_unfitted, none, np.full(len(read), np.nan))
    TrackEvents(joined(TrackTable, tables), ParticleTable.empty(), events).save(path)


def _field(chunk: Chunk) -> float:
    layout = chunk.settings.detector.read()
    return float(Detector().field if layout is None else layout.field_T)


_Parameters = tuple[ndarray, ndarray, ndarray, ndarray]
"""pT [GeV], eta, phi [rad] and d0 [mm] of tracks; nan for a track without a fit."""


def _of_fit(source: Source, tracks: Tracks, number: int, settings: TrackSettings) -> _Parameters:
    if tracks.parameters is None:
        if tracks.event is None:
            raise FileError(
                f"{source.path}: event {number}: got tracks without a fit and without hits, expected one of them; fit"
                " them before they are saved: find_tracks(..., fit=True)",
                path=source.path,
            )
        tracks = _fitter(settings.model).add(tracks.event, tracks)
    fit = tracks.fit
    pt = np.where(fit.fitted, fit.pt, np.nan)
    return pt, -np.log(np.tan(fit.values[:, 3] / 2)), fit.values[:, 2], fit.values[:, 0]


@lru_cache(maxsize=2)
def _fitter(model: str) -> TrackFitter:
    return load_track_fitter(model, threads=1)


def _of_columns(source: Source, found: _Columns, number: int, field: float) -> _Parameters:
    rows = slice(*found.offset[number : number + 2].tolist())
    of = {name: values[rows] for name, values in found.values.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        if "omega" in of:
            of["pt"] = GEV_PER_TESLA_MM * abs(field) / np.abs(of["omega"])
            of["eta"] = np.arcsinh(of["tan_lambda"])
        of["eta"] = of["eta"] if "eta" in of else -np.log(np.tan(of["theta"] / 2))
        of["pt"] = of["pt"] if "pt" in of else 1 / (np.abs(of["q_over_p"]) * np.cosh(of["eta"]))
    return of["pt"], of["eta"], of["phi"], of.get("d0", np.zeros(len(of["phi"])))


@lru_cache(maxsize=2)
def _read_tracks(path: Path, given: FileInput, stamps: tuple[FileStamp, ...]) -> Sequence[Tracks] | _Columns:
    """The tracks of a file, with their hits or as columns."""
    probe = probe_file(path)
    if probe.has("track_id", "track_beam_spot"):
        return list(read_tracks(path))
    if probe.kind == "parquet" and probe.has(*TRACK_COLUMNS):
        return _labelled(path)
    if probe.kind in _OF_ROOT and not given.tree and EDM4HEP.recognises(probe):
        return _edm4hep_tracks(path, given)
    if probe.kind in _OF_ROOT:
        table = _root_table(path, given.tree, probe)
    elif probe.kind == "parquet":
        table = _parquet_table(path)
    else:
        raise FileError(f"{path}: got {probe}, expected tracks in Parquet or ROOT", path=path)
    return _columns_of(path, table, given)


def _parquet_table(path: Path) -> Any:
    """A Parquet file as an array of awkward."""
    import awkward as ak

    try:
        return ak.from_parquet(path)
    except (OSError, ValueError, TypeError) as error:  # those of Arrow are of these kinds
        raise FileError(f"{path}: cannot be read ({error}); copy or write it again", path=path) from error


def _numbers(path: Path, table: Any, name: str) -> ndarray:
    """A column of numbers of a table of awkward."""
    import awkward as ak

    try:
        return np.asarray(ak.to_numpy(table[name], allow_missing=False))
    except (ValueError, TypeError) as error:
        raise FileError(f"{path}: {name}: got no numbers, or gaps ({error})", path=path, name=name) from error


def _labelled(path: Path) -> list[Tracks]:
    """Hits and their labels, as `beampipe.tracking.write_tracks` writes them."""
    table = _parquet_table(path)
    event, r, phi, z, label = (_numbers(path, table, name) for name in TRACK_COLUMNS if name != "hit")
    tracks = []
    for begin, end in equal_runs(event):
        hits = Hits(np.stack([r[begin:end], phi[begin:end], z[begin:end]], axis=1).astype(np.float32))
        tracks.append(Tracks(label[begin:end].astype(np.int64)).found_in(Event(int(event[begin]), hits)))
    return tracks


def _edm4hep_tracks(path: Path, given: FileInput) -> _Columns:
    """The states at the interaction point of a collection of tracks."""
    import awkward as ak

    with open_root(path) as file:
        tree = file["events"]
        keys = {key.rpartition("/")[2]: key for key in tree.keys(recursive=True)}
        ending = "_trackStates.omega"
        names = [key[1:].removesuffix(ending) for key in keys if key.endswith(ending)]
        chosen = [name for name in names if not given.hits or name in given.hits]
        if len(chosen) != 1:
            raise FileError(
                f"{path}: got the collections of tracks {', '.join(names) or 'none'}, expected one; say which by hits ="
                ' ["NAME"]',
                path=path,
            )
        members = {"phi": "phi", "omega": "omega", "tan_lambda": "tanLambda", "d0": "D0", "location": "location"}
        states = {name: tree[keys[f"_{chosen[0]}_trackStates.{member}"]].array() for name, member in members.items()}
    at_beam = states.pop("location") == 1
    counts = ak.sum(at_beam, axis=1).to_numpy()
    flat = {name: ak.flatten(values[at_beam]).to_numpy().astype(np.float64) for name, values in states.items()}
    return _Columns(np.append(0, np.cumsum(counts)).astype(np.int64), flat)


def _columns_of(path: Path, table: Any, given: FileInput) -> _Columns:
    """Columns of a table with a list for each event, or a row for each track and a column with its event."""
    import awkward as ak

    stated, units = _pairs("columns", given.columns), _pairs("units", given.units)
    names = recognised((EVENT, *_TRACK), table.fields) | stated
    for column in stated.values():
        if column not in table.fields:
            raise ColumnError(
                f"{path}: no column {column!r}{nearest(column, table.fields)}; got {', '.join(table.fields)}", path=path
            )
    if not ({"pt", "eta", "phi"} <= set(names) or {"theta", "q_over_p", "phi"} <= set(names)):
        raise ColumnError(
            f"{path}: got the columns {', '.join(table.fields)}, expected pt, eta, phi or phi, theta, q_over_p of"
            ' tracks; columns = ["pt=NAME"] says which they are',
            path=path,
        )
    columns = {column.name: table[names[column.name]] for column in _TRACK if column.name in names}
    if columns["phi"].ndim == 2:
        offset = np.append(0, np.cumsum(ak.num(columns["phi"]).to_numpy()))
        columns = {name: ak.flatten(values) for name, values in columns.items()}
    elif EVENT.name in names:
        runs = equal_runs(event := _numbers(path, table, names[EVENT.name]))
        if len(np.unique(event)) < len(runs):
            raise FileError(f"{path}: got rows of one event apart from each other; sort the table by event", path=path)
        offset = np.array([0, *(end for _, end in runs)])
    else:
        raise ColumnError(
            f"{path}: got a row for each track, and no column with its event; columns = ['event=NAME'] says which",
            path=path,
        )
    values = {}
    for declared in _TRACK:
        if declared.name in columns:
            numbers = _numbers(path, columns, declared.name).astype(np.float64) * _factor(declared, units)
            scan = ColumnScan(declared)
            usable = scan.add(numbers) | np.isnan(numbers)  # nan of tracks without a fit
            median = np.median(numbers[np.isfinite(numbers)]) if np.isfinite(numbers).any() else 0.0
            large = declared.name == "pt" and "pt" not in units and median > _MOST_PT
            if not usable.all() or large:
                what = f"a median of {median:g}" if large else str(scan)
                raise FileError(
                    f"{path}: {names[declared.name]}: got {what}, expected {declared.unit or 'that range'}; state"
                    f' other units: units = ["{declared.name}=MeV"]',
                    path=path,
                )
            values[declared.name] = numbers
    return _Columns(offset.astype(np.int64), values)


_UNITS: Final[Mapping[str, Mapping[str, float]]] = {
    "mm": {"mm": 1.0, "um": 1e-3, "cm": 10.0, "m": 1e3},
    "rad": {"rad": 1.0, "mrad": 1e-3, "deg": np.pi / 180},
    "GeV": {"GeV": 1.0, "MeV": 1e-3, "TeV": 1e3},
}
"""Unit of a column -> units that it may be given in, in terms of it."""

_MOST_PT: Final = 100.0
"""Median pT of tracks above which the unit is not believed to be GeV, unless it is stated [GeV]."""


def _factor(column: Column, units: Mapping[str, str]) -> float:
    """Factor to the unit of a column."""
    if column.name not in units:
        return 1.0
    return look_up(f"unit of {column.name}", units[column.name], _UNITS.get(column.unit, {}))


def _pairs(option: str, given: tuple[str, ...]) -> dict[str, str]:
    """Quantity -> word of pairs ``pt=trk_pt``."""
    pairs = {}
    for text in ",".join(given).split(","):
        name, equal, word = (part.strip() for part in text.partition("="))
        if text and not (name and equal and word):
            raise ConfigError(f"{option}: got {text!r}, expected pairs such as pt=trk_pt")
        if text:
            known = recognised((EVENT, *_TRACK), [name])
            if not known:
                raise UnknownNameError("quantity of tracks", name, [EVENT.name, *(each.name for each in _TRACK)])
            pairs[next(iter(known))] = word
    return pairs
