"""The data of an instance: samples and hidden truth in memory, ROOT files and a manifest on disk."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Final, cast
from uuid import UUID

import numpy as np
from numpy import ndarray

from beampipe.analysisops.samples.branch_names import DIALECTS, ENERGIES, Dialect
from beampipe.analysisops.samples.events import Events
from beampipe.analysisops.samples.random_parameters import RandomParameters
from beampipe.analysisops.tools.data_folder import write_manifest
from beampipe.files import make_folder, write_whole


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

VERSION: Final = "1"
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
    files, columns = _write_files(instance, layout, folder / "data")
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
        files,
        None if luminosity is None else float(luminosity),
        instance.analysis,
        instance.labels,
    )


def _write_files(
    instance: Instance, layout: FileLayout, folder: Path
) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Write the files and their manifest; names of the files by role, and columns by standard name."""
    files: list[dict[str, Any]] = []
    columns: dict[str, str] = {}
    first = _FIRST_EVENT
    for sample in instance.samples:
        numbers = np.arange(first, first + sample.events.number, dtype=np.int64)
        first += sample.events.number
        events = sample.events.with_columns({"eventNumber": numbers})
        facts = write_tree(folder / f"{sample.name}.root", events, layout)
        files.append({**facts, "role": sample.role, **sample.facts})
        columns.update(columns_of(events, layout))
    for name, (role, text) in instance.texts.items():
        (folder / name).write_text(text, encoding="utf-8")
        facts = _file_facts(folder / name)
        files.append({**facts, "content_sha256": facts["sha256"], "role": role})
    write_manifest(folder, files, {"generator_version": VERSION, **instance.public})
    names: dict[str, tuple[str, ...]] = {}
    for file in files:
        names[file["role"]] = (*names.get(file["role"], ()), file["name"])
    return names, columns
