"""Toy files for the benchmarks of the calibration: made once, the same for the same numbers, kept in a folder."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import rmtree
from typing import Final, Literal

from beampipe.simulation.ntuples import simulate_toy
from beampipe.workflow import code_digest

KEPT: Final = Path("runs/bench/calibration")
_SETTINGS: Final = "toy.json"


@dataclass(frozen=True)
class Toy:
    """A sample of toy events.

    Attributes:
        dataset: name of the dataset; with the numbers of events and files it names the folder.
        events: number of events in all files.
        files: number of files, at least one per slice of the toy; data has one slice.
        n_weights: number of weights of each event.
        kind: whether the files look like simulation or like data.
        seed: seed of the events.
    """

    dataset: str
    events: int
    files: int
    n_weights: int = 1
    kind: Literal["simulation", "data"] = "simulation"
    seed: int = 1

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        return KEPT / f"{self.dataset}-{self.events}-{self.files}"

    @property
    def pattern(self) -> str:
        """A pattern that the paths of the files match."""
        return f"{self.folder.absolute()}/*.root"


def make_toys(*toys: Toy) -> list[list[Path]]:
    """The files of each sample; those that are not there, or were made with other settings or code, are made."""
    with ProcessPoolExecutor(min(2, len(toys))) as pool:
        return list(pool.map(_make, toys))


def _make(toy: Toy) -> list[Path]:
    settings = toy.folder / _SETTINGS
    wanted = asdict(toy) | {"code": code_digest("beampipe.simulation.ntuples.toy")}
    if not settings.is_file() or json.loads(settings.read_text()) != wanted:
        rmtree(toy.folder, ignore_errors=True)
        simulate_toy(
            toy.folder,
            toy.events,
            files=toy.files,
            n_weights=toy.n_weights,
            seed=toy.seed,
            kind=toy.kind,
            dataset=toy.dataset,
        )
        settings.write_text(json.dumps(wanted))
    return sorted(toy.folder.glob("*.root"))
