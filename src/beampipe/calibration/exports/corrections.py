"""Scale factors as files for `correctionlib` (schema 2): with all systematics, as components, and between simulations.

There is one correction per tagger and quantity, e.g. ``n_trk_efficiency``. It has four inputs, five with bins of eta:

    systematic     nominal, or SOURCE_up or SOURCE_down for each source, for stat, extrapolation and total
    flavour        quark or gluon
    working_point  as text, e.g. 0.5
    abs_eta        \\|eta\\| of the jet
    pt             transverse momentum of the jet [GeV]

Its twin, e.g. ``n_trk_efficiency_by_id``, takes numbers as `flavour`, and therefore arrays: 1 to 5 for quarks, 21 for
gluons. It gives 1 for any other number. correctionlib cuts floats to integers without a warning.

Evaluation fails below the first edge of pT. Above the last edge E it gives the value of the last bin.
There is no measurement there, so the uncertainty grows: ``extrapolation`` is 0 in the bins, and above E

    growth x log2(pT / E)        growth: the largest step between neighbouring bins, or the total uncertainty of the
                                 last bin, if that is larger

which is added to ``total`` in quadrature. Evaluation also fails in a bin without a valid error, or with the flag
``not_published``, for every systematic: the bin contains a nested binning that no pT matches. Flags of the other bins
are in the description.

*Components* keep the correlations: `systematic` is ``nominal``, ``pcK_up`` or ``pcK_down``. Component K is one nuisance
parameter of all corrections: it moves all taggers, flavours, working points, quantities and bins at once. The squares
of all shifts add up to the covariance.

*Between simulations*: a scale factor is data / nominal simulation. Jets of another simulation have to be weighted with

    data / other = (data / nominal) x (nominal / other)

The second factor is the ratio of efficiencies or rejections by label, of forward jets, at the cuts of the working
points; see `beampipe.calibration.results.between_samples`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.calibration.method.factors import (
    FLAVOUR_NAMES,
    QUANTITIES,
    FactorKey,
    Factors,
    ScaleFactor,
    in_words,
)
from beampipe.calibration.method.joint import JointUncertainties
from beampipe.calibration.results import Results, between_samples, other_samples
from beampipe.errors import ConfigError, FileError

Node = dict[str, Any]
"""A node of correctionlib's schema, `correctionlib.schemav2`, with its fields in that order."""

LAST: Final = "last"
"""Use the content of the last bin above the last edge of pT."""


def binning(
    values: Float64[ndarray, " n"],
    edges: Sequence[float],
    eta_edges: Sequence[float] = (),
    beyond: Sequence[Any] = (),
) -> Node:
    """Bins of pT, inside those of \\|eta\\|. Evaluation fails below them, and in those whose value is not finite.

    Args:
        values: values in the bins of `beampipe.calibration.config.jet_bins`.
        edges: edges of the bins of pT [GeV].
        eta_edges: edges of the bins of \\|eta\\|; none for a single one, without an input.
        beyond: content above the last edge of pT in each bin of \\|eta\\|: `LAST`, or a node of the schema; empty for a
            failure.
    """

    def node(edges: Sequence[float | str], content: Sequence[Any], axis: str = "pt") -> Node:
        numbers = [edge if isinstance(edge, str) else float(edge) for edge in edges]
        return {"nodetype": "binning", "input": axis, "edges": numbers, "content": content, "flow": "error"}

    if eta_edges:
        blocks = np.split(values, len(eta_edges) - 1)
        content = [binning(block, edges, (), beyond[k : k + 1]) for k, block in enumerate(blocks)]
        return node([*eta_edges], content, "abs_eta")

    # No pT is negative, so that evaluation fails in the node for an unknown value.
    content = [value if np.isfinite(value) else node([-2.0, -1.0], [0.0]) for value in values.tolist()]
    if not beyond:
        return node([*edges], content)
    # The schema has one rule for both ends. A last bin up to infinity gives the upper end a rule of its own.
    return node([*edges, "inf"], [*content, content[-1] if beyond[0] == LAST else beyond[0]])


BY_ID: Final = "_by_id"
"""Ending of the names of corrections whose flavour is a number."""

QUARK_ID, GLUON_ID = 1, 21
"""Flavours as numbers; those of heavier quarks count as that of a quark."""


