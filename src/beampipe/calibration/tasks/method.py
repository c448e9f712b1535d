"""Stages 4 to 6: from merged histograms to scale factors, each an artifact of the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from beampipe.calibration.config import Configuration
from beampipe.calibration.events.histograms import Filled, read_filled
from beampipe.calibration.method.dropped import CutNumbers, cut_numbers_of
from beampipe.calibration.method.extractions import extraction_named
from beampipe.calibration.method.matrix import Efficiencies, measure_efficiencies
from beampipe.calibration.method.reweight import Reweighting, measure_reweighting
from beampipe.calibration.method.templates import (
    Cases,
    Templates,
    cases_of,
    simulation_of,
    templates_of,
)
from beampipe.calibration.method.uncertainties import factors_of
from beampipe.calibration.tasks.plan import Plan, SamplePlan
from beampipe.files import write_whole
from beampipe.tables import load_tables, save_tables
from beampipe.workflow import Store


def reweight(store: Store, plan: Plan) -> None:
    """Stage 4: the factors that make central jets look like forward jets."""
    configuration = plan.configuration

    def make(path: Path) -> None:
        nominal = read_templates(store, plan.samples[configuration.nominal])
        others = {name: read_templates(store, plan.samples[name]) for name in plan.cases}
        taggers = configuration.tagger_names
        save_tables(path, **{name: measure_reweighting(*simulation_of(name, nominal, others)) for name in taggers})

    store.get(plan.reweight, ".npz", make)


def extract_efficiencies(store: Store, plan: Plan) -> None:
    """Stage 5: the efficiencies of quark and gluon jets in all cases."""

    def make(path: Path) -> None:
        frozen = load_tables(store.require(plan.reweight), Reweighting)
        configuration, cases = plan.configuration, read_cases(store, plan)
        extraction, points = extraction_named(configuration.extraction), configuration.working_points
        others = {name: extraction_named(name) for name in configuration.other_extractions}
        measured = {
            each.name: measure_efficiencies(
                cases[each.name], frozen[each.name], points, each.cut, extraction, others, each.cut_shape
            )
            for each in configuration.taggers
        }
        save_tables(path, **measured)

    store.get(plan.extract, ".npz", make)


def publish_factors(store: Store, plan: Plan, public: Path) -> None:
    """Stage 6: the scale factors, and a copy of the artifact under a fixed name.

    Args:
        store: store of the artifacts.
        plan: plan of the calibration.
        public: path of the copy.
    """

    def make(path: Path) -> None:
        measured = load_tables(store.require(plan.extract), Efficiencies)
        configuration, cuts = plan.configuration, {}
        for name in configuration.used_samples:
            part = plan.samples[name]
            cuts[name] = cut_numbers_of(read_slices(store, part), part.bookkeeping, part.sample.weight_bits)
        factors = replace(
            factors_of(configuration, measured),
            dropped=tuple(each for name, numbers in cuts.items() for each in numbers.dropped(name)),
            max_dropped=configuration.max_dropped,
            notes=tuple(_notes(configuration, cuts)),
        )
        factors.write(path)

    content = store.get(plan.factors, ".json", make).read_bytes()
    if not public.exists() or public.read_bytes() != content:
        write_whole(public, lambda path: path.write_bytes(content))


def _notes(configuration: Configuration, cuts: Mapping[str, CutNumbers]) -> Iterator[str]:
    """What a reader of the scale factors must know first."""
    if not configuration.layout.branches.trigger:
        yield "no trigger cut: layout.branches.trigger names no branch, so all events of data and simulation pass"
    data, simulation = (float(cuts[name].weights[-1]) for name in (configuration.data, configuration.nominal))
    if simulation > 0 and not 1 / _LIKELY_RATIO < data / simulation < _LIKELY_RATIO:
        yield (
            f"data has {data / simulation:.3g} times as many selected events as simulation: check luminosity [1/pb],"
            " cross sections [pb], filter efficiencies, and whether all files are there"
        )


_LIKELY_RATIO: Final = 3.0
"""Ratio of selected events in data and simulation beyond which a unit is likely to be wrong, or files are missing."""


def read_slices(store: Store, part: SamplePlan) -> dict[int, Filled]:
    """The merged histograms of a sample, by slice."""
    return {number: read_filled(store.require(recipe)) for number, recipe in part.merged.items()}


def read_templates(store: Store, part: SamplePlan) -> Templates:
    """Numbers of jets of a sample, from its merged histograms."""
    return templates_of(read_slices(store, part), part.bookkeeping, part.sample.weight_bits)


def read_cases(store: Store, plan: Plan) -> dict[str, Cases]:
    """The cases of each tagger, from the merged histograms of all samples."""
    configuration = plan.configuration
    nominal, data = (read_templates(store, plan.samples[name]) for name in (configuration.nominal, configuration.data))
    others = {name: read_templates(store, plan.samples[name]) for name in plan.cases}
    return {tagger: cases_of(tagger, nominal, data, others) for tagger in configuration.tagger_names}
