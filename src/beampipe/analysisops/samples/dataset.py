"""The data of an instance: random parameters, events, names of columns, hidden truth, ROOT files and a manifest.

Hidden parameters are drawn at random: each depends on its name, not on the order of the draws. Events are flat arrays:
columns per event, and collections of objects with the index of their event. Naming conventions of columns and trees
differ between instances, as they do between experiments.
"""

from __future__ import annotations

import hashlib
import json
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Final, cast
from uuid import UUID

import numpy as np
from numpy import ndarray

from beampipe.analysisops.tools.data_folder import write_manifest
from beampipe.arrays import Bool, Int64
from beampipe.errors import ConfigError, UnknownNameError
from beampipe.files import make_folder, write_whole
from beampipe.simulation.pythia import seed_of


class RandomParameters:
    """The random numbers of one instance.

    Args:
        family: family of the instance.
        seed: seed of the instance.
        ranges: name of a hidden parameter -> lowest and highest value, in place of the family's own range.

    Raises:
        ConfigError: a range is empty or not finite.
    """

    def __init__(self, family: str, seed: int, ranges: Mapping[str, tuple[float, float]] | None = None) -> None:
        for name, (low, high) in (ranges or {}).items():
            if not (np.isfinite([low, high]).all() and low <= high):
                raise ConfigError(f"{family}, parameter {name}: got the range ({low}, {high}), expected low <= high")
        self._family, self._seed = family, seed
        self._ranges = dict(ranges or {})
        self._drawn: dict[str, float] = {}

    @property
    def drawn(self) -> dict[str, float]:
        """All hidden numbers drawn so far, by name."""
        return dict(self._drawn)

    def generator(self, what: str) -> np.random.Generator:
        """A generator of random numbers for this instance and name."""
        return np.random.default_rng(
            np.random.SeedSequence([abs(self._seed), int(self._seed < 0), _key(self._family), _key(what)])
        )

    def seed(self, what: str) -> int:
        """A seed for Pythia for this instance and name."""
        return seed_of(abs(self._seed), int(self._seed < 0), _key(self._family), _key(what))

    def uniform(self, name: str, low: float, high: float) -> float:
        """A hidden number from a range."""
        low, high = self._ranges.get(name, (low, high))
        return self._keep(name, float(self.generator(name).uniform(low, high)))

    def away(self, name: str, centre: float, near: float, far: float) -> float:
        """A hidden number at a distance between `near` and `far` from a known value, above or below it.

        A range given by the caller is used unchanged, without the gap.
        """
        if name in self._ranges:
            return self.uniform(name, centre, centre)
        side, distance = self.generator(name).uniform(size=2)
        return self._keep(name, float(centre + np.sign(side - 0.5) * (near + (far - near) * distance)))

    def choice(self, name: str, number: int) -> int:
        """A hidden number from 0 to `number` - 1."""
        low, high = self._ranges.get(name, (0, number - 1))
        chosen = self.generator(name).integers(int(low), int(high) + 1)
        return int(self._keep(name, float(chosen)))

    def count(self, name: str, mean: float) -> int:
        """A Poisson-distributed number of events; only its mean is a hidden parameter."""
        return int(self.generator(f"count of {name}").poisson(mean))

    def check(self) -> None:
        """Check that every range belongs to a parameter that was drawn.

        Raises:
            UnknownNameError: the family has no such parameter.
        """
        for name in self._ranges:
            if name not in self._drawn:
                raise UnknownNameError(f"hidden parameter of {self._family}", name, self._drawn)

    def _keep(self, name: str, value: float) -> float:
        self._drawn[name] = value
        return value


def _key(name: str) -> int:
    return zlib.crc32(name.encode())


