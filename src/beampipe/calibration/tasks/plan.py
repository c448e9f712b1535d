"""What a calibration consists of: for every artifact the recipe that says what it depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Final

from beampipe.calibration.config import Bootstrap, Configuration, InputSample
from beampipe.calibration.histograms.fill import FillSettings
from beampipe.calibration.jets.kinematics import wanted_kinematics
from beampipe.calibration.jets.select import SelectSettings
from beampipe.calibration.ntuple.bookkeeping import Bookkeeping
from beampipe.calibration.ntuple.reading import Facts
from beampipe.calibration.tagger.taggers import model_bytes
from beampipe.calibration.tasks.chunks import Chunk
from beampipe.calibration.variations import matching
from beampipe.errors import FileError, UnknownNameError
from beampipe.workflow import Input, Recipe, code_digest, digest_of
from beampipe.workflow.digest import NO_RESULT

__all__ = ["CALIBRATION_STAGES", "Plan", "SamplePlan", "inspect_recipe", "make_plan", "stage_code"]

CALIBRATION_STAGES: Final = ("select", "predict", "fill", "reweight", "extract", "factors", "report")
"""In the order in which they run."""

_MODULES: Final = {
    "inspect": ("ntuple.reading",),
    "bookkeeping": ("ntuple.bookkeeping",),
    "select": ("jets.select",),
    "predict": ("tagger.predict",),
    "fill": ("histograms.fill",),
    "merge": ("histograms.sums",),
    "reweight": ("method.cases", "method.reweight"),
    "extract": ("method.efficiencies",),
    "factors": ("method.scale_factors",),
}
"""Stage -> modules of `beampipe.calibration` whose code, with all that they import, makes it."""

_NO_RESULT: Final = (*NO_RESULT, "beampipe.triton", "beampipe.calibration.config")
"""Code that shapes no result: the configuration's values are parameters of the stages."""


@dataclass(frozen=True)
class SamplePlan:
    """One sample's part of the plan.

    Attributes:
        sample: of the configuration.
        bookkeeping: of its files.
        books: recipe of `bookkeeping`.
        chunks: of all its files.
        merged: recipe of the sum over the chunks, by slice.
        parts: recipes of what is summed, by slice.
    """

    sample: InputSample
    bookkeeping: Bookkeeping
    books: Recipe
    chunks: tuple[Chunk, ...]
    merged: Mapping[int, Recipe]
    parts: Mapping[int, tuple[Recipe, ...]]

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What later stages depend on."""
        name = self.sample.name
        merged = (Input(f"{name}:{number}", recipe.key, recipe.label) for number, recipe in self.merged.items())
        return (Input(f"{name}:books", self.books.key, self.books.label), *merged)


@dataclass(frozen=True)
class Plan:
    """The whole calibration.

    Attributes:
        configuration: it is for.
        samples: by name.
        reweight: recipe of stage 4.
        extract: recipe of stage 5.
        factors: recipe of stage 6.
    """

    configuration: Configuration
    samples: Mapping[str, SamplePlan]
    reweight: Recipe
    extract: Recipe
    factors: Recipe

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """Of all samples."""
        return tuple(chunk for sample in self.samples.values() for chunk in sample.chunks)

    def others(self) -> tuple[str, ...]:
        """Samples that take the nominal one's place in a systematic."""
        return other_samples(self.configuration)


@cache
def stage_code(stage: str) -> str:
    """Digest of the code of a stage, as it was when first asked for: what runs does not change either."""
    return digest_of([code_digest(f"beampipe.calibration.{module}", but=_NO_RESULT) for module in _MODULES[stage]])


def inspect_recipe(path: Path, digest: str) -> Recipe:
    """Recipe of the facts of a file."""
    return Recipe("inspect", stage_code("inspect"), None, (Input("file", digest, str(path)),), str(path))


