"""Bookkeeping of files: datasets, slices, cross sections, and the factors of their weights.

The position of a file in its dataset comes from the file, from a manifest, or from the table of its sample. The weights
of a slice (normalised to luminosity * cross section * filter efficiency / sum of weights) can be computed only if all
files of the slice are present.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final, NamedTuple

from beampipe.calibration.config import InputSample, alternatives
from beampipe.errors import ConfigError, FileError
from beampipe.settings import build


@dataclass(frozen=True)
class ManifestRow:
    """One slice of a dataset: a row of a manifest.

    Attributes:
        dataset: name of the dataset; all slices of one have the same.
        files: paths of its files, or patterns of them with ``*``, ``?``, ``[abc]``, ``{one,other}``; they may match the
            end of a path.
        cross_section: cross section of the slice [pb].
        filter_efficiency: generator filter efficiency of the slice.
        n_files: number of files of the slice; 0 for any number, if sums are over the given files.
        sum_weights: sums of weights over all generated events of the slice, the nominal one first; empty if the files
            have them.
        luminosity: integrated luminosity of the simulated data-taking period [1/pb]; 0 for that of the sample.
    """

    dataset: str
    files: tuple[str, ...]
    cross_section: float
    filter_efficiency: float = 1.0
    n_files: int = 0
    sum_weights: tuple[float, ...] = ()
    luminosity: float = 0.0

    def __post_init__(self) -> None:
        if not (self.cross_section > 0 and 0 < self.filter_efficiency <= 1 and min(self.n_files, self.luminosity) >= 0):
            raise ConfigError(
                f"dataset {self.dataset}: got {self}, expected a cross section > 0, an efficiency in (0, 1], a"
                " luminosity > 0"
            )

    def has(self, path: Path) -> bool:
        """Whether a file belongs to the slice."""
        text = str(path)
        for pattern in self.files:
            if text == pattern or text.endswith(f"/{pattern}"):
                return True
            if any(fnmatch(text, form) or fnmatch(text, f"*/{form}") for form in alternatives(pattern)):
                return True
        return False


@dataclass(frozen=True)
class FileOrigin:
    """Position of a file in its dataset, if this is configured and not read from the file.

    Attributes:
        dataset: name of its dataset.
        simulated: whether it is simulation.
        slice: number of its slice.
        n_slices: number of slices of the dataset.
        file_number: its number among the files of the slice.
        n_files: number of files of the slice.
        cross_section: cross section of the slice [pb]; 0 for data.
        filter_efficiency: generator filter efficiency of the slice.
        sum_weights: sums of weights over the slice, for the first of its files; zeros for the others. Empty if the
            file has them.
        luminosity: integrated luminosity of its data-taking period [1/pb]; 0 for that of the sample.
    """

    dataset: str
    simulated: bool
    slice: int = 0
    n_slices: int = 1
    file_number: int = 0
    n_files: int = 1
    cross_section: float = 0.0
    filter_efficiency: float = 1.0
    sum_weights: tuple[float, ...] = ()
    luminosity: float = 0.0


@dataclass(frozen=True)
class FileInfo(FileOrigin):
    """Facts of a file: its origin and the structure of its trees, obtained without reading all events.

    It is simulated if it has labels and weights. `sum_weights` are those of this file alone.

    Attributes:
        weight_names: names of the weights, nominal first.
        n_events: number of entries of the tree of events.
        borders: entries at which all branches start a new basket, from 0 to `n_events`.
        varied: names of the variations of n_trk that have a branch.
        settings: JSON of the generator's settings.
        merged: numbers and sums of weights of the other files that were merged into this one.
        borders_of: name of each variation of the layout -> `borders` of its tree of events.
        weight_counts: number of `sum_weights` of the nominal branch, then of each branch of variations.
        median_weight: median size of the nominal weights of the first events, without zeros; 0 for data or if there
            are none.
    """

    weight_names: tuple[str, ...] = ()
    n_events: int = 0
    borders: tuple[int, ...] = (0, 0)
    varied: tuple[str, ...] = ()
    settings: str = "{}"
    merged: tuple[tuple[int, tuple[float, ...]], ...] = ()
    borders_of: tuple[tuple[str, tuple[int, ...]], ...] = ()
    weight_counts: tuple[int, ...] = ()
    median_weight: float = 0.0

    @property
    def parts(self) -> tuple[tuple[int, tuple[float, ...]], ...]:
        """Number and sums of weights of each file merged into this one; of the file itself if it is not merged."""
        return ((self.file_number, self.sum_weights), *self.merged)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> FileInfo:
        """The facts from JSON types, as by `dataclasses.asdict`."""

        def as_tuple(value: Any) -> Any:
            return tuple([as_tuple(each) if isinstance(each, list | tuple) else each for each in value])

        return cls(**{key: as_tuple(each) if isinstance(each, list | tuple) else each for key, each in plain.items()})


def read_manifest(path: Path) -> tuple[ManifestRow, ...]:
    """The rows of a manifest: a JSON list of objects, or a CSV file with a header and blank-separated lists.

    Raises:
        FileError: the file cannot be read.
        ConfigError: a column is unknown or missing, or a value is invalid.
    """
    try:
        text = path.read_text(encoding="utf-8")
        rows: Any = json.loads(text) if path.suffix == ".json" else list(csv.DictReader(text.splitlines()))
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); expected a manifest", path=path) from error
    except ValueError as error:
        raise FileError(f"{path}: got no JSON ({error})", path=path) from error
    if not isinstance(rows, list) or not rows:
        raise ConfigError(f"{path}: got no rows, expected one for each slice of a dataset")
    out = []
    for number, row in enumerate(rows, 1):
        where = f"{path}: row {number}"
        out.append(build(ManifestRow, _csv_values(row, where) if path.suffix != ".json" else row, where))
    return tuple(out)


def _csv_values(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The cells of a row of CSV as numbers and lists; empty cells are left out."""
    out: dict[str, Any] = {}
    for key, cell in row.items():
        text = (cell or "").strip()
        if text:
            try:
                out[key] = _FROM_CELL.get(key, str)(text)
            except ValueError:
                raise ConfigError(f"{where}: {key}: got {text!r}, expected a number") from None
    return out


