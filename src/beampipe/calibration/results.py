"""Stages 4 to 6, from merged histograms to scale factors; and the results, collected for the report and the exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.calibration.config import Configuration
from beampipe.calibration.events.histograms import Filled, read_filled
from beampipe.calibration.method.cases import (
    Cases,
    CutNumbers,
    Templates,
    cases_of,
    cut_numbers_of,
    simulation_of,
    templates_of,
)
from beampipe.calibration.method.extractions import extraction_named, refolding_of
from beampipe.calibration.method.factors import FactorKey, Factors
from beampipe.calibration.method.joint import JointUncertainties, joint_uncertainties
from beampipe.calibration.method.matrix import Efficiencies, cumulated, measure_efficiencies, scale_factors, truth
from beampipe.calibration.method.reweight import FORWARD, Reweighting, measure_reweighting
from beampipe.calibration.method.uncertainties import factors_of
from beampipe.calibration.tasks.plan import Plan, SamplePlan
from beampipe.files import write_whole
from beampipe.notebook import Shown
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
                *(cases[each.name], frozen[each.name], points, each.cut, extraction, others, each.cut_shape),
                refolding_of(configuration.extraction),
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
        notes = []  # what a reader of the scale factors must know first
        if not configuration.layout.branches.trigger:
            notes.append(
                "no trigger cut: layout.branches.trigger names no branch, so all events of data and simulation pass"
            )
        data, simulation = (float(cuts[name].weights[-1]) for name in (configuration.data, configuration.nominal))
        if simulation > 0 and not 1 / _LIKELY_RATIO < data / simulation < _LIKELY_RATIO:
            notes.append(
                f"data has {data / simulation:.3g} times as many selected events as simulation: check luminosity"
                " [1/pb], cross sections [pb], filter efficiencies, and whether all files are there"
            )
        factors = replace(
            factors_of(configuration, measured),
            dropped=tuple(each for name, numbers in cuts.items() for each in numbers.dropped(name)),
            max_dropped=configuration.max_dropped,
            notes=tuple(notes),
        )
        factors.write(path)

    content = store.get(plan.factors, ".json", make).read_bytes()
    if not public.exists() or public.read_bytes() != content:
        write_whole(public, lambda path: path.write_bytes(content))


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


@dataclass(frozen=True, eq=False)
class SampleResult:
    """The numbers of one sample in a report.

    Attributes:
        templates: numbers of jets of the nominal variation, without replicas.
        cuts: its cut flow.
    """

    templates: Templates
    cuts: CutNumbers


@dataclass(frozen=True, eq=False, repr=False)
class Results(Shown):
    """All contents of a report.

    Attributes:
        configuration: configuration of the calibration.
        factors: the scale factors.
        joint: uncertainties of all scale factors together.
        efficiencies: the efficiencies by tagger.
        samples: numbers of each sample, by name: nominal, data, then the others.
        true: (n_pt,) scale factors by label; empty unless the sample that is used as data has labels.
        provenance: pairs (name, key) of the artifacts that the result depends on.
        versions: versions of the software that computed the factors, by name.
    """

    configuration: Configuration
    factors: Factors
    joint: JointUncertainties
    efficiencies: Mapping[str, Efficiencies]
    samples: Mapping[str, SampleResult]
    true: Mapping[FactorKey, Float64[ndarray, " p"]]
    provenance: Sequence[tuple[str, str]]
    versions: Mapping[str, str]

    def by_eta(self) -> tuple[Results, ...]:
        """The results of each bin of \\|eta\\|."""
        parts, n_pt = [], len(self.factors.pt_edges) - 1
        for k, factors in enumerate(self.factors.by_eta()):
            bins = slice(k * n_pt, (k + 1) * n_pt)
            parts.append(
                replace(
                    self,
                    factors=factors,
                    efficiencies={name: each.part(bins) for name, each in self.efficiencies.items()},
                    samples={
                        name: replace(each, templates=each.templates.part(bins, factors.eta_edges))
                        for name, each in self.samples.items()
                    },
                    true={key: values[bins] for key, values in self.true.items()},
                )
            )
        return tuple(parts)

    def facts(self) -> Mapping[str, object]:
        """Names of the samples, and the scale factors in a line."""
        return {"samples": ", ".join(self.samples), "factors": self.factors}


def collect_results(plan: Plan, store: Store) -> Results:
    """Read the results of a calibration.

    Args:
        plan: plan of the calibration.
        store: store that holds its artifacts.

    Raises:
        FileError: the store lacks an artifact.
    """
    configuration = plan.configuration
    efficiencies = load_tables(store.require(plan.extract), Efficiencies)
    factors = Factors.read(store.require(plan.factors))
    samples = {}
    for name, part in plan.samples.items():
        if name in configuration.samples:
            by_slice, bits = read_slices(store, part), part.sample.weight_bits
            every = templates_of(by_slice, part.bookkeeping, bits)
            first = (every.variations[:1], every.values[:1], every.squares[:1], every.replicas[:0], every.entries)
            cuts = cut_numbers_of(by_slice, part.bookkeeping, bits)
            samples[name] = SampleResult(Templates(every.axes, *first), cuts)
    true: dict[FactorKey, Float64[ndarray, " p"]] = {}
    if configuration.samples[configuration.data].kind == "pseudo-data":
        for key in factors.by_name:  # by label: pseudo-data over nominal simulation, forward jets
            w, f = factors.indices_of(key)
            by_label = truth(samples[configuration.data].templates.flavours(key.tagger)[0])
            measured = efficiencies[key.tagger]
            shares = cumulated((by_label.quark, by_label.gluon)[f], measured.cuts)[:, w]
            true[key] = scale_factors(shares, measured.truth[0, :, w, f], key.quantity)
    recipes = [("scale factors", plan.factors), ("efficiencies", plan.extract), ("re-weighting", plan.reweight)]
    for name, part in plan.samples.items():
        recipes.append((f"bookkeeping of {name}", part.books))
        recipes += [(f"histograms of {name}, slice {number}", recipe) for number, recipe in part.merged.items()]
    return Results(
        configuration=replace(configuration, samples=dict(configuration.samples)),  # can be pickled, unlike a proxy
        factors=factors,
        joint=joint_uncertainties(configuration, efficiencies, factors),
        efficiencies=efficiencies,
        samples=samples,
        true=true,
        provenance=tuple((what, recipe.key) for what, recipe in recipes),
        versions=store.about(plan.factors.key)["versions"],
    )


def point_name(tagger: str, working_point: float) -> str:
    """A working point of a tagger as part of a file name: ``n_trk_50``."""
    return f"{tagger}_{100 * working_point:g}"


def key_name(key: FactorKey) -> str:
    """A scale factor as part of a file name: ``n_trk_50_quark_efficiency``."""
    return f"{point_name(key.tagger, key.working_point)}_{key.flavour}_{key.quantity}"


def percent(working_point: float) -> str:
    """A working point as text: ``0.5`` becomes ``50 %``."""
    return f"{100 * working_point:g} %"


class BetweenSamples(NamedTuple):
    """MC-to-MC factors (nominal / other simulation) against pT.

    With them, scale factors can be used with another generator: data / other = (data / nominal) x (nominal / other).
    They are ratios of efficiencies or rejections by label, of forward jets, at the cuts of the working points. The
    errors include both samples, from the sums of squared weights.

    Attributes:
        values: (n_pt,) efficiency or rejection of nominal simulation / that of the other.
        errors: (n_pt,) statistical errors of the ratios.
    """

    values: Float64[ndarray, " p"]
    errors: Float64[ndarray, " p"]


def other_samples(results: Results) -> tuple[str, ...]:
    """Names of the samples of simulation beside the nominal one."""
    configuration = results.configuration
    return tuple(name for name in configuration.other_samples if name in results.samples)


def between_samples(results: Results, sample: str, key: FactorKey) -> BetweenSamples:
    """The MC-to-MC factors of one sample; nan in bins without jets.

    Args:
        results: results of the calibration.
        sample: name of the other sample.
        key: tagger, working point, flavour and quantity.
    """
    w, f = results.factors.indices_of(key)
    cuts = results.efficiencies[key.tagger].cuts[:, w][:, None]
    (nominal, nominal_error), (other, other_error) = (
        _share(results.samples[name].templates, key, cuts, f) for name in (results.configuration.nominal, sample)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where((nominal > 0) & (other > 0), nominal / other, np.nan)
        return BetweenSamples(ratio, ratio * np.sqrt((nominal_error / nominal) ** 2 + (other_error / other) ** 2))


def _share(
    templates: Templates, key: FactorKey, cuts: ndarray, flavour: int
) -> tuple[Float64[ndarray, " p"], Float64[ndarray, " p"]]:
    """Efficiency or rejection of forward jets of a flavour, and its statistical error."""
    sums = []
    for weighted in (templates, replace(templates, values=templates.squares)):
        jets = weighted.flavours(key.tagger)[0, :, FORWARD, flavour]
        passed = cumulated(jets, cuts)[:, 0]
        sums.append((passed, np.cumsum(jets, axis=-1)[:, -1] - passed))
    (passed, failed), (passed_square, failed_square) = sums
    total = passed + failed
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(failed**2 * passed_square + passed**2 * failed_square) / total**2
        return (failed if key.quantity == "rejection" else passed) / total, error
