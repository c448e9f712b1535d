"""Where a scale factor comes from: its numbers, and the chain of artifacts down to files and cuts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from beampipe.calibration.config import Configuration
from beampipe.calibration.method.efficiencies import Efficiencies, read_arrays
from beampipe.calibration.method.factors import FLAVOUR_NAMES, Factors
from beampipe.calibration.run import workspace_of
from beampipe.calibration.tasks.plan import Plan
from beampipe.errors import ConfigError, UnknownNameError
from beampipe.workflow import Provenance

__all__ = ["SCALE_FACTORS", "Which", "explain"]

SCALE_FACTORS = {"SF_q": ("quark", "efficiency"), "SF_g": ("gluon", "rejection")}
"""Usual names -> flavour and quantity."""


@dataclass(frozen=True)
class Which:
    """One number.

    Attributes:
        name: SF_q or SF_g.
        tagger: name.
        working_point: one of the configuration's.
        pt: of the jet [GeV].
    """

    name: str
    tagger: str
    working_point: float
    pt: float


def explain(plan: Plan, which: Which, *, full: bool = False) -> Iterator[str]:
    """Lines of text.

    Args:
        plan: of a calibration that was run.
        which: the number.
        full: name every file and chunk, not only how many there are.

    Raises:
        UnknownNameError: there is no such scale factor, tagger or working point.
        ConfigError: pT is outside all bins.
    """
    configuration = plan.configuration
    store = workspace_of(configuration).store
    factors = Factors.read(store.require(plan.factors, "beampipe calibration factors CONFIG"))
    if which.name not in SCALE_FACTORS:
        raise UnknownNameError("scale factor", which.name, SCALE_FACTORS)
    if which.tagger not in factors.taggers:
        raise UnknownNameError("tagger", which.tagger, factors.taggers)
    if which.working_point not in factors.working_points:
        raise UnknownNameError("working point", str(which.working_point), map(str, factors.working_points))
    measured = read_arrays(Efficiencies, store.require(plan.extract))[which.tagger]
    yield from _numbers(configuration, factors, measured, which)
    yield ""
    yield "made from:"
    yield from _tree(store.walk(plan.factors.key), "  ", full=full)


def _numbers(configuration: Configuration, factors: Factors, measured: Efficiencies, which: Which) -> Iterator[str]:
    edges = factors.pt_edges
    p = next((k for k in range(len(edges) - 1) if edges[k] <= which.pt < edges[k + 1]), None)
    if p is None:
        raise ConfigError(f"pt: got {which.pt:g} GeV, expected {edges[0]:g} to {edges[-1]:g}")
    flavour, quantity = SCALE_FACTORS[which.name]
    one = factors.by_name[which.tagger, which.working_point, flavour, quantity]
    w = factors.working_points.index(which.working_point)
    cut = factors.cuts[which.tagger][p, w]
    forward, central = factors.fractions[which.tagger][p]
    yield (
        f"{which.name}({which.tagger}, {which.working_point:.0%}, {edges[p]:g}-{edges[p + 1]:g} GeV)"
        f" = {one.nominal[p]:.4f} +- {one.total[p]:.4f}"
    )
    yield f"  ratio of {flavour} {quantity}: data {one.data[p]:.4f} / simulation {one.simulation[p]:.4f}"
    yield f"  by label in simulation: {one.truth[p]:.4f}"
    yield f"  quark-like: {which.tagger} < {cut:g}, frozen from nominal simulation"
    yield (
        f"  quark fractions after re-weighting: forward {forward:.4f}, central {central:.4f},"
        f" determinant {forward - central:.4f}"
    )
    f = FLAVOUR_NAMES.index(flavour)
    spread = measured.data_replicas[:, p, w, f]
    yield f"  statistical  {one.statistical[p]:.4f}  ({len(spread)} replicas)"
    for source in configuration.systematics:
        members = source.weights or source.kinematics or source.samples or (source.method,)
        yield f"  {source.name:12} {one.sources[source.name][p]:.4f}  ({source.rule} of {', '.join(members)})"


def _tree(node: Provenance, indent: str, *, full: bool) -> Iterator[str]:
    """A node, its parameters, and what it was made of; many alike in one line."""
    if node.about is None:
        yield f"{indent}file {node.label} sha256 {node.key[:16]}"
        return
    yield f"{indent}{node.about['stage']} {node.key[:12]} {node.about['label']}"
    parameters = node.about["parameters"]
    if isinstance(parameters, dict):
        for name, value in _cuts(parameters):
            yield f"{indent}    {name} = {value}"
    stages = Counter(_stage(each) for each in node.inputs)
    shown: Counter[str] = Counter()
    for each in node.inputs:
        stage = _stage(each)
        shown[stage] += 1
        if full or shown[stage] == 1 or stages[stage] <= 3 or stage in ("merge", "bookkeeping"):
            yield from _tree(each, indent + "  ", full=full)
        elif shown[stage] == 2:
            yield f"{indent}  ... and {stages[stage] - 1} more of stage {stage} (--full names them)"


def _stage(node: Provenance) -> str:
    return "file" if node.about is None else str(node.about["stage"])


def _cuts(parameters: dict[str, object]) -> Iterator[tuple[str, object]]:
    """Parameters that a reader asks about; long lists by their length."""
    for name, value in parameters.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{key}", inner) for key, inner in _cuts(value))
        elif isinstance(value, list) and len(str(value)) > 120:
            yield name, f"{len(value)} entries, first {value[0]}"
        elif value not in (None, [], ""):
            yield name, value
