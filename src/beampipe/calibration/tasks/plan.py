"""The plan of a calibration, and the work on its chunks: digests of files, stages 1 to 3 of each chunk, and merging.

A plan has the recipes of all artifacts, and the chunks of files that they are made from.

Histograms are stored for a set of variations at a time, always with the nominal ones. A run fills the variations that
no set in the store has, all together in one reading. The key of an artifact depends on its own set alone, and thus not
on the order in which variations were added; a list of all sets serves to find the artifacts.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache, partial
from hashlib import sha256
from itertools import pairwise
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from beampipe.calibration.config import Bootstrap, Configuration, InputSample
from beampipe.calibration.events.dijets import (
    Dijets,
    RunRange,
    WeightUnits,
    read_dijets,
    read_variations,
    write_dijets,
    write_variations,
)
from beampipe.calibration.events.fill import (
    REPLICAS_PER_BLOCK,
    FilledChunk,
    FillPath,
    FillSettings,
    fill_file,
    fill_table,
)
from beampipe.calibration.events.histograms import Filled, FilledColumns, joined, merge, read_filled, write_filled
from beampipe.calibration.events.scores import ScoreKey, Scores, predict, read_scores, write_scores
from beampipe.calibration.events.select import SelectSettings, select, with_variations
from beampipe.calibration.events.variations import (
    NOMINAL,
    UNVARIED,
    Variation,
    built_in_variations,
    jet_variations,
    matching,
    matching_or_error,
)
from beampipe.calibration.jet_changes import function_digest
from beampipe.calibration.method.extractions import extraction_digest
from beampipe.calibration.ntuple.bookkeeping import Bookkeeping, SliceFactors
from beampipe.calibration.ntuple.columns import constituents_of, open_source
from beampipe.calibration.taggers import Model, Tagger, model_bytes
from beampipe.calibration.tasks.inspection import InspectedFile, InspectedSample
from beampipe.calibration.tasks.runtime import Workers, Workspace, run_leased, stage_code
from beampipe.columns import MOST_UNUSABLE, Column, ColumnScan
from beampipe.errors import ConfigError, FileError, InputError, WorkflowError
from beampipe.files import append
from beampipe.jets.substructure import JetConstituents
from beampipe.notebook import Shown
from beampipe.workflow import FileDigests, FileStamp, Input, Recipe, Store, Task, digest_of


class VariationKey(NamedTuple):
    """A variation with all that its histograms depend on, beside what all histograms of a chunk depend on.

    Attributes:
        kind: what is varied; a replica is one of the bootstrap.
        name: name of the weight or of the variation of jets; the seed of a replica.
        number: index of the weight, number of the replica, or number of points of a model of the jet energy.
    """

    kind: Literal["nominal", "weight", "jets", "replica"]
    name: str = ""
    number: int = 0


VariationSet = frozenset[VariationKey]

NOMINAL_ALONE: Final[VariationSet] = frozenset([VariationKey("nominal")])
"""The set without variations."""


@lru_cache(maxsize=256)
def in_short(variations: VariationSet) -> dict[str, object]:
    """A set of variations as parameters of a recipe, with replicas as seed, first and last number."""
    replicas = sorted(each for each in variations if each.kind == "replica")
    others = sorted(variations.difference(replicas))
    span = (replicas[0].name, replicas[0].number, replicas[-1].number) if replicas else ()
    return {"variations": others, "replicas": span}


@dataclass(frozen=True, repr=False)
class SamplePlan:
    """One sample's part of the plan.

    Attributes:
        sample: the configuration of the sample.
        bookkeeping: combined bookkeeping of all files of the sample.
        books: recipe of the artifact that holds `bookkeeping`.
        facts: recipes of the inspection of each file.
        slices: chunks of all its files, by slice; slices without events have none.
        merged: recipe of the sum over the chunks, by slice.
    """

    sample: InputSample
    bookkeeping: Bookkeeping
    books: Recipe
    facts: tuple[Recipe, ...]
    slices: Mapping[int, tuple[Chunk, ...]]
    merged: Mapping[int, Recipe]

    def __repr__(self) -> str:
        """Name and kind of the sample, and the numbers of its files and chunks."""
        name, kind, files = self.sample.name, self.sample.kind, len(self.sample.files)
        return f"SamplePlan(sample: {name}, kind: {kind}, files: {files}, chunks: {len(self.chunks)})"

    @cached_property
    def chunks(self) -> tuple[Chunk, ...]:
        """The chunks of all slices."""
        return tuple(chunk for chunks in self.slices.values() for chunk in chunks)

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The inputs of later stages: bookkeeping and merged histograms."""
        name = self.sample.name
        merged = (Input(f"{name}:{number}", recipe.key, recipe.label) for number, recipe in self.merged.items())
        return (Input(f"{name}:books", self.books.key, self.books.label), *merged)