_FROM_CELL: Final[Mapping[str, Callable[[str], Any]]] = {
    **dict.fromkeys(("cross_section", "filter_efficiency", "luminosity"), float),
    "n_files": int,
    "files": str.split,
    "sum_weights": lambda text: [float(each) for each in text.split()],
}
"""Columns of a CSV file that are no text -> what their cells hold."""


def file_origins(sample: InputSample, manifest: Sequence[ManifestRow] = ()) -> dict[Path, FileOrigin]:
    """The position of each file of a sample in its dataset.

    Args:
        sample: the sample; without a manifest its name is also that of the dataset, and its files are one slice.
        manifest: rows of the manifest, if there is one.

    Raises:
        ConfigError: there is no cross section for simulation, or files belong to no or several rows.
    """
    name, ordered = sample.name, sorted(sample.files, key=str)
    if sample.kind == "data":
        n = len(ordered)
        return {path: FileOrigin(name, False, file_number=k, n_files=n) for k, path in enumerate(ordered)}
    if not manifest:
        if not sample.cross_section > 0:
            raise ConfigError(
                f"sample {name}: got no cross section, expected one [pb]: set samples.{name}.cross_section, or"
                " layout.sums.manifest if it has several slices"
            )
        manifest = (ManifestRow(name, ("*",), sample.cross_section, sample.filter_efficiency),)
    by_row: dict[int, list[Path]] = {}
    for path in ordered:
        rows = [k for k, row in enumerate(manifest) if row.has(path)]
        if len(rows) != 1:
            patterns = ", ".join(" ".join(manifest[k].files) for k in rows) or "none"
            raise ConfigError(
                f"sample {name}: got rows of the manifest {patterns} for {path}, expected one: change their files"
            )
        by_row.setdefault(rows[0], []).append(path)
    datasets = {manifest[k].dataset for k in by_row}
    if len(datasets) > 1:
        raise ConfigError(f"sample {name}: got files of datasets {', '.join(sorted(datasets))}, expected one dataset")
    slices = [k for k, row in enumerate(manifest) if row.dataset in datasets]
    origins = {}
    for slice_number, k in enumerate(slices):
        row, members = manifest[k], by_row.get(k, [])
        for file_number, path in enumerate(members):
            origins[path] = FileOrigin(
                dataset=row.dataset,
                simulated=True,
                slice=slice_number,
                n_slices=len(slices),
                file_number=file_number,
                n_files=row.n_files or len(members),
                cross_section=row.cross_section,
                filter_efficiency=row.filter_efficiency,
                sum_weights=row.sum_weights if file_number == 0 else (0.0,) * len(row.sum_weights),
                luminosity=row.luminosity,
            )
    return origins