def make_plan(
    configuration: Configuration,
    digests: Mapping[Path, str],
    facts: Mapping[Path, Facts],
    books: Mapping[str, tuple[Recipe, Bookkeeping]],
) -> Plan:
    """The recipes of a calibration.

    Args:
        configuration: what to do.
        digests: of all files.
        facts: of all files.
        books: of each sample.

    Raises:
        UnknownNameError: a pattern of a systematic matches no weight or variation.
        FileError: simulation and data have the same name of a dataset.
    """
    _refuse_same_dataset(configuration, books)
    models = [
        Input(tagger.name, sha256(model_bytes(tagger)).hexdigest(), tagger.model)
        for tagger in configuration.taggers
        if tagger.model
    ]
    samples = {
        name: _sample_plan(configuration, sample, digests, facts, *books[name], models)
        for name, sample in configuration.samples.items()
        if name in used_samples(configuration)
    }
    simulation = [name for name in samples if name != configuration.data]
    inputs = tuple(item for name in simulation for item in samples[name].inputs)
    order = {"nominal": configuration.nominal, "samples": other_samples(configuration)}
    reweight = Recipe("reweight", stage_code("reweight"), order, inputs, "reweighting factors")
    extract = Recipe(
        "extract",
        stage_code("extract"),
        {**order, "working_points": configuration.working_points},
        (Input("reweight", reweight.key, reweight.label), *inputs, *samples[configuration.data].inputs),
        "efficiencies",
    )
    parameters = {
        "systematics": configuration.systematics,
        "pt_edges": configuration.pt_edges,
        "working_points": configuration.working_points,
        "taggers": _bins(configuration),
    }
    factors = Recipe(
        "factors",
        stage_code("factors"),
        parameters,
        (Input("extract", extract.key, extract.label),),
        "scale factors",
    )
    return Plan(configuration, samples, reweight, extract, factors)


def _refuse_same_dataset(configuration: Configuration, books: Mapping[str, tuple[Recipe, Bookkeeping]]) -> None:
    """An event's key is made of its dataset: with one name for both, data and simulation would be drawn together."""
    names = configuration.nominal, configuration.data
    datasets = [books[name][1].dataset for name in names]
    if datasets[0] == datasets[1]:
        raise FileError(
            f"samples {names[0]} and {names[1]}: got dataset {datasets[0]!r} for both, expected different names in"
            " their files: errors would be those of the same events; rename one: beampipe calibration inject"
            " --injection none"
        )


def used_samples(configuration: Configuration) -> tuple[str, ...]:
    """Nominal, data and those of the systematics; others in the configuration cost nothing."""
    return tuple(dict.fromkeys((configuration.nominal, configuration.data, *other_samples(configuration))))


def other_samples(configuration: Configuration) -> tuple[str, ...]:
    """Samples of the systematics beside the nominal one."""
    names = dict.fromkeys(name for source in configuration.systematics for name in source.samples)
    return tuple(name for name in names if name != configuration.nominal)


def _bins(configuration: Configuration) -> list[tuple[str, int, float, float]]:
    return [(tagger.name, tagger.bins, tagger.low, tagger.high) for tagger in configuration.taggers]


def _wanted_weights(configuration: Configuration, sample: InputSample, books: Bookkeeping) -> tuple[int, ...]:
    """Places of the nominal weight and of those that systematics ask for."""
    if sample.name != configuration.nominal:
        return (0,)
    varied = books.weight_names[1:]
    for pattern in configuration.weight_patterns():
        if not matching(varied, (pattern,)):
            raise UnknownNameError(f"weight of sample {sample.name}", pattern, varied)
    chosen = matching(varied, configuration.weight_patterns())
    return (0, *(books.weight_names.index(name) for name in chosen))


