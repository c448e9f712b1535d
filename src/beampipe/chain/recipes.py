"""The recipes of all artifacts of a chain, and how those of one chunk of events are made."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Final

from beampipe.chain.collisions import keep_cross_section, sample_spec_of, write_cross_section
from beampipe.chain.cost import measured_artifact
from beampipe.chain.inputs import Source, sources, stated_cross_section
from beampipe.chain.settings import ChainSettings, Sample
from beampipe.chain.stages import STAGES, Stage, stages_of
from beampipe.chain.telemetry import TraceTarget, recorded
from beampipe.chain.tracks import finder_digest
from beampipe.errors import MismatchError, MissingExtraError
from beampipe.events import Event
from beampipe.identity import NO_RESULT
from beampipe.simulation.degradation import degrade
from beampipe.simulation.detector import detector_modules
from beampipe.simulation.pythia import seed_of
from beampipe.simulation.samples import DIJETS, PROCESSES, SampleSpec
from beampipe.tracking.formats.parquet import read_events
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
    "scale": "ntuples",
    "performance": "ntuples",
    "ntuple": "ntuples",
    "result": "fit",
}
"""Stage that needs all chunks -> the module of `beampipe.chain` that runs it."""

_PACKAGES: Final = {
    "cross_section": ("pythia8mc",),
    "result": ("pyhf", "iminuit"),
}
"""Stage of these -> other packages that it computes with beside numpy."""

_NO_RESULT: Final = (
    *NO_RESULT,
    "beampipe.chain.settings",
    "beampipe.chain.own_stages",
    "beampipe.chain.stages",
    "beampipe.chain.telemetry",
    "beampipe.serving",
    "beampipe.triton",
    "beampipe.fleet",
)
"""Modules that do not affect results: settings are parameters of the stages, and servers give the same tracks."""

INPUTS: Final[Mapping[str, tuple[str, ...]]] = {stage.name: stage.inputs for stage in STAGES.values()}
"""Stage of a simulated chunk -> the stages whose artifacts it reads."""


@cache
def stage_code(stage: str, module: str = "", packages: tuple[str, ...] = ()) -> str:
    """Digest of the code of a stage, with the versions of the packages that it computes with.

    Args:
        stage: name of the stage.
        module: module that runs it; its imports count, too. Empty for a stage that needs all chunks.
        packages: packages that it computes with beside numpy.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    if not module:
        module, packages = f"beampipe.chain.{_MODULES[stage]}", _PACKAGES.get(stage, ())
    versions = {package: installed_version(package) for package in ("numpy", *packages)}
    if missing := [package for package, version in versions.items() if version == "none"]:
        raise MissingExtraError(missing[0], "chain", f"the stage {stage} of a chain")
    return digest_of([code_digest(module, but=_NO_RESULT), versions])


@dataclass(frozen=True)
class Chunk:
    """A range of the events of one sample, and the recipes of its artifacts.

    Attributes:
        settings: settings of the chain.
        sample: the sample.
        number: number of the chunk in its sample.
        n_events: number of events.
        process: the hard process.
        source: where the events are read from; None for those that are simulated.
    """

    settings: ChainSettings
    sample: Sample
    number: int
    n_events: int
    process: str = DIJETS
    source: Source | None = None

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

    @property
    def stages(self) -> dict[str, Stage]:
        """The stages by name, in order; not kept, as chunks travel between processes."""
        return stages_of(self)

    @cached_property
    def recipes(self) -> dict[str, Recipe]:
        """The recipes by stage."""
        recipes: dict[str, Recipe] = {}
        for name, stage in self.stages.items():
            before = tuple(Input(each, recipes[each].key, recipes[each].label) for each in self.inputs(name))
            code = stage.digest or stage_code(name, stage.module, stage.packages)
            recipes[name] = Recipe(name, code, stage.parameters(self), before, f"{name} {self.label}")
        return recipes

    def inputs(self, stage: str) -> list[str]:
        """The stages whose artifacts a stage reads."""
        return [name for name in self.stages[stage].inputs if name in self.stages]

    def events(self, path: Path) -> Iterator[Event]:
        """The events in the artifact of the stage `simulate`, as tracks are found in them."""
        if self.source is not None and self.source.kind == "hits":  # they are measured hits
            yield from read_events(path)
            return
        modules = detector_modules(self.settings.detector.read())
        for event in read_events(path):
            yield degrade(event, self.sample.degradation, self.seed(4), run_seed=self.run_seed, modules=modules)

    def make(self, stage: str, path: Path, inputs: Mapping[str, Path]) -> None:
        """Make the artifact of a stage, from those of `inputs`."""
        self.stages[stage].make(self, path, inputs)


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
    if changed := [stage for stage in here if here[stage].key != chunk.recipes[stage].key]:
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
    inputs = {name: _made(store, chunk, name) for name in chunk.inputs(stage)}
    return measured_artifact(
        store,
        recipe,
        chunk.stages[stage].suffix,
        lambda part: chunk.make(stage, part, inputs),
        chunk.n_events,
        list(inputs.values()),
    )


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
        return {name: tuple(self._chunks(sample)) for name, sample in self.settings.samples.items()}

    def _chunks(self, sample: Sample) -> Iterator[Chunk]:
        size, given = self.settings.chunk_events, self.settings.input.of(sample.name)
        if given is not None:
            for number, (source, n_events) in enumerate(sources(*given, sample.events, size)):
                yield Chunk(self.settings, sample, number, n_events, source=source)
            return
        parts = product(self.settings.collisions.process, range(0, sample.events, size))
        for number, (process, first) in enumerate(parts):
            yield Chunk(self.settings, sample, number, min(size, sample.events - first), process)

    @cached_property
    def compared(self) -> dict[str, tuple[Chunk, ...]]:
        """The first chunks of the nominal sample by finder: that of the chain, then those that it is compared with."""
        settings, tracks = self.settings, self.settings.tracks
        if not settings.measures:
            return {tracks.finder: ()}
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
        given = self.settings.input.events.get(sample)
        if given is not None:
            identities = [chunk.source.identity for chunk in self.chunks[sample] if chunk.source is not None]
            code = stage_code("cross_section", "beampipe.chain.inputs")
            return Recipe("cross_section", code, [identities, given.cross_section], (), f"cross_section {sample}")
        parameters = [self._spec(sample).settings, self.settings.collisions.slice]
        return Recipe("cross_section", stage_code("cross_section"), parameters, (), f"cross_section {sample}")

    def make_cross_section(self, store: Store, sample: str) -> Path:
        """The file of the cross section of a sample, made if it is missing."""
        given = self.settings.input.events.get(sample)
        if given is not None:
            return store.get(
                self.cross_section(sample), ".json", lambda path: keep_cross_section(path, stated_cross_section(given))
            )
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
        chunks = [chunk for each in self.chunks.values() for chunk in each]
        by_stage = [chunk.recipes[stage] for stage in INPUTS for chunk in chunks if stage in chunk.recipes]
        if not self.settings.measures:
            return by_stage
        performance = [self.performance(name) for name in names]
        return [*by_stage, self.scale, *performance, *(self.ntuple(name) for name in names)]

    def _of_jets(self, stage: str, sample: str) -> Recipe:
        inputs = tuple(Input("jets", recipe.key, recipe.label) for recipe in self.jets(sample))
        return Recipe(stage, stage_code(stage), None, inputs, f"{stage} {sample}")
