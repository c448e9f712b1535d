"""The results of a calibration, collected for the report and the exports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.calibration.config import Configuration
from beampipe.calibration.method.dropped import CutNumbers, cut_numbers_of
from beampipe.calibration.method.factors import FactorKey, Factors
from beampipe.calibration.method.joint import JointUncertainties, joint_uncertainties
from beampipe.calibration.method.matrix import Efficiencies, cumulated, scale_factors, truth
from beampipe.calibration.method.reweight import FORWARD
from beampipe.calibration.method.templates import Templates, templates_of
from beampipe.calibration.tasks.method import read_slices
from beampipe.calibration.tasks.plan import Plan, SamplePlan, VariationSets, stored_parts
from beampipe.notebook import Shown
from beampipe.tables import load_tables
from beampipe.workflow import Recipe, Store


@dataclass(frozen=True, eq=False)
class SampleResult:
    """The numbers of one sample in a report.

    Attributes:
        templates: numbers of jets of the nominal variation, without replicas.
        cuts: its cut flow.
        weight_units: description of the units that its weights were rounded to.
    """

    templates: Templates
    cuts: CutNumbers
    weight_units: str = ""


@dataclass(frozen=True)
class Cost:
    """The cost of a stage of the calibration.

    Attributes:
        stage: name of the stage.
        artifacts: number of artifacts of the stage that the result needs.
        kept: number of these artifacts that are in the store.
        size: size of the artifacts in the store [bytes].
        seconds: time spent on making them, summed over the workers [s].
    """

    stage: str
    artifacts: int
    kept: int
    size: int
    seconds: float


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
        costs: costs of the stages, in the order of the stages.
        input_bytes: size of all ROOT files [bytes]; None if one of them no longer exists.
        input_files: number of ROOT files.
        provenance: pairs (name, key) of the artifacts that the result depends on.
        versions: versions of the software that computed the factors, by name.
    """

    configuration: Configuration
    factors: Factors
    joint: JointUncertainties
    efficiencies: Mapping[str, Efficiencies]
    samples: Mapping[str, SampleResult]
    true: Mapping[FactorKey, Float64[ndarray, " p"]]
    costs: Sequence[Cost]
    input_bytes: int | None
    input_files: int
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
    samples = {
        name: _sample_result(store, part) for name, part in plan.samples.items() if name in configuration.samples
    }
    true: dict[FactorKey, Float64[ndarray, " p"]] = {}
    if configuration.samples[configuration.data].kind == "pseudo-data":
        data = samples[configuration.data].templates
        true = {key: _true_factor(key, factors, efficiencies[key.tagger], data) for key in factors.by_name}
    paths = sorted({path for part in plan.samples.values() for path in part.sample.files})
    by_stage: dict[str, list[Recipe]] = {}
    for recipe in {recipe.key: recipe for recipe in _recipes(plan, store)}.values():
        by_stage.setdefault(recipe.stage, []).append(recipe)
    costs = []
    for stage, recipes in by_stage.items():
        kept = [artifact for artifact in map(store.find, recipes) if artifact is not None]
        size, seconds = sum(artifact.size for artifact in kept), sum((artifact.seconds for artifact in kept), 0.0)
        costs.append(Cost(stage, len(recipes), len(kept), size, seconds))
    try:
        input_bytes = sum(path.stat().st_size for path in paths)
    except OSError:
        input_bytes = None
    return Results(
        configuration=replace(configuration, samples=dict(configuration.samples)),  # can be pickled, unlike a proxy
        factors=factors,
        joint=joint_uncertainties(configuration, efficiencies, factors),
        efficiencies=efficiencies,
        samples=samples,
        true=true,
        costs=tuple(costs),
        input_bytes=input_bytes,
        input_files=len(paths),
        provenance=_provenance(plan),
        versions=store.about(plan.factors.key)["versions"],
    )


def _sample_result(store: Store, part: SamplePlan) -> SampleResult:
    by_slice = read_slices(store, part)
    every = templates_of(by_slice, part.bookkeeping, part.sample.weight_bits)
    templates = Templates(
        every.axes, every.variations[:1], every.values[:1], every.squares[:1], every.replicas[:0], every.entries
    )
    cuts = cut_numbers_of(by_slice, part.bookkeeping, part.sample.weight_bits)
    units = "; ".join(
        f"slice {each.number}: weights in units of 2^{each.exponent - part.sample.weight_bits}, median"
        f" {each.median_weight:.4g}"
        for each in part.bookkeeping.slices
    )
    return SampleResult(templates, cuts, units)


def _true_factor(key: FactorKey, factors: Factors, measured: Efficiencies, data: Templates) -> Float64[ndarray, " p"]:
    """A scale factor by label: pseudo-data over nominal simulation, forward jets."""
    by_label, (w, f) = truth(data.flavours(key.tagger)[0]), factors.indices_of(key)
    shares = cumulated((by_label.quark, by_label.gluon)[f], measured.cuts)
    return scale_factors(shares[:, w], measured.truth[0, :, w, f], key.quantity)


def _recipes(plan: Plan, store: Store) -> Iterator[Recipe]:
    sets = VariationSets(store)
    for part in plan.samples.values():
        yield from part.facts
        yield part.books
        for chunk in part.chunks:
            yield chunk.select
            if chunk.models:
                scored = stored_parts(store, sets, chunk, "predict").parts
                yield from map(chunk.predict_of, scored or (chunk.variations,))
            yield from map(chunk.fill_of, stored_parts(store, sets, chunk).parts or (chunk.variations,))
        yield from part.merged.values()
    yield from (plan.reweight, plan.extract, plan.factors)


def _provenance(plan: Plan) -> tuple[tuple[str, str], ...]:
    recipes = [("scale factors", plan.factors), ("efficiencies", plan.extract), ("re-weighting", plan.reweight)]
    for name, part in plan.samples.items():
        recipes.append((f"bookkeeping of {name}", part.books))
        recipes += [(f"histograms of {name}, slice {number}", recipe) for number, recipe in part.merged.items()]
    return tuple((what, recipe.key) for what, recipe in recipes)


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