@dataclass(frozen=True, eq=False)
class Objects:
    """Objects of one kind, such as leptons, sorted by event.

    Attributes:
        event: (n,) int64, row of the event of each.
        fields: one array per quantity, by its standard name without the prefix, such as ``"pt"`` [GeV].
    """

    event: Int64[ndarray, " n"]
    fields: Mapping[str, ndarray]

    def __len__(self) -> int:
        return len(self.event)

    def where(self, kept: Bool[ndarray, " n"]) -> Objects:
        """Only some of the objects."""
        return Objects(self.event[kept], {name: values[kept] for name, values in self.fields.items()})

    def by_pt(self) -> Objects:
        """The same objects sorted by event, and by decreasing pt within each."""
        order = np.lexsort([-self.fields["pt"], self.event])
        return Objects(self.event[order], {name: values[order] for name, values in self.fields.items()})

    def counts(self, n_events: int) -> Int64[ndarray, " n_events"]:
        """Number of objects in each event."""
        return np.bincount(self.event, minlength=n_events).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Events:
    """Events of a sample.

    Attributes:
        number: number of events.
        columns: one value per event, by standard name, such as ``"met"`` [GeV].
        collections: objects by the prefix of their columns, such as ``"lep"``.
    """

    number: int
    columns: Mapping[str, ndarray] = field(default_factory=dict)
    collections: Mapping[str, Objects] = field(default_factory=dict)

    def where(self, kept: Bool[ndarray, " n"]) -> Events:
        """Only some of the events."""
        return self.rows(np.flatnonzero(kept))

    def rows(self, rows: Int64[ndarray, " n_kept"]) -> Events:
        """The events with these indices, in this order; each at most once."""
        new_row = np.full(self.number, -1)
        new_row[rows] = np.arange(len(rows))
        collections = {}
        for name, objects in self.collections.items():
            kept = objects.where(new_row[objects.event] >= 0)
            moved = replace(kept, event=new_row[kept.event])
            order = np.argsort(moved.event, kind="stable")
            collections[name] = Objects(
                moved.event[order], {key: values[order] for key, values in moved.fields.items()}
            )
        return Events(len(rows), {name: values[rows] for name, values in self.columns.items()}, collections)

    def with_columns(self, columns: Mapping[str, ndarray]) -> Events:
        """The same events with added or replaced columns."""
        return replace(self, columns={**self.columns, **columns})

    def first(self, number: int) -> Events:
        """The first events."""
        return self.rows(np.arange(min(number, self.number)))

    def shuffled(self, generator: np.random.Generator) -> Events:
        """The same events in random order."""
        return self.rows(generator.permutation(self.number))


def joined(parts: Sequence[Events]) -> Events:
    """Concatenate events; all parts have the same columns."""
    offsets = np.cumsum([0, *(part.number for part in parts)])
    return Events(
        int(offsets[-1]),
        {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns},
        {
            name: joined_objects(
                [
                    replace(part.collections[name], event=part.collections[name].event + offset)
                    for part, offset in zip(parts, offsets[:-1], strict=True)
                ]
            )
            for name in parts[0].collections
        },
    )


def joined_objects(parts: Sequence[Objects]) -> Objects:
    """Concatenate objects, sorted by event; all parts have the same fields."""
    event = np.concatenate([part.event for part in parts])
    order = np.argsort(event, kind="stable")
    return Objects(
        event[order], {name: np.concatenate([part.fields[name] for part in parts])[order] for name in parts[0].fields}
    )


ENERGIES: Final = ("pt", "e", "ptcone20", "met")
"""Standard names, without prefix, of columns in units of energy."""


@dataclass(frozen=True)
class Dialect:
    """A naming convention. Items that are not listed have their standard name.

    Attributes:
        name: name of the dialect.
        tree: name of the tree.
        collections: prefix of a collection, such as ``"lep"`` -> its prefix here.
        fields: name of a field, such as ``"pt"`` -> its name here.
        columns: name of a column that belongs to the event -> its name here.
        counter: text before (``"n"``) or after (``"_n"``) a prefix that names the number of objects.
    """

    name: str
    tree: str
    collections: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    counter: str = "_n"

    def collection(self, prefix: str) -> str:
        """The prefix of a collection."""
        return self.collections.get(prefix, prefix)

    def object_column(self, prefix: str, name: str) -> str:
        """The name of a column of objects."""
        return f"{self.collection(prefix)}_{self.fields.get(name, name)}"

    def counter_column(self, prefix: str) -> str:
        """The name of the column with the number of objects."""
        name = self.collection(prefix)
        return name + self.counter if self.counter.startswith("_") else self.counter + name

    def event_column(self, name: str) -> str:
        """The name of a column of the event."""
        return self.columns.get(name, name)