def _sample_plan(
    configuration: Configuration,
    sample: InputSample,
    digests: Mapping[Path, str],
    facts: Mapping[Path, Facts],
    books: Recipe,
    bookkeeping: Bookkeeping,
    models: Sequence[Input],
) -> SamplePlan:
    varied = configuration.wants_variations(sample.name)
    kinematics = wanted_kinematics(configuration) if varied else ()
    simulated = sample.kind != "data"
    tracking = matching(bookkeeping.varied, kinematics) if kinematics else ()
    weights = _wanted_weights(configuration, sample, bookkeeping)
    to_select = SelectSettings(
        configuration.selection, configuration.regions, sample.weight_bits, simulated, simulated, weights, tracking
    )
    to_fill = FillSettings(
        pt_edges=configuration.pt_edges,
        taggers=configuration.taggers,
        selection=configuration.selection,
        energy=configuration.energy if varied else replace(configuration.energy, scale=0, resolution=0),
        weight_bits=sample.weight_bits,
        labelled=simulated,
        weight_names=tuple(bookkeeping.weight_names[place] for place in weights),
        kinematics=kinematics,
        bootstrap=configuration.bootstrap
        if sample.name in (configuration.nominal, configuration.data)
        else Bootstrap(0, 0),
        dataset=bookkeeping.dataset,
    )
    chunks: list[Chunk] = []
    by_slice: dict[int, list[Recipe]] = {}
    for path in sorted(sample.files, key=lambda path: (facts[path].slice, facts[path].file_number)):
        for start, stop in _ranges(facts[path].borders, configuration.chunk_events):
            recipes = _chunk_recipes(path, digests[path], start, stop, to_select, to_fill, models)
            chunks.append(Chunk(path, start, stop, to_select, to_fill, recipes, configuration.keep_tables))
            by_slice.setdefault(facts[path].slice, []).append(recipes[2])
    merged = {}
    code = stage_code("merge")
    for number, parts in by_slice.items():
        inputs = tuple(Input("histograms", part.key, part.label) for part in parts)
        merged[number] = Recipe("merge", code, None, inputs, f"{sample.name}, slice {number}")
    return SamplePlan(
        sample, bookkeeping, books, tuple(chunks), merged, {number: tuple(parts) for number, parts in by_slice.items()}
    )


def _chunk_recipes(
    path: Path,
    digest: str,
    start: int,
    stop: int,
    to_select: SelectSettings,
    to_fill: FillSettings,
    models: Sequence[Input],
) -> tuple[Recipe, Recipe | None, Recipe]:
    label = f"{path}[{start}:{stop}]"
    selected = Recipe(
        "select",
        stage_code("select"),
        {"start": start, "stop": stop, "settings": to_select},
        (Input("file", digest, str(path)),),
        label,
    )
    inputs = [Input("dijets", selected.key, label)]
    scored = None
    if models:
        scored = Recipe(
            "predict",
            stage_code("predict"),
            {"kinematics": to_fill.kinematics, "energy": to_fill.energy},
            (*inputs, *models),
            label,
        )
        inputs.append(Input("scores", scored.key, label))
    # Where a model lies does not matter, only what it is, and that is in the key of the scores.
    bins = [(tagger.name, tagger.bins, tagger.low, tagger.high) for tagger in to_fill.taggers]
    settings = {name: value for name, value in vars(to_fill).items() if name != "taggers"}
    filled = Recipe("fill", stage_code("fill"), {**settings, "taggers": bins}, tuple(inputs), label)
    return selected, scored, filled


def _ranges(borders: Sequence[int], size: int) -> list[tuple[int, int]]:
    """Ranges of about `size` events.

    They begin and end where baskets do, so that none is read twice, unless that is too rare.
    """
    out: list[tuple[int, int]] = []
    start = borders[0]
    for before, border in pairwise(borders):
        if border - start > size and before > start:
            out += _split(start, before, size)
            start = before
    return out + _split(start, borders[-1], size)


def _split(start: int, stop: int, size: int) -> list[tuple[int, int]]:
    """Equal parts, as few as keep each below one and a half times `size`."""
    parts = max(1, round((stop - start) / size))
    edges = [start + (stop - start) * part // parts for part in range(parts + 1)]
    return list(pairwise(edges))
