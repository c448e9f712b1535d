"""The origin of a scale factor: its numbers, and the chain of artifacts down to input files and cuts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from beampipe.calibration.config import Configuration, Systematic
from beampipe.calibration.method.factors import FLAGS, SHORT_NAMES, FactorInBin, Factors
from beampipe.calibration.method.matrix import Efficiencies
from beampipe.calibration.tasks.plan import Plan
from beampipe.calibration.tasks.runtime import read_only, workspace_of
from beampipe.errors import look_up
from beampipe.jets.ntuple_format import VARIED_N_TRK
from beampipe.notebook import Shown
from beampipe.tables import load_tables
from beampipe.workflow import Provenance


@dataclass(frozen=True, repr=False)
class Explanation(Shown):
    """A scale factor in one bin, and its provenance.

    Attributes:
        name: short name of the scale factor, ``SF_q`` or ``SF_g``.
        factor: its numbers.
        replicas: number of bootstrap replicas of its statistical uncertainty.
        configuration: settings of the calibration.
        made_from: the tree of artifacts down to files.
    """

    name: str
    factor: FactorInBin
    replicas: int
    configuration: Configuration
    made_from: Provenance

    def lines(self, *, full: bool = False) -> Iterator[str]:
        """The explanation as lines of text.

        Args:
            full: list every file and chunk, not only their number, and repeat unchanged parameters of a stage.
        """
        yield from _numbers(self)
        yield ""
        for cost, cuts in cost_of_changes(self.configuration).items():
            yield f"{cost}:"
            yield from (f"  {cut}" for cut in cuts)
        yield ""
        yield "made from:" if full else "made from (parameters that equal those of the same stage before are left out):"
        yield from _tree(self.made_from, "  ", {}, full=full)

    def facts(self) -> Mapping[str, object]:
        """The scale factor with its bin, its value, total uncertainty and flags."""
        factor = self.factor
        where = f"{self.name}({factor.tagger}, {factor.working_point:.0%}, {factor.bin})"
        return {where: f"{factor.nominal:.4f} +- {factor.total:.4f}", "flags": ", ".join(factor.flags) or "none"}

    def plain(self) -> dict[str, Any]:
        """The explanation as JSON types, with all files and chunks."""
        sources = self.configuration.systematics
        rules = {source.name: {"rule": source.rule, "of": _members(source)} for source in sources}
        about = {"name": self.name, "factor": self.factor, "replicas": self.replicas, "systematics": rules}
        return {**about, "cuts": cost_of_changes(self.configuration), "made_from": _node(self.made_from)}


def explain(
    plan: Plan, name: str = "SF_q", *, tagger: str = "n_trk", working_point: float = 0.5, pt: float, eta: float = 0.0
) -> Explanation:
    """A scale factor and its provenance.

    Args:
        plan: plan of a calibration that was run.
        name: short name of the scale factor, ``SF_q`` or ``SF_g``.
        tagger: name of the tagger.
        working_point: target quark efficiency, one of the configuration's.
        pt: transverse momentum of the jet [GeV].
        eta: pseudorapidity of the jet.

    Raises:
        UnknownNameError: there is no such scale factor, tagger or working point.
        ConfigError: pT or eta is outside all bins.
        FileError: the calibration was not run.
    """
    configuration = plan.configuration
    with read_only(workspace_of(configuration)) as space:
        store = space.store
        factors = Factors.read(store.require(plan.factors, "beampipe calibration factors CONFIG"))
        what = look_up("scale factor", name, SHORT_NAMES)
        factor = factors.at(tagger=tagger, working_point=working_point, pt=pt, eta=eta, **what._asdict())
        n_replicas = len(load_tables(store.require(plan.extract), Efficiencies)[tagger].data_replicas)
        return Explanation(name, factor, n_replicas, configuration, store.walk(plan.factors.key))


def cost_of_changes(configuration: Configuration) -> dict[str, list[str]]:
    """The cuts of a configuration, by what a change of them costs."""
    selection, regions, branches = configuration.selection, configuration.regions, configuration.layout.branches
    varied = bool(configuration.weight_patterns) or any(
        fnmatch(name, pattern) for name in VARIED_N_TRK for pattern in configuration.kinematic_patterns
    )
    read = "no file"
    if not configuration.keep_tables:
        read = "every file, as keep_tables = false"
    elif varied and not configuration.keep_variations:
        read = "only the branches of variations, and none with keep_variations = true"
    by_rule = {
        "eta_rank": f"eta_rank, min_eta_gap {regions.min_eta_gap:g}",
        "eta_split": f"eta_split, split {regions.split:g}",
        "branch": f"branch {', '.join(branches.region)} (frozen, as its numbers are in the tables)",
    }
    return {
        "frozen into the selection; a change reads every file again": [
            f"trigger: {' or '.join(branches.trigger) or 'none'}",
            *(f"selection.{name}: {value:g}" for name, value in vars(selection).items()),
            f"clean: {', '.join(branches.clean) or 'none'}",
        ],
        f"applied to stored tables; a change fills histograms again and reads {read}": [
            f"regions: {by_rule[regions.rule]}",
            f"cuts: {', '.join(configuration.cuts) or 'none'}",
            f"kept for cuts: {', '.join(configuration.kept) or 'none'}",
            "bins: pt_edges, eta_edges, bins of taggers",
        ],
        "applied to histograms; a change fills none": [
            f"working points: {', '.join(f'{point:g}' for point in configuration.working_points)}",
            "extraction, and rules of systematics",
        ],
    }


def _numbers(explained: Explanation) -> Iterator[str]:
    """Lines with the value, its numerator and denominator, and its uncertainties."""
    factor, ((where, value), *_) = explained.factor, explained.facts().items()
    yield f"{where} = {value}"
    yield f"  ratio of {factor.flavour} {factor.quantity}: data {factor.data:.4f} / simulation {factor.simulation:.4f}"
    for flag in factor.flags:
        yield f"  flag {flag}: {FLAGS[flag]}"
    yield f"  by label in simulation: {factor.truth:.4f}"
    yield f"  quark-like: {factor.tagger} < {factor.cut:g}, frozen from nominal simulation"
    forward, central = factor.forward_fraction, factor.central_fraction
    yield (
        f"  quark fractions after re-weighting: forward {forward:.4f}, central {central:.4f},"
        f" determinant {forward - central:.4f}"
    )
    yield f"  statistical  {factor.statistical:.4f}  ({explained.replicas} replicas)"
    for source in explained.configuration.systematics:
        yield f"  {source.name:12} {factor.sources[source.name]:.4f}  ({source.rule} of {', '.join(_members(source))})"


def _members(source: Systematic) -> tuple[str, ...]:
    """Names of the variations of a source of uncertainty."""
    return source.weights or source.kinematics or source.samples or source.extractions or (source.method,)


def _node(node: Provenance) -> dict[str, Any]:
    """A node of the provenance with its inputs, as JSON types."""
    if node.about is None:
        return {"stage": _stage(node), "label": node.label, "key": node.key}
    about = {"stage": _stage(node), "label": node.about["label"], "key": node.key}
    return {**about, "parameters": node.about["parameters"], "inputs": [_node(below) for below in node.inputs]}


def _tree(node: Provenance, indent: str, last: dict[tuple[str, str], object], *, full: bool) -> Iterator[str]:
    """Lines for a node, its parameters and its inputs; many inputs of one kind share a line."""
    if node.about is None:
        kind = {32: "xxh3 ", 64: "sha256 "}.get(len(node.key), "")
        yield f"{indent}file {node.label} {kind}{node.key}"
        return
    yield f"{indent}{node.about['stage']} {node.key[:12]} {node.about['label']}"
    parameters = node.about["parameters"]
    own = {(_stage(node), name): value for name, value in _cuts(parameters if isinstance(parameters, dict) else {})}
    yield from (f"{indent}    {key[1]} = {own[key]}" for key in own if full or last.get(key) != own[key])
    last.update(own)
    stages = Counter(_stage(each) for each in node.inputs)
    shown: Counter[str] = Counter()
    for each in node.inputs:
        stage = _stage(each)
        shown[stage] += 1
        if full or shown[stage] == 1 or stages[stage] <= 3 or stage in ("merge", "bookkeeping"):
            yield from _tree(each, indent + "  ", last, full=full)
        elif shown[stage] == 2:
            yield f"{indent}  ... and {stages[stage] - 1} more of stage {stage} (--all names them)"


def _stage(node: Provenance) -> str:
    """The stage that made an artifact; ``file`` for an input file."""
    return "file" if node.about is None else str(node.about["stage"])


def _cuts(parameters: dict[str, object]) -> Iterator[tuple[str, object]]:
    """Parameters that matter to a reader; long lists are replaced by their length."""
    for name, value in parameters.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{key}", inner) for key, inner in _cuts(value))
        elif isinstance(value, list) and len(str(value)) > 120:
            yield name, f"{len(value)} entries, first {value[0]}"
        elif value not in (None, [], ""):
            yield name, value