DIALECTS: Final = (
    Dialect("release_2025", "analysis"),
    Dialect("release_2020", "mini", fields={"e": "E"}, columns={"met": "met_et"}),
    Dialect(
        "long",
        "events",
        {"lep": "lepton", "photon": "photon", "jet": "jet", "hit": "hit"},
        {"e": "energy", "isTightID": "passesTight", "type": "pdgId"},
        {"met": "missing_et", "met_phi": "missing_phi", "mcWeight": "weight_mc", "eventNumber": "event"},
    ),
    Dialect(
        "plural",
        "ntuple",
        {"lep": "leptons", "photon": "photons", "jet": "jets", "hit": "hits"},
        {"pt": "pT", "e": "E", "type": "flavour", "ptcone20": "iso20", "btag_quantile": "btagQuantile"},
        {"met": "MET", "met_phi": "MET_phi", "mcWeight": "generatorWeight", "jet_n_trk": "jet_nTracks"},
    ),
    Dialect(
        "upper",
        "Events",
        {"lep": "Lepton", "photon": "Photon", "jet": "Jet", "hit": "Hit"},
        {"e": "energy", "isTightID": "tightId", "ptcone20": "trackIso", "type": "pdgId"},
        {
            "met": "MET_pt",
            "met_phi": "MET_phi",
            "mcWeight": "genWeight",
            "eventNumber": "event",
            "jet_pt": "Jet_pt",
            "jet_eta": "Jet_eta",
            "jet_n_trk": "Jet_nTrk",
            "jet_label": "Jet_partonFlavour",
        },
        "n",
    ),
    Dialect(
        "short",
        "nominal",
        {"lep": "el_mu", "photon": "ph", "jet": "j", "hit": "sp"},
        {"pt": "pT", "e": "en", "charge": "q", "isTightID": "tight", "type": "id"},
        {"met": "etmiss", "met_phi": "etmiss_phi", "mcWeight": "w_gen", "jet_pt": "j_pT", "jet_label": "j_truth"},
    ),
)
"""The dialects of the files."""


