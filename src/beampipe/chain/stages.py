"""The stages of a chunk of events, declared: what each reads and writes, by which code, and what it depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from beampipe.chain import inputs
from beampipe.chain.collisions import generate, measure_towers, simulate
from beampipe.chain.jets import make_jets
from beampipe.chain.own_stages import own_stage
from beampipe.chain.tables import JetEvents, TrackEvents
from beampipe.chain.tracks import find_tracks
from beampipe.errors import look_up
from beampipe.events import Event
from beampipe.simulation.calorimeter import Towers
from beampipe.simulation.pythia import CollisionPool, Collisions
from beampipe.simulation.samples import DIJETS, GAMMAJET
from beampipe.tracking import kernels
from beampipe.tracking.loading import fit_weights
from beampipe.workflow import file_digest, installed_version

if TYPE_CHECKING:
    from beampipe.chain.recipes import Chunk
    from beampipe.chain.settings import StageUse


@dataclass(frozen=True)
class Stage:
    """One stage of a chunk of events.

    Attributes:
        name: its name, and that of its folder in the store.
        inputs: stages whose artifacts it reads, as far as the chunk has them.
        output: types of what it writes: dataclasses of arrays.
        module: module whose code, with all that it imports, enters the keys of its artifacts; of a stage of a user what
            `use` says.
        packages: other packages that it computes with beside numpy; their versions enter the keys.
        parameters: all else that its artifact depends on.
        make: makes the artifact of a chunk, given its path and those of the inputs by stage.
        suffix: suffix of the artifact.
        digest: digest of its code, if that is not code of this package.
    """

    name: str
    inputs: tuple[str, ...]
    output: tuple[type, ...]
    module: str
    packages: tuple[str, ...]
    parameters: Callable[[Chunk], object]
    make: Callable[[Chunk, Path, Mapping[str, Path]], None]
    suffix: str = ".npz"
    digest: str = ""


def _pileup(chunk: Chunk) -> float:
    return chunk.settings.collisions.pileup


def _track_parameters(chunk: Chunk) -> object:
    settings, has_record = chunk.settings, "generate" in chunk.stages
    losses = chunk.sample.degradation if has_record else None
    return [
        [settings.detector.contents, losses, chunk.finder, settings.tracks.cuts],
        [settings.tracks.max_dz, installed_version("pyacts")] if _pileup(chunk) else [],  # ACTS finds the vertices
        [kernels.build(), _fit(settings.tracks.model), chunk.seed(4), chunk.run_seed],
    ]


@cache
def _fit(model: str) -> list[str]:
    """Digests of the tables of the fit."""
    return [file_digest(path) for path in fit_weights(model)]


_SHIPPED: Final = (
    Stage(
        "generate",
        (),
        (Collisions, CollisionPool),
        "beampipe.chain.collisions",
        ("pythia8mc", "awkward"),
        lambda chunk: [
            chunk.spec.settings,
            chunk.settings.collisions.slice,
            chunk.seed(1),
            chunk.n_events,
            _pileup(chunk),
        ],
        lambda chunk, path, _: generate(
            path,
            chunk.spec,
            chunk.settings.collisions.slice,
            chunk.seed(1),
            chunk.n_events,
            _pileup(chunk),
            chunk.settings.collisions.energy,
        ),
    ),
    Stage(
        "simulate",
        ("generate",),
        (Event,),
        "beampipe.chain.collisions",
        ("pyacts", "pyarrow"),
        lambda chunk: [chunk.settings.detector.contents, chunk.seed(2), _pileup(chunk)],
        lambda chunk, path, read: simulate(
            path, read["generate"], chunk.settings.detector, chunk.seed(2), _pileup(chunk)
        ),
        ".parquet",
    ),
    Stage(
        "towers",
        ("generate",),
        (Towers,),
        "beampipe.chain.collisions",
        (),
        lambda chunk: [chunk.settings.calorimeter, chunk.seed(3)],
        lambda chunk, path, read: measure_towers(path, read["generate"], chunk.settings.calorimeter, chunk.seed(3)),
    ),
    Stage(
        "tracks",
        ("generate", "simulate"),
        (TrackEvents,),
        "beampipe.chain.tracks",
        (),
        _track_parameters,
        lambda chunk, path, read: find_tracks(
            path,
            read["simulate"],
            read.get("generate") if _pileup(chunk) else None,
            chunk.settings.detector,
            chunk.sample.degradation if "generate" in read else None,
            chunk.settings.tracks,
            chunk.seed(4),
            chunk.run_seed,
            chunk.finder,
            pileup=_pileup(chunk) > 0,
        ),
    ),
    Stage(
        "jets",
        ("generate", "towers", "tracks"),
        (JetEvents,),
        "beampipe.chain.jets",
        ("fastjet", "awkward"),
        lambda chunk: chunk.settings.jets if chunk.process == DIJETS else [chunk.settings.jets, chunk.process],
        lambda chunk, path, read: make_jets(
            path,
            read.get("generate"),
            read.get("towers"),
            read["tracks"],
            chunk.settings.jets,
            with_photon=chunk.process == GAMMAJET,
        ),
    ),
)

STAGES: Final[Mapping[str, Stage]] = {stage.name: stage for stage in _SHIPPED}
"""The shipped stages of a chunk, in order."""


def _reader(name: str, packages: tuple[str, ...], make: Callable[..., None]) -> Stage:
    """A stage that reads events of files in place of the one of that name."""

    def parameters(chunk: Chunk) -> object:
        assert chunk.source is not None
        return [chunk.source.identity, chunk.n_events, inputs.parameters_of(chunk)]

    return Stage(
        name,
        (),
        STAGES[name].output,
        "beampipe.chain.inputs",
        packages,
        parameters,
        lambda chunk, path, _: make(path, chunk),
        STAGES[name].suffix,
    )


READERS: Final[Mapping[str, Stage]] = {
    "hepmc": _reader("generate", ("pyhepmc", "pythia8mc"), inputs.read_hepmc),
    "lhe": _reader("generate", ("pythia8mc", "awkward"), inputs.shower_lhe),
    "hits": _reader("simulate", ("pyarrow",), inputs.read_hits),
    "tracks": _reader("tracks", (), inputs.read_found_tracks),
}
"""Stages that read files, by what `beampipe.chain.inputs.Source.kind` says of these."""

_AFTER: Final = {
    "generate": ("simulate", "towers", "tracks", "jets"),
    "simulate": ("tracks", "jets"),
    "tracks": ("jets",),
}
"""First stage of a chunk -> those after it: without generated particles there are no towers."""


def stages_of(chunk: Chunk) -> dict[str, Stage]:
    """The stages of a chunk, by name, in order."""
    stages = dict(STAGES)
    if chunk.source is not None:
        first = READERS[chunk.source.kind]
        stages = {first.name: first, **{name: STAGES[name] for name in _AFTER[first.name]}}
    return replaced(stages, chunk.settings.stage)


def replaced(stages: dict[str, Stage], own: Mapping[str, StageUse]) -> dict[str, Stage]:
    """The stages with those of a user in their places; what is read from files stays.

    Raises:
        UnknownNameError: no stage has that name.
        ConfigError: any error of `own_stage`.
    """
    for name, use in own.items():
        if stages.get(name) is look_up("stage", name, STAGES):
            stages[name] = _own(use)
    return stages


def _own(use: StageUse) -> Stage:
    own = own_stage(use)

    def parameters(chunk: Chunk) -> object:
        return [use.options, chunk.seed(6), chunk.n_events]

    shipped = STAGES[use.name]
    return Stage(use.name, own.inputs, shipped.output, use.use, (), parameters, own.make, shipped.suffix, own.digest)