@dataclass(frozen=True)
class SliceFactors:
    """The normalisation of the weights of one slice.

    Attributes:
        number: number of the slice.
        factors: luminosity * cross section * filter efficiency / sum of weights, one per weight; 1 for data. NaN for a
            varied weight with a sum of 0, which cannot be used.
        median_weight: median size of the nominal weights: of the files' medians, of two middle ones the lower one.
    """

    number: int
    factors: tuple[float, ...]
    median_weight: float = 1.0

    @property
    def exponent(self) -> int:
        """Exponent of the power of 2 nearest to the median weight, the unit of fixed-point numbers."""
        mantissa, exponent = math.frexp(self.median_weight)
        return exponent - (mantissa < math.sqrt(0.5))


@dataclass(frozen=True)
class Bookkeeping:
    """The combined bookkeeping of all files of a sample.

    Attributes:
        dataset: name of the dataset that the files belong to.
        weight_names: names of the weights, nominal first.
        varied: names of the variations of n_trk that all files have.
        labelled: whether the jets have labels.
        slices: factors of each slice, in the order of their numbers.
    """

    dataset: str
    weight_names: tuple[str, ...]
    varied: tuple[str, ...]
    labelled: bool
    slices: tuple[SliceFactors, ...]

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Bookkeeping:
        """The bookkeeping from JSON types, as by `dataclasses.asdict`."""
        slices = tuple(SliceFactors(s["number"], tuple(s["factors"]), s["median_weight"]) for s in plain["slices"])
        return cls(plain["dataset"], tuple(plain["weight_names"]), tuple(plain["varied"]), plain["labelled"], slices)


class _File(NamedTuple):
    """A file and its facts."""

    path: Path
    facts: FileInfo


def slice_factors(sample: InputSample, facts: Mapping[Path, FileInfo]) -> Bookkeeping:
    """Check that the files make complete slices of one dataset, and compute the factors.

    Sums are correctly rounded, so that they do not depend on the order of the paths.

    Args:
        sample: sample that lists the files.
        facts: facts of each file.

    Raises:
        FileError: a file is of another dataset or kind, missing, or duplicate.
    """
    with_events = [path for path, fact in facts.items() if fact.n_events]
    if not with_events:
        raise FileError(f"sample {sample.name}: got no event in any of {len(facts)} files, expected some")
    first_path = min(with_events, key=str)  # an empty file may lack branches
    first = facts[first_path]
    by_slice: dict[int, list[_File]] = defaultdict(list)
    for file in itertools.starmap(_File, sorted(facts.items())):
        _same_kind(sample, file, _File(first_path, first))
        by_slice[file.facts.slice].append(file)
    missing = sorted(set(range(first.n_slices)) - set(by_slice))
    if missing:
        raise FileError(
            f"sample {sample.name}: got {len(by_slice)} of {first.n_slices} slices, missing"
            f" {', '.join(map(str, missing))} (in {first_path.parent}); without them the spectrum of pT is wrong"
        )
    slices = []
    for number, members in sorted(by_slice.items()):
        members.sort(key=lambda file: (file.facts.file_number, str(file.path)))
        _complete(sample, number, members)
        slices.append(_slice(sample, number, members, first))
    return Bookkeeping(first.dataset, first.weight_names, first.varied, first.simulated, tuple(slices))


def _same_kind(sample: InputSample, file: _File, first: _File) -> None:
    """Check that a file has the kind of the sample and agrees with the first file."""
    path, fact = file
    if sample.kind == "data" and fact.simulated:
        raise FileError(
            f"{path}: got simulation in sample {sample.name} of kind data; take it out, or set kind = pseudo-data",
            path=path,
        )
    if sample.kind != "data" and not fact.simulated:
        raise FileError(
            f"{path}: got data (no labels, no weights) in sample {sample.name} of kind {sample.kind}; take it out",
            path=path,
        )
    if fact.dataset != first.facts.dataset:
        raise FileError(
            f"{path}: got dataset {fact.dataset!r} in sample {sample.name}, expected {first.facts.dataset!r} as in"
            f" {first.path}",
            path=path,
        )
    _same(file, first, ("weight_names", "varied", "n_slices") if fact.n_events else ("n_slices",))