@dataclass(frozen=True, repr=False)
class Plan(Shown):
    """The whole calibration.

    Attributes:
        configuration: the configuration of the calibration.
        samples: plans of the samples, by name; a variation of the layout is a sample ``jets:NAME``.
        reweight: recipe of stage 4.
        extract: recipe of stage 5.
        factors: recipe of stage 6.
    """

    configuration: Configuration
    samples: Mapping[str, SamplePlan]
    reweight: Recipe
    extract: Recipe
    factors: Recipe

    def facts(self) -> Mapping[str, object]:
        """Names of the samples, number of chunks and how they are filled, and the folder of the results."""
        paths = dict.fromkeys(chunk.fill_path for chunk in self.chunks)
        return {
            "samples": ", ".join(self.samples),
            "chunks": len(self.chunks),
            "filled by": "; ".join(f"{path.kind}: {path.reason}" for path in paths),
            "output": self.configuration.output,
        }

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """The chunks of all samples."""
        return tuple(chunk for sample in self.samples.values() for chunk in sample.chunks)

    @property
    def cases(self) -> tuple[str, ...]:
        """Names of the alternative samples, then of the variations of the layout."""
        varied = tuple(name for name in self.samples if name not in self.configuration.samples)
        return (*self.configuration.other_samples, *varied)


def make_plan(configuration: Configuration, inspected: Mapping[str, InspectedSample]) -> Plan:
    """The recipes of a calibration.

    Args:
        configuration: samples, cuts, taggers and systematics.
        inspected: the samples in use, with their inspected files.

    Raises:
        UnknownNameError: a pattern of a systematic matches no weight or variation, or there is no such extraction.
    """
    models = models_of(configuration)
    samples = {
        name: _sample_plan(configuration, inspected[name], models)
        for name in configuration.samples
        if name in configuration.used_samples
    }
    nominal = inspected[configuration.nominal]
    for name in _wanted_layouts(configuration, nominal.bookkeeping):
        varied = Variation("jets", name)
        samples[str(varied)] = _sample_plan(configuration, nominal, models, variation=varied)
    inputs = tuple(item for name, part in samples.items() if name != configuration.data for item in part.inputs)
    order: dict[str, object] = {"nominal": configuration.nominal, "samples": configuration.other_samples}
    if cases := tuple(name for name in samples if name not in configuration.samples):
        order["variations"] = cases
    reweight = Recipe("reweight", stage_code("reweight"), order, inputs, "reweighting factors")
    cuts: dict[str, object] = {tagger.name: tagger.cut for tagger in configuration.taggers if tagger.cut != "at_least"}
    if by_label := [tagger.name for tagger in configuration.taggers if tagger.cut_shape == "label"]:
        cuts["by label"] = by_label
    extractions = [
        (name, extraction_digest(name)) for name in (configuration.extraction, *configuration.other_extractions)
    ]
    extraction = {"extractions": extractions} if any(digest for _, digest in extractions) else {}
    extract = Recipe(
        "extract",
        stage_code("extract"),
        {**order, "working_points": configuration.working_points, **({"cuts": cuts} if cuts else {}), **extraction},
        (Input("reweight", reweight.key, reweight.label), *inputs, *samples[configuration.data].inputs),
        "efficiencies",
    )
    parameters = {
        "systematics": configuration.systematics,
        "shifts": configuration.shifts,
        "pt_edges": configuration.pt_edges,
        "eta_edges": configuration.eta_edges,
        "working_points": configuration.working_points,
        "taggers": [tagger.axis for tagger in configuration.taggers],
        "max_dropped": configuration.max_dropped,
    }
    made_from = (Input("extract", extract.key, extract.label),)
    factors = Recipe("factors", stage_code("factors"), parameters, made_from, "scale factors")
    return Plan(configuration, samples, reweight, extract, factors)


def models_of(configuration: Configuration) -> list[Input]:
    """The models of the taggers, as inputs of their scores."""
    return [
        Input(tagger.name, sha256(model_bytes(tagger)).hexdigest(), tagger.model)
        for tagger in configuration.taggers
        if tagger.is_score
    ]


def refuse_same_dataset(books: Mapping[str, Bookkeeping], configuration: Configuration) -> None:
    """Require different dataset names for data and simulation: equal names would correlate their bootstrap weights.

    Raises:
        FileError: simulation and data have the same name of a dataset.
    """
    nominal, data = configuration.nominal, configuration.data
    if books[nominal].dataset == books[data].dataset:
        raise FileError(
            f"samples {nominal} and {data}: got dataset {books[data].dataset!r} for both, expected different names in"
            " their files: errors would be those of the same events; rename one: beampipe calibration inject"
            " --injection none"
        )


def _wanted_layouts(configuration: Configuration, books: Bookkeeping) -> tuple[str, ...]:
    """Names of the variations of the layout that systematics use; an error if a pattern or a name is invalid."""
    own = [each.name for each in configuration.layout.variations]
    built_in = built_in_variations(books.varied, configuration.energy)
    both = [name for name in own if name in built_in]
    if both:
        raise ConfigError(
            f"layout.variations.{both[0]}: got the name of a built-in variation of the jet energy; expected another, or"
            " energy = { scale = 0, resolution = 0 }"
        )
    what = "variation of jets (trk_* needs layout.branches.n_trk_eff or n_trk_fake, jes_* and jer_* layout.variations)"
    matching_or_error(what, (*own, *built_in), configuration.kinematic_patterns)
    return matching(own, configuration.kinematic_patterns)


def _wanted_weights(configuration: Configuration, name: str, books: Bookkeeping) -> tuple[int, ...]:
    """Indices of the nominal weight and of the weights that systematics use."""
    if not configuration.wants_variations(name):
        return (0,)
    names = books.weight_names
    chosen = (
        0,
        *map(names.index, matching_or_error(f"weight of sample {name}", names[1:], configuration.weight_patterns)),
    )
    for each in books.slices:
        bad = [names[index] for index in chosen if not isfinite(each.factors[index])]
        if bad:
            raise FileError(
                f"sample {name}, slice {each.number}: got a sum 0 of weights {bad[0]!r}, expected another; leave it"
                " out of the patterns of weights"
            )
    return chosen