def twin_corrections(
    name: str,
    description: str,
    inputs: Mapping[str, Iterable[str]],
    content: Callable[..., Node],
    *,
    eta_edges: Sequence[float] = (),
    output: tuple[str, str] = ("scale_factor", "data / simulation"),
    about: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Node, Node]:
    """A correction by text inputs and pT, and its twin with numbers as flavours.

    They have category nodes inside each other, with bins of jets inside the last one.

    Args:
        name: name of the correction.
        description: description of the correction.
        inputs: values of each text input, by its name.
        content: returns the bins of jets for one value of each text input.
        eta_edges: edges of the bins of \\|eta\\|; none for no such input.
        output: name and description of the output.
        about: descriptions of text inputs, by their names.
    """
    names, bins_of = list(inputs), cache(content)  # both corrections have the same bins

    def category(name: str, values: Mapping[Any, Any], **default: float) -> Node:
        items = [{"key": key, "value": value} for key, value in values.items()]
        return {"nodetype": "category", "input": name, "content": items, **default}

    def node(by_id: bool, *chosen: str) -> Node:
        if len(chosen) == len(names):
            return bins_of(*chosen)
        inner = names[len(chosen)]
        values = {value: node(by_id, *chosen, value) for value in inputs[inner]}
        if not (by_id and inner == "flavour"):
            return category(inner, values)
        ids = {**dict.fromkeys(range(QUARK_ID, 6), float(QUARK_ID)), GLUON_ID: float(GLUON_ID)}
        by_number = dict(zip((QUARK_ID, GLUON_ID), values.values(), strict=True))
        return {
            "nodetype": "transform",
            "input": inner,
            "rule": category(inner, ids, default=0.0),
            "content": category(inner, by_number, default=1.0),
        }

    def variable(name: str, kind: str, **described: str) -> Node:
        return {"name": name, "type": kind, **described}

    def whole(by_id: bool) -> Node:
        variables = []
        for text in names:
            of_ids = {"description": "PDG id of the parton: 1 to 5, 21; any other has 1"}
            described = {"description": about[text]} if text in about else {}
            as_number = by_id and text == "flavour"
            variables.append(variable(text, "int", **of_ids) if as_number else variable(text, "string", **described))
        if eta_edges:
            variables.append(variable("abs_eta", "real", description="|eta| of the jet"))
        variables.append(variable("pt", "real", description="transverse momentum of the jet [GeV]"))
        return {
            "name": f"{name}{BY_ID}" if by_id else name,
            "description": description,
            "version": 1,
            "inputs": variables,
            "output": variable(output[0], "real", description=output[1]),
            "data": node(by_id),
        }

    return whole(by_id=False), whole(by_id=True)


def write_corrections(
    description: str, corrections: Iterable[tuple[Node, Node]], path: Path, *, indent: int | None = None
) -> None:
    """Write corrections as one set, as JSON.

    Args:
        description: of the set.
        corrections: pairs of `twin_corrections`.
        path: the file to write.
        indent: blanks by which JSON is indented; None for one line.

    Raises:
        MissingExtraError: pydantic is not installed.
    """
    from pydantic import TypeAdapter

    every = [each for twins in corrections for each in twins]
    whole = {"schema_version": 2, "description": description, "corrections": every}
    text = TypeAdapter(dict[str, Any]).dump_json(whole, indent=indent)
    path.write_bytes(text + b"\n")


STATISTICAL: Final = "stat"
"""Name of the statistical uncertainty among the systematics."""

TOTAL: Final = "total"
"""Name of the total uncertainty among the systematics."""

EXTRAPOLATION: Final = "extrapolation"
"""Name of the uncertainty above the last edge of pT among the systematics."""

_QUARK_LIKE: Final = {
    "efficiency": "For jets that the tagger takes for quark-like: efficiency in data / efficiency in simulation. The "
    "efficiency is the share of jets of the given flavour in the quark-like bins.",
    "rejection": "For jets that the tagger does not take for quark-like: rejection in data / rejection in simulation. "
    "The rejection is 1 - efficiency for jets of the given flavour.",
}

_WARNING: Final = (
    "Jets of simulation are weighted with the factor of efficiency if they are quark-like, of rejection if not. "
    "Uncertainties are symmetric: where the efficiency goes up the rejection goes down, so take up of one with down of "
    "the other."
)