def _same(file: _File, first: _File, names: Sequence[str], where: str = "") -> None:
    """Check that a file agrees with the first one of its sample or slice in the named facts."""
    for name in names:
        got, expected = getattr(file.facts, name), getattr(first.facts, name)
        if got != expected:
            message = f"{file.path}: {where}got {name} {got}, expected {expected} as in {first.path}"
            raise FileError(message, path=file.path)


def _complete(sample: InputSample, number: int, members: Sequence[_File]) -> None:
    """Check that every file of a slice is present once; the error names the missing ones."""
    where = f"sample {sample.name}, slice {number}"
    first_path, first = members[0]
    for file in members:
        _same(file, members[0], ("n_files", "cross_section", "filter_efficiency", "luminosity"), f"{where}: ")
    by_number: dict[int, Path] = {}
    for path, fact in members:
        for file_number, _ in fact.parts:
            if file_number in by_number:
                raise FileError(
                    f"{path}: {where}: got file {file_number} twice, also as {by_number[file_number]}", path=path
                )
            by_number[file_number] = path
    missing = sorted(set(range(first.n_files)) - set(by_number))
    if missing:
        names = ", ".join(_name_of(missing_number, first_path, first.file_number) for missing_number in missing[:5])
        names += " ..." if len(missing) > 5 else ""
        raise FileError(
            f"{where}: got {len(by_number)} of {first.n_files} files, missing {names} (in {first_path.parent});"
            " without them the sum of weights is wrong"
        )


def _name_of(number: int, sibling: Path, sibling_number: int) -> str:
    """Likely name of a missing file, derived from that of a sibling."""
    for digits in (6, 5, 4, 3, 2, 1):
        head, number_text, tail = sibling.name.rpartition(f"{sibling_number:0{digits}d}")
        if number_text:
            return f"{head}{number:0{digits}d}{tail}"
    return f"number {number}"


def _slice(sample: InputSample, number: int, members: Sequence[_File], with_events: FileInfo) -> SliceFactors:
    """The factors of a complete slice; `with_events` is a file of the sample that has events."""
    first = members[0].facts
    if sample.kind == "data":
        return SliceFactors(number, (1.0,))
    factors = []
    every = [_aligned_sums(file, sums, with_events) for file in members for _, sums in file.facts.parts]
    for k, name in enumerate(with_events.weight_names):
        total = math.fsum(sums[k] for sums in every)
        if k == 0 and not total > 0:
            raise FileError(
                f"sample {sample.name}, slice {number}: got a sum {total} of weights {name!r}, expected more than 0"
            )
        if total == 0:
            factors.append(math.nan)
            continue
        factors.append((first.luminosity or sample.luminosity) * first.cross_section * first.filter_efficiency / total)
    medians = sorted(file.facts.median_weight for file in members if file.facts.median_weight > 0)
    return SliceFactors(number, tuple(factors), medians[(len(medians) - 1) // 2] if medians else 1.0)


def _aligned_sums(file: _File, sums: tuple[float, ...], with_events: FileInfo) -> tuple[float, ...]:
    """The sums of weights of a file, one for each weight of the sample.

    The number of weights is not known for a file without events. Its sums are those of the source of sums, in groups:
    the weights of the nominal branch, then those of each variation. A group without sums has the nominal one.

    Raises:
        FileError: a group has too few sums.
    """
    counts, expected = file.facts.weight_counts, with_events.weight_counts
    if counts == expected or (len(counts) == 1 and len(sums) == sum(expected)):
        return sums
    out: list[float] = []
    start = 0
    for k, size in enumerate(expected):
        count = counts[k] if k < len(counts) else 0
        if count < size and count > (k == 0):
            raise FileError(f"{file.path}: got {count} sums of weights, expected {size}", path=file.path)
        out += sums[start : start + size] if count >= size else sums[:1] * size
        start += count
    return tuple(out)