def _sample_plan(
    configuration: Configuration,
    inspected: InspectedSample,
    models: Sequence[Input],
    *,
    variation: Variation = UNVARIED,
) -> SamplePlan:
    """Recipes of one sample, or of a layout variation as its own sample: of every chunk and of the sum per slice."""
    sample, bookkeeping = inspected.sample, inspected.bookkeeping
    settings = settings_of(configuration, sample, bookkeeping)
    by_slice = {each.number: each for each in bookkeeping.slices}
    if variation != UNVARIED:
        sample = replace(sample, name=str(variation))
        layout, to_fill = configuration.layout.varied(variation.name), settings.fill
        to_select = replace(settings.select, weights=(0,), varied=(), layout=layout)
        to_fill = replace(to_fill, weight_names=to_fill.weight_names[:1], kinematics=(), bootstrap=Bootstrap(0, 0))
        settings = ChunkSettings(
            to_select, to_fill, function_digest(layout.function, layout.files_of_changes), variation.name
        )
    slices: dict[int, tuple[Chunk, ...]] = {}
    for file in inspected.files:
        number = file.facts.slice
        of_file = chunks_of(configuration, file, settings.of_slice(by_slice[number]), models)
        if of_file:
            slices[number] = slices.get(number, ()) + tuple(of_file)
    if not slices:
        raise FileError(f"sample {sample.name}: got no event in any file, expected some")
    merged = {
        number: merge_recipe(chunks, chunks[0].variations, f"{sample.name}, slice {number}")
        for number, chunks in slices.items()
    }
    facts = tuple(file.recipe for file in inspected.files)
    return SamplePlan(sample, bookkeeping, inspected.books, facts, slices, merged)


def merge_recipe(chunks: Sequence[Chunk], variations: VariationSet, label: str = "") -> Recipe:
    """The recipe of the sum over the chunks of a slice, for a set of variations."""
    made_by = [chunks[0].fill_of(variations), *([chunks[0].predict_of(variations)] if chunks[0].models else [])]
    histograms = digest_of([(each.code, each.parameters) for each in made_by])
    inputs = tuple(Input("dijets", chunk.select.key, chunk.select.label) for chunk in chunks)
    parameters = {"histograms": histograms}
    return Recipe("merge", stage_code("merge"), parameters, (*inputs, *chunks[0].models), label)