def write_correction(factors: Factors, path: Path) -> None:
    """Write the corrections as JSON.

    Args:
        factors: the scale factors.
        path: the file to write.

    Raises:
        MissingExtraError: pydantic is not installed.
        ConfigError: a source is called ``stat`` or ``total``, like an uncertainty of its own.
    """
    low, high = factors.pt_edges[0], factors.pt_edges[-1]
    points = {f"{wp:g}": wp for wp in factors.working_points}

    def of_tagger(tagger: str, quantity: str) -> tuple[Node, Node]:
        by_name = {
            (flavour, point): factors.by_name[FactorKey(tagger, wp, flavour, quantity)]
            for flavour in FLAVOUR_NAMES
            for point, wp in points.items()
        }
        values = {key: dict(systematics_of(factor)) for key, factor in by_name.items()}
        names = [*next(iter(values.values())), f"{EXTRAPOLATION}_up", f"{EXTRAPOLATION}_down"]

        def bins(systematic: str, flavour: str, point: str) -> Node:
            key, n_pt = (flavour, point), len(factors.pt_edges) - 1
            parts = [by_name[key].part(slice(k, k + n_pt)) for k in range(0, len(factors.bins), n_pt)]
            beyond = [_beyond(part, systematic, high) for part in parts]
            numbers = values[key].get(systematic, values[key]["nominal"])
            return binning(numbers, factors.pt_edges, factors.eta_edges, beyond)

        flagged = "; ".join(
            f"{row.flavour} {row.working_point:g} {row.bin}: {in_words(row.flags)}"
            for row in factors.table()
            if (row.tagger, row.quantity) == (tagger, quantity) and row.flags
        )
        return twin_corrections(
            f"{tagger}_{quantity}",
            f"{_QUARK_LIKE[quantity]} Below {low:g} GeV evaluation fails; above {high:g} GeV that of the last bin, "
            f"which was not measured there: extrapolation, and with it total, grows with log2(pt / {high:g}). "
            "It fails in bins that have no valid error or are not published. "
            f"{f'Flagged: {flagged}.' if flagged else 'No bin is flagged.'}",
            {"systematic": names, "flavour": FLAVOUR_NAMES, "working_point": points},
            bins,
            eta_edges=factors.eta_edges,
            about={
                "systematic": f"{', '.join(names)}. stat: half the central 68 % interval of the replicas; total: all "
                "sources in quadrature with stat",
                "flavour": f"of the jet: {', '.join(FLAVOUR_NAMES)}",
                "working_point": f"quark efficiency aimed at: {', '.join(points)}",
            },
        )

    every = (of_tagger(tagger, quantity) for tagger in factors.taggers for quantity in QUANTITIES)
    write_corrections(f"Quark/gluon tagging: data / simulation. {_WARNING}", every, path, indent=1)


def read_correction(path: Path) -> Any:
    """The corrections that `write_correction` wrote, ready to evaluate, as a ``correctionlib.CorrectionSet``.

    Raises:
        FileError: the file is missing, or does not hold corrections.
        MissingExtraError: correctionlib is not installed.
    """
    import correctionlib

    try:
        return correctionlib.CorrectionSet.from_string(path.read_text(encoding="utf-8"))
    except (OSError, RuntimeError, ValueError) as error:
        message = f"{path}: got no corrections ({error}); make them: beampipe calibration report"
        raise FileError(message, path=path) from error


def systematics_of(factor: ScaleFactor) -> Iterator[tuple[str, Any]]:
    """The scale factors (n_pt,) for each value of the input `systematic`.

    Raises:
        ConfigError: a source is called ``stat`` or ``total``, like an uncertainty of its own.
    """
    nominal = np.where(factor.published, factor.nominal, np.nan)
    yield "nominal", nominal
    for name in (STATISTICAL, TOTAL, EXTRAPOLATION):
        if name in factor.sources:
            raise ConfigError(
                f"systematic {name}: got a name that corrections need for themselves; give it another one"
            )
    for name, error in {**factor.sources, STATISTICAL: factor.statistical, TOTAL: factor.total}.items():
        yield f"{name}_up", nominal + error
        yield f"{name}_down", nominal - error


def growth(factor: ScaleFactor) -> float:
    """Growth of the uncertainty with each doubling of pT above the last edge; nan if the last bin is not published.

    It is the largest step between neighbouring bins that are published, or the total uncertainty of the last bin, if
    that is larger.
    """
    if not factor.published[-1]:
        return math.nan
    steps = np.abs(np.diff(factor.nominal))[factor.published[:-1] & factor.published[1:]]
    return float(max([*steps, factor.total[-1]]))