@dataclass(frozen=True)
class HiddenTruth:
    """The hidden truth of an instance; agents never see it.

    Attributes:
        family: family of the task, such as ``"zmumu"``.
        seed: seed of the instance.
        version: version of the generator; equal families, seeds and versions give equal arrays.
        parameters: random parameters of this instance, by name: masses and widths [GeV], numbers of events,
            resolutions.
        truth: results of a perfect analysis, by the names of the answers.
        words: word answers.
        columns: standard name of a column, such as ``"lep_pt"`` -> its name in the files of this instance.
        energy_unit: unit of energy in the files [GeV]: 1 or 0.001.
        tree: name of the tree in the files; empty if there is none.
        files: role, such as ``"data"`` or ``"signal_mc"`` -> names of the files.
        luminosity: integrated luminosity of the data [1/fb]; None if it is not used.
        analysis: what else grading needs, such as the ``particles`` that count as tracks.
        labels: true label of each row of the data, such as the particle of a hit; empty if there is none.
    """

    family: str
    seed: int
    version: str
    parameters: Mapping[str, float]
    truth: Mapping[str, float]
    words: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    energy_unit: float = 1.0
    tree: str = ""
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    luminosity: float | None = None
    analysis: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON types; `from_json` reads it back."""
        return cast("dict[str, Any]", json.loads(json.dumps(asdict(self), allow_nan=False)))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> HiddenTruth:
        """Read the output of `to_json`."""
        files = {role: tuple(names) for role, names in data["files"].items()}
        return cls(**{**data, "files": files, "labels": tuple(data["labels"])})


@dataclass(frozen=True)
class Sample:
    """One file of events.

    Attributes:
        name: name of the file without the suffix.
        role: such as ``"data"``, ``"signal_mc"``, ``"background_mc"`` or ``"calibration_mc"``.
        events: its events.
        facts: public facts of it, such as ``cross_section_pb`` and ``sum_of_weights``.
    """

    name: str
    role: str
    events: Events
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Instance:
    """The data of an instance before they are written.

    Attributes:
        samples: files of events.
        truth: results of a perfect analysis, by the names of the answers.
        words: word answers.
        texts: name of a text file, such as ``"metrics.json"`` -> its role and its content.
        public: public facts of all data, such as ``luminosity_fb``.
        analysis: what else grading needs.
        labels: true label of each row of the data.
        hidden: further hidden numbers, derived from the random ones.
        layout: names and units of the files; None to draw them at random.
    """

    samples: tuple[Sample, ...] = ()
    truth: Mapping[str, float] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    public: Mapping[str, Any] = field(default_factory=dict)
    analysis: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[int, ...] = ()
    hidden: Mapping[str, float] = field(default_factory=dict)
    layout: FileLayout | None = None


@dataclass(frozen=True)
class FileLayout:
    """Names and units in the files of an instance.

    Attributes:
        dialect: naming convention of columns.
        tree: name of the tree.
        energy_unit: unit of energy in the files [GeV].
        lengths: unit of length in the files [mm].
    """

    dialect: Dialect
    tree: str
    energy_unit: float = 1.0
    lengths: float = 1.0


def columns_of(events: Events, layout: FileLayout) -> dict[str, str]:
    """Standard name of each column -> its name in the files."""
    dialect = layout.dialect
    names = {name: dialect.event_column(name) for name in events.columns}
    for prefix, objects in events.collections.items():
        names[f"{prefix}_n"] = dialect.counter_column(prefix)
        for name in objects.fields:
            names[f"{prefix}_{name}"] = dialect.object_column(prefix, name)
    return names


def write_tree(path: Path, events: Events, layout: FileLayout) -> dict[str, Any]:
    """Write events as a ROOT tree with jagged columns.

    Returns:
        The file's entry in the manifest: bytes, checksums of the file and of its contents, number of events.
    """
    import awkward as ak

    dialect = layout.dialect
    data: dict[str, Any] = {
        dialect.event_column(name): _column(name, values, layout) for name, values in events.columns.items()
    }
    outer = {}
    for prefix, objects in events.collections.items():
        counts = objects.counts(events.number)
        collection = dialect.collection(prefix)
        outer[collection] = dialect.counter_column(prefix)
        data[collection] = ak.zip(
            {
                dialect.fields.get(name, name): ak.unflatten(_column(name, values, layout), counts)
                for name, values in objects.fields.items()
            }
        )

    content = _root_file(layout.tree, data, outer)
    write_whole(path, lambda part: part.write_bytes(content))
    return {**_file_facts(path), "content_sha256": checksum(events, layout), "n_events": events.number}


_CLOCK: Final = threading.Lock()

_WRITTEN_ON: Final = datetime(2000, 1, 1)
"""Date in all files, in place of the time at which they were written."""


def _root_file(tree: str, columns: Mapping[str, Any], counters: Mapping[str, str]) -> bytes:
    """A ROOT file with one tree; equal arguments give equal bytes."""
    import uproot

    buffer = BytesIO()  # a file on disk would contain its own temporary name
    with _CLOCK:
        date_of_now = uproot._util.datetime_to_code
        uproot._util.datetime_to_code = lambda _: date_of_now(_WRITTEN_ON)
        try:
            with uproot.recreate(buffer, compression=uproot.ZLIB(1), uuid_function=partial(UUID, int=0)) as file:
                file.mktree(tree, columns, counter_name=lambda counted: counters[counted])
                return buffer.getvalue()  # the file closes the buffer
        finally:
            uproot._util.datetime_to_code = date_of_now


def checksum(events: Events, layout: FileLayout) -> str:
    """SHA-256 of names, types and contents of all columns as written, independent of date and compression."""
    digest = hashlib.sha256()
    columns = {name: _column(name, values, layout) for name, values in events.columns.items()}
    for prefix, objects in events.collections.items():
        columns[f"{prefix}_n"] = objects.counts(events.number)
        for name, values in objects.fields.items():
            columns[f"{prefix}_{name}"] = _column(name, values, layout)
    for name in sorted(columns):
        digest.update(f"{name}:{columns[name].dtype.str}:".encode())
        digest.update(np.ascontiguousarray(columns[name]).tobytes())
    return digest.hexdigest()


def _file_facts(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"name": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _column(name: str, values: ndarray, layout: FileLayout) -> ndarray:
    """A column as written: in the units of the file, real numbers in single precision."""
    if name.removeprefix("jet_") in ENERGIES:
        values = values / layout.energy_unit
    elif name in ("r", "z"):
        values = values / layout.lengths
    return values.astype(np.float32) if values.dtype == np.float64 else values


Make = Callable[[RandomParameters], Instance]
"""The generator of a family: the data of an instance from its random parameters."""

VERSION: Final = "2"
"""Version of the generator. It changes whenever a family and seed give different arrays than before."""

_FIRST_EVENT: Final = 10_000_000
"""Number of the first event of an instance."""


def prepare(
    make: Make,
    family: str,
    seed: int,
    folder: Path,
    *,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> HiddenTruth:
    """Make the data of an instance.

    Args:
        make: the generator of the family.
        family: name of the family; random numbers depend on it.
        seed: seed of the instance; equal generators, families and seeds give equal arrays.
        folder: the files are written into its folder ``data``, with ``manifest.json`` beside them.
        ranges: hidden parameter -> lowest and highest value, in place of the family's own range.

    Returns:
        The hidden truth, which is not written to the folder.

    Raises:
        UnknownNameError: the family has no such parameter.
        ConfigError: the range of a parameter is invalid.
    """
    random = RandomParameters(family, seed, ranges)
    dialect = DIALECTS[random.choice("dialect", len(DIALECTS))]
    # The tree name is drawn from all dialects, so that it does not reveal the column names.
    tree = DIALECTS[random.choice("tree", len(DIALECTS))].tree
    energy_unit = (1.0, 0.001)[random.choice("mev", 2)]
    millimetres = (1.0, 10.0, 1000.0)[random.choice("length", 3)]
    instance = make(random)
    random.check()
    layout = instance.layout or FileLayout(dialect, tree, energy_unit, millimetres)
    make_folder(folder / "data")
    files: list[dict[str, Any]] = []
    columns: dict[str, str] = {}
    first = _FIRST_EVENT
    for sample in instance.samples:
        numbers = np.arange(first, first + sample.events.number, dtype=np.int64)
        first += sample.events.number
        events = sample.events.with_columns({"eventNumber": sample.events.columns.get("eventNumber", numbers)})
        facts = write_tree(folder / "data" / f"{sample.name}.root", events, layout)
        files.append({**facts, "role": sample.role, **sample.facts})
        columns.update(columns_of(events, layout))
    for name, (role, text) in instance.texts.items():
        path = folder / "data" / name
        path.write_text(text, encoding="utf-8")
        facts = _file_facts(path)
        files.append({**facts, "content_sha256": facts["sha256"], "role": role})
    write_manifest(folder / "data", files, {"generator_version": VERSION, **instance.public})
    names: dict[str, tuple[str, ...]] = {}
    for file in files:
        names[file["role"]] = (*names.get(file["role"], ()), file["name"])
    luminosity = instance.public.get("luminosity_fb")
    return HiddenTruth(
        family,
        seed,
        VERSION,
        {**random.drawn, "length_unit": layout.lengths, **instance.hidden},
        instance.truth,
        instance.words,
        columns,
        layout.energy_unit,
        layout.tree if instance.samples else "",
        names,
        None if luminosity is None else float(luminosity),
        instance.analysis,
        instance.labels,
    )
