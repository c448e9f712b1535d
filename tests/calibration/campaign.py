"""A small calibration of toy events: files, configuration, and what the store says about a run.

Also a program: ``campaign.py TOYS OUTPUT WORKERS`` runs it, for tests that kill it; 0 workers: in its own process.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from beampipe.calibration.config import Bootstrap, Configuration, Energy, InputSample, Systematic
from beampipe.calibration.run import run_calibration
from beampipe.calibration.taggers import Tagger
from beampipe.calibration.tasks.runtime import FACTORS, LOG, RunSettings
from beampipe.simulation.ntuples import ToyModel, ntuple_files, simulate_toy
from beampipe.workflow import EventLog

INLINE = RunSettings("inline")

SYSTEMATICS = (
    Systematic("pdf", "envelope", weights=("pdf_*",)),
    Systematic("tracking", "quadrature", kinematics=("trk_*",), experimental=True),
    Systematic("energy", "up_down", kinematics=("jes_*", "jer_*"), experimental=True),
    Systematic("shower", "difference", samples=("shower",)),
    Systematic("gluons", "difference", method="gluon_reweight"),
    Systematic("closure", "difference", method="nonclosure"),
)


@dataclass(frozen=True)
class Toys:
    """Files of the toy campaign; the luminosity makes simulation and data agree."""

    folder: Path
    luminosity: float

    def files(self, sample: str) -> tuple[Path, ...]:
        return tuple(sorted((self.folder / sample).glob("*.root")))

    def copied(self, folder: Path) -> Toys:
        """The same files in another folder, to be changed."""
        shutil.copytree(self.folder, folder)
        return replace(self, folder=folder)

    @property
    def model(self) -> Path:
        return self.folder / "gbdt.txt"


@contextmanager
def baskets_of(events: int) -> Iterator[None]:
    """Files written meanwhile have baskets of so many events."""
    before = ntuple_files.EVENTS_PER_BASKET
    ntuple_files.EVENTS_PER_BASKET = events  # type: ignore[misc]
    try:
        yield
    finally:
        ntuple_files.EVENTS_PER_BASKET = before  # type: ignore[misc]


def write_sample(
    folder: Path,
    name: str,
    events: int,
    files: int,
    seed: int,
    *,
    kind: Literal["simulation", "data"] = "simulation",
    n_weights: int = 1,
    model: ToyModel = ToyModel(),  # noqa: B008 - frozen
) -> list[Path]:
    return simulate_toy(
        folder / name, events, files=files, n_weights=n_weights, seed=seed, kind=kind, model=model, dataset=name
    )


def write_toys(folder: Path, *, events: int = 3000, basket: int = 300) -> Toys:
    """Nominal simulation, data with more tracks in quark jets, and another simulation."""
    with baskets_of(basket):
        write_sample(folder, "nominal", events, 4, 1, n_weights=8)
        write_sample(folder, "data", events // 2, 2, 2, kind="data", model=ToyModel(quark_tracks=1.05))
        write_sample(folder, "shower", events // 2, 3, 3, model=ToyModel(gluon_tracks=0.95))
    return Toys(folder, events // 2 / ToyModel().total)


def configuration_of(toys: Toys, output: Path, **changes: Any) -> Configuration:
    """The campaign with some fields changed."""
    kinds: dict[str, Literal["simulation", "data"]] = {"nominal": "simulation", "data": "data", "shower": "simulation"}
    samples = {
        name: InputSample(name, toys.files(name), kind, luminosity=toys.luminosity) for name, kind in kinds.items()
    }
    taggers = [Tagger("n_trk", 30, 0.0, 60.0)]
    if toys.model.exists():
        taggers.append(Tagger("gbdt", 20, 0.0, 1.0, str(toys.model)))
    standard = Configuration(
        output=output,
        samples=samples,
        pt_edges=(500.0, 800.0, 1200.0, 2000.0),
        working_points=(0.5, 0.7),
        chunk_events=600,
        taggers=tuple(taggers),
        energy=Energy(2, 1),
        bootstrap=Bootstrap(12, 1),
        systematics=SYSTEMATICS,
    )
    return replace(standard, **changes)


def with_sample(configuration: Configuration, name: str, **changes: Any) -> Configuration:
    """The configuration with one sample changed."""
    changed = replace(configuration.samples[name], **changes)
    return replace(configuration, samples={**configuration.samples, name: changed})


def factors_sha256(configuration: Configuration) -> str:
    """Digest of the result."""
    return hashlib.sha256((configuration.output / FACTORS).read_bytes()).hexdigest()


def stored(output: Path) -> dict[str, set[str]]:
    """Keys of all artifacts by stage."""
    result: dict[str, set[str]] = {}
    for path in (output / "store").glob("*/?/*.about.json"):
        result.setdefault(path.parent.parent.name, set()).add(path.name.removesuffix(".about.json"))
    return result


def counts(output: Path) -> dict[str, int]:
    """Number of artifacts by stage."""
    return {stage: len(keys) for stage, keys in stored(output).items()}


def made(output: Path, start: int = 0) -> Counter[str]:
    """How many artifacts were written by stage, from the log, its first `start` events left out."""
    events = list(EventLog(output / LOG).read())[start:]
    return Counter(str(event["stage"]) for event in events if event["event"] == "done")


def length_of_log(output: Path) -> int:
    return len(list(EventLog(output / LOG).read()))


if __name__ == "__main__":
    given = Toys(Path(sys.argv[1]), 15.0)
    workers = int(sys.argv[3])
    run_calibration(
        configuration_of(given, Path(sys.argv[2])), RunSettings("processes", workers) if workers else INLINE
    )