def _beyond(factor: ScaleFactor, systematic: str, high: float) -> Node | str:
    """The value of a systematic above the last edge of pT."""
    name, _, way = systematic.rpartition("_")
    if name not in (EXTRAPOLATION, TOTAL) or not factor.published[-1]:
        return LAST
    inside = float(factor.total[-1]) if name == TOTAL else 0.0
    return {
        "nodetype": "formula",
        "expression": f"[0]{'+' if way == 'up' else '-'}sqrt([1]*[1]+pow([2]*log(x/[3])/log(2.),2))",
        "parser": "TFormula",
        "variables": ["pt"],
        "parameters": [float(factor.nominal[-1]), inside, growth(factor), float(high)],
    }


def write_components(joint: JointUncertainties, components: Float64[ndarray, "k n"], path: Path) -> None:
    """Write the corrections as JSON.

    Args:
        joint: the scale factors.
        components: shifts by principal component, from `principal_components`.
        path: the file to write.

    Raises:
        MissingExtraError: pydantic is not installed.
    """
    nominal = np.where(joint.published, joint.nominal, np.nan)
    shifted = {"nominal": nominal}
    for k, shift in enumerate(components):
        shifted |= {f"pc{k}_up": nominal + shift, f"pc{k}_down": nominal - shift}

    def of_tagger(tagger: str, quantity: str) -> tuple[Node, Node]:
        points = {f"{key.working_point:g}": key.working_point for key in joint.keys if key.tagger == tagger}

        def bins(systematic: str, flavour: str, point: str) -> Node:
            key = FactorKey(tagger, points[point], flavour, quantity)
            return binning(shifted[systematic][joint.part(key)], joint.pt_edges, joint.eta_edges)

        return twin_corrections(
            f"{tagger}_{quantity}",
            "Scale factor, shifted by principal components of the joint covariance.",
            {"systematic": shifted, "flavour": FLAVOUR_NAMES, "working_point": points},
            bins,
            eta_edges=joint.eta_edges,
        )

    taggers = dict.fromkeys(key.tagger for key in joint.keys)
    text = "Quark/gluon tagging: data / simulation. pcK is one nuisance parameter of all corrections in this file."
    write_corrections(text, (of_tagger(tagger, quantity) for tagger in taggers for quantity in QUANTITIES), path)


def write_mc_to_mc(results: Results, path: Path) -> None:
    """Write the factors as corrections for correctionlib, e.g. ``n_trk_efficiency_mc_to_mc``.

    Inputs are ``sample``, ``systematic`` (nominal, stat_up, stat_down), ``flavour``, ``working_point`` and ``pt``.
    Evaluation fails outside the bins of pT, and in bins without jets.

    Args:
        results: results of the calibration.
        path: the file to write.

    Raises:
        MissingExtraError: pydantic is not installed.
    """
    factors, points = results.factors, {f"{wp:g}": wp for wp in results.factors.working_points}
    ways = {"nominal": 0, "stat_up": 1, "stat_down": -1}

    def of_tagger(tagger: str, quantity: str) -> tuple[Node, Node]:
        between = {
            (sample, flavour, point): between_samples(results, sample, FactorKey(tagger, wp, flavour, quantity))
            for sample in other_samples(results)
            for flavour in FLAVOUR_NAMES
            for point, wp in points.items()
        }

        def bins(sample: str, way: str, flavour: str, point: str) -> Node:
            ratio, sign = between[sample, flavour, point], ways[way]
            numbers = ratio.values + sign * ratio.errors if sign else ratio.values
            return binning(numbers, factors.pt_edges, factors.eta_edges)

        return twin_corrections(
            f"{tagger}_{quantity}_mc_to_mc",
            "Nominal simulation / sample, by label.",
            {"sample": other_samples(results), "systematic": ways, "flavour": FLAVOUR_NAMES, "working_point": points},
            bins,
            eta_edges=factors.eta_edges,
            output=("factor", f"{quantity} of nominal / of the sample"),
        )

    text = "Simulation to simulation: multiply the scale factor by this for jets of the sample. nominal / sample."
    every = (of_tagger(tagger, quantity) for tagger in results.factors.taggers for quantity in QUANTITIES)
    write_corrections(text, every, path)