class ChunkSettings(NamedTuple):
    """All settings of stages 1 and 3 for one sample.

    Attributes:
        select: settings of stage 1.
        fill: settings of stage 3.
        functions: digest of the functions that change jets when the plan was made; empty if there are none.
        variation: name of the variation of the layout; empty for none.
    """

    select: SelectSettings
    fill: FillSettings
    functions: str = ""
    variation: str = ""

    @property
    def variations(self) -> VariationSet:
        """All variations that are filled."""
        fill, known = self.fill, jet_variations(self.fill.energy)
        weights = zip(fill.weight_names[1:], self.select.weights[1:], strict=True)
        return NOMINAL_ALONE.union(
            (VariationKey("weight", *weight) for weight in weights),
            (VariationKey("jets", name, known[name].points) for name in fill.kinematics),
            (VariationKey("replica", str(fill.bootstrap.seed), number) for number in fill.columns.replicas),
        )

    def only(self, variations: VariationSet) -> ChunkSettings:
        """The settings for some of the variations, and for whole blocks of replicas."""
        weights = {each.number for each in variations if each.kind == "weight"}
        jets = {each.name for each in variations if each.kind == "jets"}
        blocks = [each.number // REPLICAS_PER_BLOCK for each in variations if each.kind == "replica"]
        first, last = (min(blocks), max(blocks) + 1) if blocks else (0, 0)
        of_weights = zip(self.select.weights, self.fill.weight_names, strict=True)
        kept = [(index, name) for index, name in of_weights if index == self.select.weights[0] or index in weights]
        return self._replace(
            select=replace(
                self.select,
                weights=tuple(index for index, _ in kept),
                varied=tuple(name for name in self.select.varied if name in jets),
            ),
            fill=replace(
                self.fill,
                weight_names=tuple(name for _, name in kept),
                kinematics=tuple(name for name in self.fill.kinematics if name in jets),
                bootstrap=replace(self.fill.bootstrap, replicas=(last - first) * REPLICAS_PER_BLOCK),
                first_replica=first * REPLICAS_PER_BLOCK,
            ),
        )

    def of_slice(self, slice_factors: SliceFactors) -> ChunkSettings:
        """The settings for a slice, whose weights have a scale of their own."""
        units = replace(self.fill.units, exponent=slice_factors.exponent)
        limit = self.select.selection.max_weight * slice_factors.median_weight if self.select.simulated else 0.0
        return self._replace(
            select=replace(self.select, units=units, max_weight=limit),
            fill=replace(self.fill, units=units),
        )


def settings_of(configuration: Configuration, sample: InputSample, bookkeeping: Bookkeeping) -> ChunkSettings:
    """The settings of a sample: only the nominal one has variations, and only it and data have bootstrap replicas.

    The units of weights are those of a slice: see `ChunkSettings.of_slice`.

    Raises:
        UnknownNameError: a pattern of a systematic matches no weight or variation.
        ConfigError: a function that changes jets cannot be imported, or a name is used twice.
    """
    if varied := configuration.wants_variations(sample.name):
        _wanted_layouts(configuration, bookkeeping)
    built_in = built_in_variations(bookkeeping.varied, configuration.energy)
    kinematics = matching(built_in, configuration.kinematic_patterns) if varied else ()
    weights = _wanted_weights(configuration, sample.name, bookkeeping)
    simulated = sample.kind != "data"
    drawn = sample.name in (configuration.nominal, configuration.data)
    to_select = SelectSettings(
        selection=configuration.selection,
        units=WeightUnits(sample.weight_bits),
        simulated=simulated,
        labelled=simulated,
        weights=weights,
        varied=matching(bookkeeping.varied, kinematics) if kinematics else (),
        layout=configuration.layout_of(sample.name).alone,
        observables=any(tagger.is_score for tagger in configuration.taggers),
        region_in_files=configuration.regions.rule == "branch",
        kept=configuration.kept,
    )
    to_fill = FillSettings(
        pt_edges=configuration.pt_edges,
        taggers=configuration.taggers,
        selection=configuration.selection,
        energy=configuration.energy if varied else replace(configuration.energy, scale=0, resolution=0),
        units=WeightUnits(sample.weight_bits),
        labelled=simulated,
        weight_names=tuple(bookkeeping.weight_names[index] for index in weights),
        kinematics=kinematics,
        bootstrap=configuration.bootstrap if drawn else Bootstrap(0, 0),
        dataset=bookkeeping.dataset,
        groups=configuration.shifts.groups,
        eta_edges=configuration.eta_edges,
        regions=configuration.regions,
        cuts=configuration.cuts,
    )
    layout = to_select.layout
    return ChunkSettings(to_select, to_fill, function_digest(layout.function, layout.files_of_changes))


def chunks_of(
    configuration: Configuration, file: InspectedFile, settings: ChunkSettings, models: Sequence[Input]
) -> list[Chunk]:
    """The chunks of a file whose digest is known.

    Args:
        configuration: number of events of a chunk, and whether tables are kept.
        file: the file.
        settings: settings of its sample.
        models: models of the taggers other than n_trk.
    """
    code = {stage: stage_code(stage) for stage in ("select", "fill", *(["predict"] if models else []))}
    return [
        Chunk(
            file.path,
            start,
            stop,
            settings,
            Input("file", file.digest, str(file.path)),
            tuple(models),
            code,
            configuration.keep_tables,
            configuration.keep_variations,
            FillPath.of(settings.fill),
            file.stamp,
        )
        for start, stop in ranges_of(file, configuration, settings)
    ]


def ranges_of(file: InspectedFile, configuration: Configuration, settings: ChunkSettings) -> list[tuple[int, int]]:
    """First entry and one past the last of each chunk of a file, or of a variation's tree in it.

    Chunks begin and end at basket borders, so that no basket is read twice, unless there are too few common borders.
    Added variations and cuts must not change their size: the tables of selected events would not be found again.
    """
    plain = FillPath.of(replace(settings.fill, kinematics=(), cuts=()))
    size = configuration.chunk_events or (250_000 if plain.kind == "one pass" else 100_000)
    borders = dict(file.facts.borders_of).get(settings.variation, file.facts.borders)
    if borders[-1] == borders[0]:
        return []
    out: list[tuple[int, int]] = []
    start = borders[0]
    for before, border in pairwise(borders):
        if border - start > size and before > start:
            out += _split(start, before, size)
            start = before
    return out + _split(start, borders[-1], size)


def _split(start: int, stop: int, size: int) -> list[tuple[int, int]]:
    """The smallest number of equal parts that are each below 1.5 times `size`."""
    parts = max(1, round((stop - start) / size))
    edges = [start + (stop - start) * part // parts for part in range(parts + 1)]
    return list(pairwise(edges))


_IN_VARIATIONS: Final = ("energy", "weight_names", "kinematics", "bootstrap", "first_replica")
"""Settings of `fill` that keys of variations stand for."""


@dataclass(frozen=True)
class Chunk:
    """A range of events of a file, with the recipes of its artifacts.

    Attributes:
        path: ROOT file that the events are in.
        start: first entry of the range.
        stop: one past the last entry of the range.
        settings: settings of stages 1 and 3.
        source: digest of the file.
        models: models of the taggers other than n_trk.
        code: digest of the code of each stage.
        keep_tables: whether tables of stages 1 and 2 are stored.
        keep_variations: whether weights and numbers of tracks of variations are stored, too.
        fill_path: how its histograms are filled, and why.
        stamp: stamp of the file when the plan was made; None for a remote file.
    """

    path: Path
    start: int
    stop: int
    settings: ChunkSettings
    source: Input
    models: tuple[Input, ...]
    code: Mapping[str, str]
    keep_tables: bool
    keep_variations: bool
    fill_path: FillPath
    stamp: FileStamp | None = None

    @property
    def label(self) -> str:
        """File and range as text."""
        return f"{self.path.name}[{self.start}:{self.stop}]"

    @cached_property
    def variations(self) -> VariationSet:
        """All variations that are filled."""
        return self.settings.variations

    def only(self, variations: VariationSet) -> Chunk:
        """The chunk with some of its variations."""
        return replace(self, settings=self.settings.only(variations))

    @cached_property
    def select(self) -> Recipe:
        """The recipe of the table of dijet events, which does not depend on the variations."""
        parameters: dict[str, object] = {
            "start": self.start,
            "stop": self.stop,
            "settings": self.settings.select.nominal,
        }
        if self.settings.functions:
            parameters["functions"] = self.settings.functions
        return Recipe(
            "select", self.code["select"], parameters, (self.source,), f"{self.path}[{self.start}:{self.stop}]"
        )

    @cached_property
    def varied(self) -> Recipe | None:
        """The recipe of the weights and numbers of tracks of variations; None if none are kept."""
        settings = self.settings.select
        if not self.keep_variations or settings == settings.nominal:
            return None
        parameters = {"weights": settings.weights, "varied": settings.varied}
        inputs = (Input("dijets", self.select.key, self.select.label),)
        return Recipe("select", self.code["select"], parameters, inputs, self.select.label)

    @cached_property
    def predict(self) -> Recipe | None:
        """The recipe of the scores; None if n_trk is the only tagger."""
        return self.predict_of(self.variations) if self.models else None

    @cached_property
    def fill(self) -> Recipe:
        """The recipe of the histograms."""
        return self.fill_of(self.variations)

    def predict_of(self, variations: VariationSet) -> Recipe:
        """The recipe of the scores for the jets of a set of variations."""
        jets = sorted(each for each in variations if each.kind == "jets")
        inputs = (Input("dijets", self.select.key, self.select.label), *self.models)
        return Recipe("predict", self.code["predict"], {"jets": jets}, inputs, self.select.label)

    def fill_of(self, variations: VariationSet) -> Recipe:
        """The recipe of the histograms for a set of variations."""
        fill, select = self.settings.fill, self.select
        parameters = {name: value for name, value in vars(fill).items() if name not in _IN_VARIATIONS}
        # The path of a model does not matter, only its contents, which are in the key of the scores.
        parameters |= {"taggers": [tagger.axis for tagger in fill.taggers], **in_short(variations)}
        inputs = [Input("dijets", select.key, select.label)]
        inputs += [Input("scores", self.predict_of(variations).key, select.label)] if self.models else []
        return Recipe("fill", self.code["fill"], parameters, tuple(inputs), select.label)


class Cover(NamedTuple):
    """How wanted variations are taken from the store.

    Attributes:
        parts: the sets of the artifacts to read.
        missing: the variations that no artifact has.
    """

    parts: tuple[VariationSet, ...]
    missing: VariationSet


@lru_cache(maxsize=1024)  # a run reads the list several times
def _set_of(line: str) -> VariationSet | None:
    """The set in a line of the list; None for an incomplete line of a killed writer."""
    try:
        return frozenset(VariationKey(*each) for each in json.loads(line))
    except (ValueError, TypeError):
        return None


class VariationSets:
    """The list of all sets of variations that the store may have. If it is lost, variations are filled again.

    Args:
        store: store of the artifacts.
    """

    def __init__(self, store: Store) -> None:
        self._path = store.root / ".variations"
        self._sets: dict[VariationSet, None] = {}
        self._ranked: dict[VariationSet, list[VariationSet]] = {}
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.is_file() else ()
        self._sets.update(dict.fromkeys(each for each in map(_set_of, lines) if each is not None))

    def add(self, variations: VariationSet) -> None:
        """Add a set to the list, before any artifact of it is written."""
        if variations not in self._sets:
            append(self._path, json.dumps(sorted(variations)) + "\n")
            self._sets[variations] = None
            self._ranked.clear()

    def cover(self, wanted: VariationSet, has: Callable[[VariationSet], object]) -> Cover:
        """The artifacts that have wanted variations; those with the most of them come first.

        Args:
            wanted: the variations.
            has: whether the store has the artifact of a set.
        """
        missing, parts = wanted, []
        for each in self.ranked(wanted):
            if not missing:
                break
            if each & missing and has(each):
                parts.append(each)
                missing -= each
        return Cover(tuple(parts), missing)

    def ranked(self, wanted: VariationSet) -> list[VariationSet]:
        """All sets with wanted variations: first those with the most of them, and of these the smallest."""
        if wanted not in self._ranked:
            common = {each: len(each & wanted) for each in self._sets}
            overlapping = [each for each, n in common.items() if n]
            overlapping.sort(key=lambda each: (-common[each], len(each)))
            self._ranked[wanted] = overlapping
        return self._ranked[wanted]


def run_chunks(store: Store, workers: Workers, chunks: Iterable[Chunk], until: str) -> None:
    """Make the missing artifacts of many chunks.

    Args:
        store: store of the artifacts.
        workers: where the tasks run.
        chunks: chunks to work on.
        until: the last stage: select, predict or fill.

    Raises:
        WorkflowError: some chunks failed, after all others were done.
    """
    sets = VariationSets(store)
    parts = [part for chunk in chunks if (part := missing_part(store, sets, chunk, until)) is not None]
    workers.run(until, [chunk_task(store, part, until) for part in parts])


def missing_part(store: Store, sets: VariationSets, chunk: Chunk, until: str) -> Chunk | None:
    """The chunk with the variations that the store lacks; None if it lacks none.

    Args:
        store: store of the artifacts.
        sets: the sets of variations in the store; the set of the returned chunk is added.
        chunk: chunk to work on.
        until: the last stage: select, predict or fill.
    """
    if until == "select" or (until == "predict" and not chunk.models):
        return None if store.find(chunk.select) is not None else chunk
    missing = stored_parts(store, sets, chunk, until).missing
    if not missing:
        return None
    part = chunk.only(missing)
    sets.add(part.variations)
    return part


def stored_parts(store: Store, sets: VariationSets, chunk: Chunk, stage: str = "fill") -> Cover:
    """The sets of variations whose histograms of a chunk are in the store, or whose scores are, for stage `predict`."""
    if stage == "fill":
        return sets.cover(chunk.variations, lambda each: store.find(chunk.fill_of(each)))
    scored = frozenset(each for each in chunk.variations if each.kind in ("nominal", "jets"))
    return sets.cover(scored, lambda each: store.find(chunk.predict_of(each)))


def chunk_task(store: Store, chunk: Chunk, until: str) -> Task[None]:
    """The task that makes the artifacts of a chunk; a lease on its selection excludes other runs."""
    return Task(chunk.label, run_leased, (store, chunk.select, run_chunk, store, chunk, until))


def run_chunk(store: Store, chunk: Chunk, until: str) -> None:
    """Make the artifacts of a chunk.

    Args:
        store: store of the artifacts.
        chunk: chunk to work on.
        until: the last stage: select, predict or fill. The first two keep their tables.
    """
    recipe = chunk.fill
    if until != "fill":
        settings = chunk.settings.select
        dijets = _dijets(store, chunk, settings.nominal if until == "select" else settings, keep=True)
        if until == "predict":
            _scores(store, chunk, dijets, keep=True)
    elif store.load(recipe) is None:
        if store.log is not None:
            store.log.write("start", stage="fill", key=recipe.key, label=recipe.label, path=chunk.fill_path.kind)
        made, inputs = _filled(store, chunk)
        if made.refusal and store.log is not None:
            store.log.write("numpy", stage="fill", key=recipe.key, label=recipe.label, reason=made.refusal)
        notes = {"ranges": made.ranges, "events": made.n_selected}
        store.write(recipe, ".npz", partial(write_filled, made.filled), notes=notes, inputs=inputs)


def _filled(store: Store, chunk: Chunk) -> tuple[FilledChunk, list[Input]]:
    """The histograms, in one pass over the file or from the table of selected events; and what they were made from."""
    recipe, settings = chunk.select, chunk.settings
    inputs = [Input("dijets", recipe.key, recipe.label)]
    if chunk.fill_path.kind == "one pass" and chunk.varied is None and store.find(recipe) is None:
        began = perf_counter()
        made = fill_file(
            chunk.path, chunk.start, chunk.stop, settings.select, settings.fill, with_table=chunk.keep_tables
        )
        _refuse_change(chunk)
        if made.dijets is not None:
            seconds = perf_counter() - began
            store.write(recipe, ".npz", partial(write_dijets, made.dijets), seconds=seconds)
        return made, inputs
    dijets = _dijets(store, chunk, settings.select, keep=chunk.keep_tables)
    scores, made_from = _scores(store, chunk, dijets, keep=chunk.keep_tables)
    _refuse_scores(chunk, scores)
    inputs += [Input("scores", each.key, each.label) for each in made_from]
    return FilledChunk(fill_table(dijets, scores, settings.fill), dijets.ranges, len(dijets)), inputs


def _dijets(store: Store, chunk: Chunk, settings: SelectSettings, *, keep: bool) -> Dijets:
    """The table of dijet events, from the store or from the file; columns of variations come from the file."""
    recipe, varied = chunk.select, chunk.varied if settings != settings.nominal else None
    path, began = store.load(recipe), perf_counter()
    if path is not None:
        dijets = read_dijets(path)
        if varied is not None and (stored := store.load(varied)) is not None:
            return read_variations(dijets, stored)
        if settings == settings.nominal:
            return dijets
        dijets = with_variations(dijets, chunk.path, chunk.start, chunk.stop, settings)
    else:
        dijets = select(chunk.path, chunk.start, chunk.stop, settings)
    _refuse_change(chunk)
    if keep and path is None:
        store.write(recipe, ".npz", partial(write_dijets, dijets), seconds=perf_counter() - began)
    if varied is not None:
        store.write(varied, ".npz", partial(write_variations, dijets))
    return dijets


def _refuse_change(chunk: Chunk) -> None:
    """Raise an error if the file or the functions have changed since their digests went into the keys."""
    if chunk.stamp is not None:
        chunk.stamp.require(chunk.path)
    layout = chunk.settings.select.layout
    if layout.changed_by and function_digest(layout.function, layout.files_of_changes) != chunk.settings.functions:
        raise ConfigError(
            f"{chunk.label}: what changes its jets ({layout.changed_by}) is not what this run was planned with;"
            " expected the same code, files and versions of packages in every worker until the run ends; run again"
        )


def _scores(store: Store, chunk: Chunk, dijets: Dijets, *, keep: bool) -> tuple[Scores, list[Recipe]]:
    """Scores of the models, from the store or made anew; and the recipes of what the store had."""
    recipe, settings = chunk.predict, chunk.settings.fill
    if recipe is None:
        return Scores(), []
    taggers = [tagger for tagger in settings.taggers if tagger.is_score]
    wanted = {ScoreKey(tagger.name, name) for tagger in taggers for name in (NOMINAL, *settings.kinematics)}
    stored: dict[ScoreKey, Any] = {}
    made_from = []
    for each in [recipe, *map(chunk.predict_of, VariationSets(store).ranked(chunk.variations))]:
        if wanted <= stored.keys() or (path := store.load(each)) is None:
            continue
        stored |= read_scores(path).by_name
        made_from.append(each)
    if wanted <= stored.keys():
        return Scores({key: stored[key] for key in wanted}), made_from
    models = {each.name: each.key for each in chunk.models}
    with_models = [(tagger, _model_of(tagger, models[tagger.name])) for tagger in taggers if not tagger.in_files]
    began = perf_counter()

    def constituents(variation: str) -> JetConstituents:
        layout = chunk.settings.select.layout
        if variation != NOMINAL and not layout.constituents.variation:
            raise ConfigError(
                f"{chunk.label}: got no layout.constituents.variation, expected the branch that says which constituents"
                f" {variation} has; leave the variation out, or the taggers of constituents"
            )
        every = constituents_of(chunk.path, layout, chunk.start, chunk.stop, dijets.entry, dijets.jet)
        _refuse_change(chunk)
        return every.of_variation(variation)

    scores = predict(dijets, with_models, settings.kinematics, settings.energy, stored, constituents)
    if keep:
        store.write(recipe, ".npz", partial(write_scores, scores), seconds=perf_counter() - began)
    return scores, [*made_from, recipe]


def _refuse_scores(chunk: Chunk, scores: Scores) -> None:
    """Raise an error if too many scores are outside the range of their tagger, e.g. numbers that stand for none."""
    for tagger in chunk.settings.fill.taggers:
        values = scores.by_name.get(ScoreKey(tagger.name, NOMINAL))
        if values is None:
            continue
        scan = ColumnScan(Column(tagger.name, low=tagger.low, high=tagger.high))
        scan.add(values.ravel())
        if scan.share > MOST_UNUSABLE:
            raise InputError(
                f"{chunk.label}: tagger {tagger.name!r}: {scan}; expected at most {MOST_UNUSABLE:.0%}, as they count in"
                " its first or last bin: change low and high of the tagger, or leave out jets without a score by"
                " layout.branches.clean"
            )


@cache
def _model_of(tagger: Tagger, digest: str) -> Model:
    """The model of a tagger in a worker, cached by its digest, as workers may outlive a model."""
    return tagger.open()


def digest_files(
    configuration: Configuration,
    files: Mapping[Path, InspectedFile],
    books: Mapping[str, Bookkeeping],
    space: Workspace,
    workers: Workers,
    until: str = "",
) -> dict[Path, InspectedFile]:
    """Compute the missing digests of file contents, which enter the keys of chunks; returns files with digests.

    Workers read the files. The chunks of a file are processed as soon as its digest is known, while other files are
    still being read.

    Args:
        configuration: settings of the chunks.
        files: the files, of which some have no digest yet.
        books: bookkeeping of their samples.
        space: cache of digests, and store of the artifacts.
        workers: where the tasks run.
        until: last stage of the chunks that follow: select, predict or fill; empty for none.

    Raises:
        WorkflowError: files changed or chunks failed; all others are done and kept.
        UnknownNameError: a pattern of a systematic matches no weight or variation.
        FileError: simulation and data have the same name of a dataset.
    """
    refuse_same_dataset(books, configuration)
    samples = {path: name for name in books for path in configuration.samples[name].files}
    settings = {name: settings_of(configuration, configuration.samples[name], kept) for name, kept in books.items()}
    new = {str(path): file for path, file in files.items() if not file.digest}
    models = models_of(configuration)
    with_digests = dict(files)

    sets = VariationSets(space.store)

    def follow(task: Task[Any], digest: str | None) -> Iterable[Task[Any]]:
        file = new.get(task.label)
        if file is None or digest is None:
            return []
        with_digests[file.path] = file = replace(file, digest=digest)
        if not until:
            return []
        name, number = samples[file.path], file.facts.slice
        of_slice = next(each for each in books[name].slices if each.number == number)
        chunks = chunks_of(configuration, file, settings[name].of_slice(of_slice), models)
        parts = (missing_part(space.store, sets, chunk, until) for chunk in chunks)
        return [chunk_task(space.store, part, until) for part in parts if part is not None]

    digests = FileDigests(space.digests)
    tasks = [Task(label, digests.of, (file.path, file.stamp)) for label, file in new.items()]
    of_files = (ranges_of(file, configuration, settings[samples[file.path]]) for file in new.values())
    n_chunks = sum(map(len, of_files)) if until else 0
    workers.run(f"reading files, {until}" if until else "reading files", tasks, follow=follow, more=n_chunks)
    return with_digests


class _SliceWork(NamedTuple):
    """How the sum of a slice is made.

    Attributes:
        recipe: its recipe.
        columns: all its variations.
        sums: sums in the store that have some of the variations.
        chunks: the chunks with the other variations; none if the sums have all.
    """

    recipe: Recipe
    columns: FilledColumns
    sums: tuple[Recipe, ...]
    chunks: tuple[Chunk, ...]


def fill_and_merge(store: Store, workers: Workers, plan: Plan) -> None:
    """Stage 3: fill what the sums of the slices lack, for all chunks, then merge it.

    Raises:
        WorkflowError: chunks failed; all others are done and kept.
        FileError: an event is in two files.
    """
    merged = [recipe for sample in plan.samples.values() for recipe in sample.merged.values()]
    if all(store.find(recipe) is not None for recipe in (*merged, plan.reweight, plan.extract, plan.factors)):
        return  # no event will be read, so nothing needs to be verified
    sets = VariationSets(store)
    work: list[_SliceWork] = []
    samples: list[list[Chunk]] = []
    for sample in plan.samples.values():
        lacking = {number: recipe for number, recipe in sample.merged.items() if store.load(recipe) is None}
        slices = {number: _slice_work(store, sets, sample.slices[number], each) for number, each in lacking.items()}
        work += slices.values()
        if any(each.chunks for each in slices.values()):
            # The numbers of all events of the sample are compared, also of slices whose sums have all.
            to_fill = {number: each.chunks for number, each in slices.items() if each.chunks}
            samples.append(
                [
                    chunk
                    for number, chunks in sample.slices.items()
                    for chunk in to_fill.get(number) or [each.only(NOMINAL_ALONE) for each in chunks]
                ]
            )
    fills = {chunk.fill.key: chunk for chunks in samples for chunk in chunks}
    run_chunks(store, workers, fills.values(), "fill")
    for chunks in samples:
        _refuse_shared_events(store, chunks)
    while True:
        sets = VariationSets(store)
        try:
            workers.run("merge", [_merge_task(store, sets, each) for each in work])
            return
        except WorkflowError:
            # A damaged histogram is renamed by its reader, and is then missing.
            if not any(stored_parts(store, sets, chunk).missing for chunk in fills.values()):
                raise
            run_chunks(store, workers, fills.values(), "fill")


def _slice_work(store: Store, sets: VariationSets, chunks: Sequence[Chunk], recipe: Recipe) -> _SliceWork:
    """How to make the sum of a slice, given its chunks and its recipe."""
    wanted = chunks[0].variations
    cover = sets.cover(wanted, lambda each: store.load(merge_recipe(chunks, each)))
    sets.add(wanted)
    sums = tuple(merge_recipe(chunks, each, recipe.label) for each in cover.parts)
    lacking = tuple(chunk.only(cover.missing) for chunk in chunks) if cover.missing else ()
    return _SliceWork(recipe, chunks[0].settings.fill.columns, sums, lacking)


def _merge_task(store: Store, sets: VariationSets, work: _SliceWork) -> Task[None]:
    """The task that makes the sum of a slice."""
    fills = [[chunk.fill_of(each) for each in stored_parts(store, sets, chunk).parts] for chunk in work.chunks]
    columns = work.chunks[0].settings.fill.columns if fills else work.columns
    call = (store, work.recipe, _merge_slice, store, work.recipe, work.columns, work.sums, columns, fills)
    return Task(work.recipe.label, run_leased, call)


def _merge_slice(
    store: Store,
    recipe: Recipe,
    wanted: FilledColumns,
    sums: Sequence[Recipe],
    columns: FilledColumns,
    fills: Sequence[Sequence[Recipe]],
) -> None:
    """Add the histograms of the chunks of a slice, and take the other variations from sums in the store."""
    if store.load(recipe) is not None:
        return

    def read(recipes: Iterable[Recipe]) -> list[Filled]:
        return [read_filled(store.require(each)) for each in recipes]

    def make(path: Path) -> None:
        parts = read(sums)
        if fills:
            parts.append(merge(joined(read(recipes), columns) for recipes in fills))
        write_filled(joined(parts, wanted), path)

    inputs = [Input("sums", each.key, each.label) for each in sums]
    inputs += [Input("histograms", each.key, each.label) for recipes in fills for each in recipes]
    store.write(recipe, ".npz", make, inputs=inputs)


def _refuse_shared_events(store: Store, chunks: Sequence[Chunk]) -> None:
    """Raise an error if an event is in two chunks. Only chunks with overlapping event numbers are read again."""
    by_run: dict[int, list[tuple[RunRange, Chunk]]] = defaultdict(list)
    sets = VariationSets(store)
    for chunk in chunks:
        filled = chunk.fill_of(stored_parts(store, sets, chunk).parts[0])
        for numbers in store.about(filled.key)["notes"]["ranges"]:
            span = RunRange(*numbers)
            by_run[span.run].append((span, chunk))
    suspects = {(chunk.path, chunk.start): chunk for spans in by_run.values() for chunk in _overlapping(spans)}
    if len(suspects) > 1:
        _refuse_equal_events(list(suspects.values()))


def _overlapping(spans: Sequence[tuple[RunRange, Chunk]]) -> Iterator[Chunk]:
    """Chunks whose ranges of event numbers within one run overlap."""
    reach, before = -1, None
    for span, chunk in sorted(spans, key=lambda each: each[0]):
        if span.first <= reach and before is not None:
            yield from (before, chunk)
        if span.last > reach:
            reach, before = span.last, chunk


def _refuse_equal_events(chunks: Sequence[Chunk]) -> None:
    """Read the numbers of all events, and raise an error that names two files with a common event."""
    parts = []
    for chunk in chunks:
        part = np.empty(chunk.stop - chunk.start, [("run", "u8"), ("event", "u8")])
        with open_source(chunk.path, chunk.settings.select.layout, chunk.start, chunk.stop) as source:
            part["run"], part["event"] = source.flat("run"), source.flat("event")
        parts.append(part)
    every = np.concatenate(parts)
    owner = np.repeat(np.arange(len(chunks)), [len(part) for part in parts])
    order = np.argsort(every, kind="stable")
    same = np.flatnonzero(every[order][1:] == every[order][:-1])
    if len(same):
        first, second = (chunks[owner[order[row]]] for row in (same[0], same[0] + 1))
        run_number, event = every[order[same[0]]]
        raise FileError(
            f"{second.path}: got run {run_number}, event {event}, which is also in {first.path};"
            " expected each event once: leave one of the files out",
            path=second.path,
        )
