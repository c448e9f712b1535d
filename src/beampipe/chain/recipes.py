"""The recipes of all artifacts of a chain, and how those of one chunk of events are made."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Final

from beampipe.chain.collisions import generate, measure_towers, sample_spec_of, simulate, write_cross_section
from beampipe.chain.cost import measured_artifact
from beampipe.chain.jets import make_jets
from beampipe.chain.settings import ChainSettings, Sample
from beampipe.chain.telemetry import TraceTarget, recorded
from beampipe.chain.tracks import find_tracks, finder_digest
from beampipe.errors import MismatchError, MissingExtraError
from beampipe.identity import NO_RESULT
from beampipe.simulation.pythia import seed_of
from beampipe.simulation.samples import DIJETS, GAMMAJET, PROCESSES, SampleSpec
from beampipe.tracking import kernels
from beampipe.tracking.loading import fit_weights
from beampipe.workflow import (
    Input,
    Recipe,
    Store,
    code_digest,
    digest_of,
    file_digest,
    installed_version,
    remembering_code,
)

_MODULES: Final = {
    "cross_section": "collisions",
    "generate": "collisions",
    "simulate": "collisions",
    "towers": "collisions",
    "tracks": "tracks",
    "jets": "jets",
    "scale": "ntuples",
    "performance": "ntuples",
    "ntuple": "ntuples",
    "result": "fit",
}
"""Stage -> the module of `beampipe.chain` that runs it; its code and imports enter the keys of the artifacts."""

_PACKAGES: Final = {
    "cross_section": ("pythia8mc",),
    "generate": ("pythia8mc", "awkward"),
    "simulate": ("pyacts", "pyarrow"),
    "jets": ("fastjet", "awkward"),
    "result": ("pyhf", "iminuit"),
}
"""Stage -> other packages that it computes with beside numpy; their versions enter the keys."""

_NO_RESULT: Final = (
    *NO_RESULT,
    "beampipe.chain.settings",
    "beampipe.chain.telemetry",
    "beampipe.serving",
    "beampipe.triton",
    "beampipe.fleet",
)
"""Modules that do not affect results: settings are parameters of the stages, and servers give the same tracks."""

INPUTS: Final[Mapping[str, tuple[str, ...]]] = {
    "generate": (),
    "simulate": ("generate",),
    "towers": ("generate",),
    "tracks": ("generate", "simulate"),
    "jets": ("generate", "towers", "tracks"),
}
"""Stage of a chunk -> the stages whose artifacts it reads, in the order of its arguments."""

_SUFFIX: Final = {"simulate": ".parquet"}


@cache
def stage_code(stage: str) -> str:
    """Digest of the code of a stage, with the versions of the packages that it computes with."""
    versions = {package: installed_version(package) for package in ("numpy", *_PACKAGES.get(stage, ()))}
    if missing := [package for package, version in versions.items() if version == "none"]:
        raise MissingExtraError(missing[0], "chain", f"the stage {stage} of a chain")
    return digest_of([code_digest(f"beampipe.chain.{_MODULES[stage]}", but=_NO_RESULT), versions])


@dataclass(frozen=True)
class Chunk:
    """A range of the events of one sample, and the recipes of its artifacts.

    Attributes:
        settings: settings of the chain.
        sample: the sample.
        number: number of the chunk in its sample.
        n_events: number of events.
        process: the hard process.
    """

    settings: ChainSettings
    sample: Sample
    number: int
    n_events: int
    process: str = DIJETS

    @property
    def label(self) -> str:
        """Name of the chunk for people."""
        return f"{self.sample.name} {self.number}"

    def seed(self, what: int) -> int:
        """A seed for one purpose of this chunk."""
        return seed_of(self.settings.seed, _number_of(self.sample.name), self.number, what)

    @property
    def spec(self) -> SampleSpec:
        """What Pythia generates."""
        lines = (*PROCESSES[self.process], *self.sample.lines)
        return sample_spec_of(self.sample.generator, lines, self.settings.collisions.energy)

    @property
    def run_seed(self) -> int:
        """The seed of the dead modules, which all chunks of a sample share."""
        return seed_of(self.settings.seed, _number_of(self.sample.name))

    @property
    def finder(self) -> str:
        """Digest of the finder."""
        return finder_digest(self.settings.tracks, self.settings.detector.read())

    @cached_property
    def recipes(self) -> dict[str, Recipe]:
        """The recipes by stage."""
        settings, sample = self.settings, self.sample
        detector, pileup = settings.detector.contents, settings.collisions.pileup
        parameters: dict[str, object] = {
            "generate": [self.spec.settings, settings.collisions.slice, self.seed(1), self.n_events, pileup],
            "simulate": [detector, self.seed(2), pileup],
            "towers": [settings.calorimeter, self.seed(3)],
            "tracks": [
                [detector, sample.degradation, self.finder, settings.tracks.cuts],
                [settings.tracks.max_dz, installed_version("pyacts")] if pileup else [],  # ACTS finds the vertices
                [kernels.build(), list(_fit(settings.tracks.model)), self.seed(4), self.run_seed],
            ],
            "jets": settings.jets if self.process == DIJETS else [settings.jets, self.process],
        }
        recipes: dict[str, Recipe] = {}
        for stage, inputs in INPUTS.items():
            before = tuple(Input(name, recipes[name].key, recipes[name].label) for name in inputs)
            recipes[stage] = Recipe(stage, stage_code(stage), parameters[stage], before, f"{stage} {self.label}")
        return recipes

    def makers(self) -> dict[str, Callable[..., None]]:
        """The function that makes the artifact of each stage, given its path and those of its inputs."""
        settings, sample = self.settings, self.sample
        return {
            "generate": lambda path: generate(
                path,
                self.spec,
                settings.collisions.slice,
                self.seed(1),
                self.n_events,
                settings.collisions.pileup,
                settings.collisions.energy,
            ),
            "simulate": lambda path, record: simulate(
                path, record, settings.detector, self.seed(2), settings.collisions.pileup
            ),
            "towers": lambda path, record: measure_towers(path, record, settings.calorimeter, self.seed(3)),
            "tracks": lambda path, record, hits: find_tracks(
                path,
                hits,
                record if settings.collisions.pileup else None,
                settings.detector,
                sample.degradation,
                settings.tracks,
                self.seed(4),
                self.run_seed,
                self.finder,
            ),
            "jets": lambda path, record, towers, tracks: make_jets(
                path, record, towers, tracks, settings.jets, with_photon=self.process == GAMMAJET
            ),
        }


def make_chunk(store: Store, chunk: Chunk, until: str = "jets", trace: TraceTarget | None = None) -> None:
    """Make the artifact of a stage of a chunk, and those before it that are missing.

    Args:
        store: store of the artifacts.
        chunk: the events.
        until: the stage.
        trace: where spans go; None for none.

    Raises:
        BusyError: another process does the work.
        MismatchError: code, packages, weights or plug-ins here are not those of the process that planned the chunk.
    """
    recipe = chunk.recipes[until]
    with remembering_code(write=False):
        here = replace(chunk).recipes  # of a worker: perhaps on another machine
    if changed := [stage for stage in INPUTS if here[stage].key != chunk.recipes[stage].key]:
        raise MismatchError(
            f"{chunk.label}: got another key of the stage {changed[0]} here than in the plan, expected the same; run"
            " workers in the same environment: code and packages, weights, detector files and plug-ins"
        )
    if store.find(recipe) is None:
        with store.leased(recipe), recorded(trace, "chunk", sample=chunk.sample.name, number=chunk.number):
            _made(store, chunk, until)


def made(store: Store, chunk: Chunk, stage: str = "jets") -> Path:
    """The artifact of a stage; one that was lost or damaged is made again."""
    path = store.load(chunk.recipes[stage])
    if path is None:
        with store.leased(chunk.recipes[stage], wait=True):
            path = _made(store, chunk, stage)
    return path


def _made(store: Store, chunk: Chunk, stage: str) -> Path:
    """The artifact of a stage, which is made with all that it needs if it is missing."""
    recipe = chunk.recipes[stage]
    path = store.load(recipe)
    if path is not None:
        return path
    inputs = [_made(store, chunk, name) for name in INPUTS[stage]]
    make = chunk.makers()[stage]
    suffix = _SUFFIX.get(stage, ".npz")
    return measured_artifact(store, recipe, suffix, lambda part: make(part, *inputs), chunk.n_events, inputs)


@cache
def _fit(model: str) -> tuple[str, ...]:
    """Digests of the tables of the fit."""
    return tuple(file_digest(path) for path in fit_weights(model))


def _number_of(name: str) -> int:
    """A number that follows from a name."""
    return int.from_bytes(sha256(name.encode()).digest()[:4], "big")


@dataclass(frozen=True)
class Plan:
    """All recipes of a chain up to its ntuples.

    Attributes:
        settings: settings of the chain.
    """

    settings: ChainSettings

    @cached_property
    def chunks(self) -> dict[str, tuple[Chunk, ...]]:
        """The chunks of each sample, by its name."""
        size, processes = self.settings.chunk_events, self.settings.collisions.process
        return {
            name: tuple(
                Chunk(self.settings, sample, number, min(size, sample.events - first), process)
                for number, (process, first) in enumerate(product(processes, range(0, sample.events, size)))
            )
            for name, sample in self.settings.samples.items()
        }

    @cached_property
    def compared(self) -> dict[str, tuple[Chunk, ...]]:
        """The first chunks of the nominal sample by finder: that of the chain, then those that it is compared with."""
        settings, tracks = self.settings, self.settings.tracks
        n = math.ceil(tracks.compare_events / settings.chunk_events)
        first = self.chunks[settings.of_role("nominal").name][:n]
        others = {
            name: replace(settings, tracks=replace(tracks, finder=name, compare=(), servers=(), identity=""))
            for name in tracks.compare
        }
        return {tracks.finder: first} | {
            name: tuple(replace(chunk, settings=other) for chunk in first) for name, other in others.items()
        }

    def jets(self, sample: str) -> tuple[Recipe, ...]:
        """The jets of all chunks of a sample."""
        return tuple(chunk.recipes["jets"] for chunk in self.chunks[sample])

    @cached_property
    def scale(self) -> Recipe:
        """The energy scale of the nominal sample."""
        return self._of_jets("scale", self.settings.of_role("nominal").name)

    def performance(self, sample: str) -> Recipe:
        """Efficiency and fakes in the jets of a sample."""
        return self._of_jets("performance", sample)

    def cross_section(self, sample: str) -> Recipe:
        """The cross section of a sample."""
        parameters = [self._spec(sample).settings, self.settings.collisions.slice]
        return Recipe("cross_section", stage_code("cross_section"), parameters, (), f"cross_section {sample}")

    def make_cross_section(self, store: Store, sample: str) -> Path:
        """The file of the cross section of a sample, made if it is missing."""
        spec, part = self._spec(sample), self.settings.collisions.slice
        return store.get(self.cross_section(sample), ".json", lambda path: write_cross_section(path, spec, part))

    def _spec(self, sample: str) -> SampleSpec:
        """The sample that Pythia generates, dijets only."""
        each = self.settings.samples[sample]
        return sample_spec_of(each.generator, each.lines, self.settings.collisions.energy)

    def ntuple(self, sample: str) -> Recipe:
        """The ntuple of a sample."""
        performance = self.performance(self.settings.of_role("nominal").name)
        inputs = [Input("jets", recipe.key, recipe.label) for recipe in self.jets(sample)]
        others = [self.scale, performance, self.cross_section(sample)]
        inputs += [Input(recipe.stage, recipe.key, recipe.label) for recipe in others]
        further = [file_digest(path) for path in self.settings.samples[sample].further]
        parameters = [sample, self.run_number(sample), self.seed(sample), further]
        parameters += [self.settings.collisions.process] if self.settings.collisions.with_photons else []
        return Recipe("ntuple", stage_code("ntuple"), parameters, tuple(inputs), f"ntuple {sample}")

    def run_number(self, sample: str) -> int:
        """The run number of a sample."""
        return _number_of(sample) % 10**6 + 1

    def seed(self, sample: str) -> int:
        """The seed of the variations of a sample's ntuple."""
        return seed_of(self.settings.seed, _number_of(sample), 0, 5)

    def recipes(self) -> list[Recipe]:
        """The recipes of all artifacts up to the ntuples, by stage."""
        names = list(self.chunks)
        by_stage = [chunk.recipes[stage] for stage in INPUTS for chunks in self.chunks.values() for chunk in chunks]
        performance = [self.performance(name) for name in names]
        return [*by_stage, self.scale, *performance, *(self.ntuple(name) for name in names)]

    def _of_jets(self, stage: str, sample: str) -> Recipe:
        inputs = tuple(Input("jets", recipe.key, recipe.label) for recipe in self.jets(sample))
        return Recipe(stage, stage_code(stage), None, inputs, f"{stage} {sample}")
