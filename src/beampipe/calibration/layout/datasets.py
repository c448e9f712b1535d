"""Where a file stands in its dataset, if the file does not say it: by a manifest, or by the table of its sample."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from beampipe.errors import ConfigError, FileError
from beampipe.settings import build

__all__ = ["Origin", "Row", "origins", "read_manifest"]


@dataclass(frozen=True)
class Row:
    """One slice of a dataset, as a manifest has it.

    Attributes:
        dataset: name of the dataset; all slices of one have the same.
        files: pattern of the paths of its files; it may match a path's end.
        cross_section: cross section of the slice [pb].
        filter_efficiency: share of the slice's events that the generator kept.
        n_files: number of files that the slice has; 0 if any number will do, as sums are over the files that are given.
        sum_weights: sums of weights over all generated events of the slice, the nominal one first; empty if the files
            have them.
        luminosity: integrated luminosity of the period that the slice is simulated for [1/pb]; 0 for that of the
            sample.
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
        return any(fnmatch(text, pattern) or fnmatch(text, f"*/{pattern}") for pattern in self.files)


@dataclass(frozen=True)
class Origin:
    """What is known of a file before it is opened.

    Attributes:
        dataset: name of its dataset.
        simulated: whether it is simulation.
        slice: number of its slice.
        n_slices: number of slices of the dataset.
        file_number: its number among the files of the slice.
        n_files: number of files of the slice.
        cross_section: cross section of the slice [pb]; 0 for data.
        filter_efficiency: share of the slice's events that the generator kept.
        sum_weights: sums of weights over the slice, for the first of its files; zeros for the others. Empty if the
            file has them.
        luminosity: integrated luminosity of its period [1/pb]; 0 for that of the sample.
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


def read_manifest(path: Path) -> tuple[Row, ...]:
    """The rows of a manifest: a JSON list of tables, or a CSV file with a header; lists in CSV are parted by blanks.

    Raises:
        FileError: the file cannot be read.
        ConfigError: a column is unknown or missing, or a value impossible.
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
        out.append(build(Row, _numbers(row, where) if path.suffix != ".json" else row, where))
    return tuple(out)


def _numbers(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The cells of a row of CSV as numbers and lists; empty cells are left out."""
    out: dict[str, Any] = {}
    for key, cell in row.items():
        text = (cell or "").strip()
        if not text:
            continue
        try:
            if key in ("cross_section", "filter_efficiency", "luminosity"):
                out[key] = float(text)
            elif key == "n_files":
                out[key] = int(text)
            elif key == "sum_weights":
                out[key] = [float(each) for each in text.split()]
            else:
                out[key] = text.split() if key == "files" else text
        except ValueError:
            raise ConfigError(f"{where}: {key}: got {text!r}, expected a number") from None
    return out


def origins(
    sample: str,
    files: Sequence[Path],
    *,
    simulated: bool,
    cross_section: float,
    filter_efficiency: float,
    manifest: Sequence[Row] = (),
) -> dict[Path, Origin]:
    """Where each file of a sample stands.

    Args:
        sample: name of the sample, which is that of its dataset if no manifest says otherwise.
        files: files of the sample.
        simulated: whether it is simulation.
        cross_section: cross section of a sample of one slice [pb].
        filter_efficiency: of the same.
        manifest: rows of the manifest, if there is one.

    Raises:
        ConfigError: there is no cross section for simulation, or files belong to no or several rows.
    """
    ordered = sorted(files, key=str)
    if not simulated:
        n = len(ordered)
        return {path: Origin(sample, False, file_number=k, n_files=n) for k, path in enumerate(ordered)}
    if not manifest:
        if not cross_section > 0:
            raise ConfigError(
                f"sample {sample}: got no cross section, expected one [pb]: set samples.{sample}.cross_section, or"
                " layout.sums.manifest if it has several slices"
            )
        manifest = (Row(sample, ("*",), cross_section, filter_efficiency),)
    by_row: dict[int, list[Path]] = {}
    for path in ordered:
        found = [k for k, row in enumerate(manifest) if row.has(path)]
        if len(found) != 1:
            names = ", ".join(" ".join(manifest[k].files) for k in found) or "none"
            raise ConfigError(
                f"sample {sample}: got rows of the manifest {names} for {path}, expected one: change their files"
            )
        by_row.setdefault(found[0], []).append(path)
    datasets = {manifest[k].dataset for k in by_row}
    if len(datasets) > 1:
        raise ConfigError(f"sample {sample}: got files of datasets {', '.join(sorted(datasets))}, expected one dataset")
    slices = [k for k, row in enumerate(manifest) if row.dataset in datasets]
    out = {}
    for number, k in enumerate(slices):
        row, members = manifest[k], by_row.get(k, [])
        for place, path in enumerate(members):
            sums = row.sum_weights if place == 0 else tuple(0.0 for _ in row.sum_weights)
            n_files = row.n_files or len(members)
            out[path] = Origin(
                *(row.dataset, True, number, len(slices), place, n_files),
                *(row.cross_section, row.filter_efficiency, sums, row.luminosity),
            )
    return out
