"""Bookkeeping: what a weight of a slice is worth, which is known only when every file of the slice is there."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from beampipe.calibration.config.configuration import InputSample
from beampipe.calibration.ntuple.reading import Facts
from beampipe.errors import FileError

__all__ = ["Bookkeeping", "SliceFactors", "keep_books"]


@dataclass(frozen=True)
class SliceFactors:
    """What the weights of one slice are multiplied by.

    Attributes:
        number: number of the slice.
        factors: luminosity * cross section * filter efficiency / sum of weights, one per weight; 1 for data. NaN for a
            weight of a variation whose sum is 0, which cannot be used.
    """

    number: int
    factors: tuple[float, ...]


@dataclass(frozen=True)
class Bookkeeping:
    """What all files of a sample say together.

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

    def plain(self) -> dict[str, Any]:
        """The bookkeeping as JSON takes it."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Bookkeeping:
        """The bookkeeping from what `plain` gave, as JSON gives it back."""
        slices = tuple(SliceFactors(s["number"], tuple(s["factors"])) for s in plain["slices"])
        return cls(plain["dataset"], tuple(plain["weight_names"]), tuple(plain["varied"]), plain["labelled"], slices)


class _File(NamedTuple):
    """A file and what is known of it."""

    path: Path
    facts: Facts


def keep_books(sample: InputSample, facts: Mapping[Path, Facts]) -> Bookkeeping:
    """Check that the files make whole slices of one dataset, and work out the factors.

    Sums run over the files in the order of their numbers and are correctly rounded, so that no order of the paths
    changes them.

    Args:
        sample: sample that lists the files.
        facts: what is known of each file.

    Raises:
        FileError: a file is of another dataset or kind, missing, or there twice.
    """
    first_path = min(facts, key=str)
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
        slices.append(_slice(sample, number, members))
    return Bookkeeping(first.dataset, first.weight_names, first.varied, first.simulated, tuple(slices))


def _same_kind(sample: InputSample, file: _File, first: _File) -> None:
    """A file of the sample's kind and dataset that agrees with the first one, or an error."""
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
    _same(file, first, ("weight_names", "varied", "n_slices"))


def _same(file: _File, first: _File, names: Sequence[str], where: str = "") -> None:
    """A file that says the same as the first one of its sample or slice, or an error."""
    for name in names:
        got, expected = getattr(file.facts, name), getattr(first.facts, name)
        if got != expected:
            message = f"{file.path}: {where}got {name} {got}, expected {expected} as in {first.path}"
            raise FileError(message, path=file.path)


def _complete(sample: InputSample, number: int, members: Sequence[_File]) -> None:
    """Every file of a slice once, or an error that names what is missing."""
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
    """How a missing file is called, going by its sibling's name."""
    for digits in (6, 5, 4, 3, 2, 1):
        head, found, tail = sibling.name.rpartition(f"{sibling_number:0{digits}d}")
        if found:
            return f"{head}{number:0{digits}d}{tail}"
    return f"number {number}"


def _slice(sample: InputSample, number: int, members: Sequence[_File]) -> SliceFactors:
    """The factors of a slice whose files are all there."""
    first = members[0].facts
    if sample.kind == "data":
        return SliceFactors(number, (1.0,))
    factors = []
    for k, name in enumerate(first.weight_names):
        total = math.fsum(sums[k] for file in members for _, sums in file.facts.parts)
        if k == 0 and not total > 0:
            raise FileError(
                f"sample {sample.name}, slice {number}: got a sum {total} of weights {name!r}, expected more than 0"
            )
        if total == 0:
            factors.append(math.nan)
            continue
        factors.append((first.luminosity or sample.luminosity) * first.cross_section * first.filter_efficiency / total)
    return SliceFactors(number, tuple(factors))
