"""Scale factors as files for `correctionlib` (schema 2): with all systematics, as components, and between simulations.

There is one correction per tagger and quantity, e.g. ``n_trk_efficiency``. It has four inputs:

    systematic     nominal, or SOURCE_up or SOURCE_down for each source, for stat, extrapolation and total
    flavour        quark or gluon
    working_point  as text, e.g. 0.5
    pt             transverse momentum of the jet [GeV]

Evaluation fails below the first edge of pT. Above the last edge E it gives the value of the last bin, or fails, as
configured. There is no measurement there, so the uncertainty grows: ``extrapolation`` is 0 in the bins, and above E

    growth x log2(pT / E)        growth: the largest step between neighbouring bins, or the total uncertainty of the
                                 last bin, if that is larger

which is added to ``total`` in quadrature. Evaluation also fails in a bin without a valid error, for every systematic:
the bin contains a nested binning that no pT matches. Flags of the other bins are in the description.

*Components* keep the correlations: `systematic` is ``nominal``, ``pcK_up`` or ``pcK_down``. Component K is one nuisance
parameter of all corrections: it moves all taggers, flavours, working points, quantities and bins at once. The squares
of all shifts add up to the covariance.

*Between simulations*: a scale factor is data / nominal simulation. Jets of another simulation have to be weighted with

    data / other = (data / nominal) x (nominal / other)

The second factor is the ratio of efficiencies or rejections by label, of forward jets, at the cuts of the working
points; see `beampipe.calibration.results.between_samples`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.calibration.method.factors import (
    FLAGS,
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

LAST: Final = "last"
"""Use the content of the last bin above the last edge of pT."""


def schema_of_corrections() -> Any:
    """The module of correctionlib's schema.

    Raises:
        MissingExtraError: correctionlib is not installed.
    """
    from correctionlib import schemav2

    return schemav2


def binning(values: Iterable[float], edges: Sequence[float], beyond: Any | None = None) -> Any:
    """Bins of pT. Evaluation fails below them, and in those whose value is not finite.

    Args:
        values: (n_pt,) values in the bins.
        edges: (n_pt + 1,) edges of the bins [GeV].
        beyond: content above the last edge: `LAST`, or a node of the schema; None for a failure.
    """
    content = [value if np.isfinite(value) else _never() for value in values]
    # The schema has one rule for both ends. A last bin up to infinity gives the upper end a rule of its own.
    every: list[float | str] = [*edges] if beyond is None else [*edges, "inf"]
    content += [] if beyond is None else [content[-1] if beyond == LAST else beyond]
    return schema_of_corrections().Binning(nodetype="binning", input="pt", edges=every, content=content, flow="error")


def category(name: str, contents: Mapping[str, Any]) -> Any:
    """A category node: the text input `name`, and the content for each of its values."""
    schema = schema_of_corrections()
    items = [schema.CategoryItem(key=key, value=value) for key, value in contents.items()]
    return schema.Category(nodetype="category", input=name, content=items)


def write_corrections(description: str, corrections: Sequence[Any], path: Path, *, indent: int | None = None) -> None:
    """Write corrections as one set, as JSON.

    Args:
        description: of the set.
        corrections: nodes of the schema.
        path: the file to write.
        indent: blanks by which JSON is indented; None for one line.

    Raises:
        MissingExtraError: correctionlib is not installed.
    """
    found = schema_of_corrections().CorrectionSet(
        schema_version=2, description=description, corrections=list(corrections)
    )
    text = found.model_dump_json(exclude_unset=True, indent=indent, by_alias=True)
    path.write_text(text + "\n", encoding="utf-8")


def _never() -> Any:
    """A binning in which evaluation fails: no pT is negative."""
    return schema_of_corrections().Binning(
        nodetype="binning", input="pt", edges=[-2.0, -1.0], content=[0.0], flow="error"
    )


Above = Literal["last", "error"]
"""Behaviour of corrections above the last edge of pT: ``last`` gives the value of the last bin, ``error`` a failure."""

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

_ABOVE: Final = {
    "last": "above {high:g} GeV that of the last bin, which was not measured there: extrapolation, and with it total, "
    "grows with log2(pt / {high:g})",
    "error": "above {high:g} GeV evaluation fails",
}


def write_correction(factors: Factors, path: Path, above: Above = "last") -> None:
    """Write the corrections as JSON.

    Args:
        factors: the scale factors.
        path: the file to write.
        above: behaviour above the last edge of pT.

    Raises:
        MissingExtraError: correctionlib is not installed.
        ConfigError: a source is called ``stat`` or ``total``, like an uncertainty of its own.
    """
    corrections = [
        _scale_factor_correction(factors, tagger, quantity, above)
        for tagger in factors.taggers
        for quantity in QUANTITIES
    ]
    write_corrections(f"Quark/gluon tagging: data / simulation. {_WARNING}", corrections, path, indent=1)


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


def write_covariance(factors: Factors, path: Path) -> None:
    """Write the covariance of every scale factor across bins of pT as JSON.

    It includes the statistical uncertainty and all sources, and is null in bins that lack one of them.

    Args:
        factors: the scale factors.
        path: the file to write.
    """
    entries = [
        {
            "correction": f"{tagger}_{quantity}",
            "flavour": flavour,
            "working_point": f"{wp:g}",
            "flags": one.flags,
            "covariance": [[float(x) if np.isfinite(x) else None for x in row] for row in one.covariance],
        }
        for (tagger, wp, flavour, quantity), one in factors.by_name.items()
    ]
    plain = {
        "about": "covariance of scale factors across bins of jet pT; null in a bin that has no valid error",
        "flags": dict(FLAGS),
        "pt_edges": list(factors.pt_edges),
        "covariances": entries,
    }
    path.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def systematics_of(one: ScaleFactor) -> Iterator[tuple[str, Any]]:
    """The scale factors (n_pt,) for each value of the input `systematic`.

    Raises:
        ConfigError: a source is called ``stat`` or ``total``, like an uncertainty of its own.
    """
    nominal = np.where(one.valid, one.nominal, np.nan)
    yield "nominal", nominal
    for name in (STATISTICAL, TOTAL, EXTRAPOLATION):
        if name in one.sources:
            raise ConfigError(
                f"systematic {name}: got a name that corrections need for themselves; give it another one"
            )
    for name, error in {**one.sources, STATISTICAL: one.statistical, TOTAL: one.total}.items():
        yield f"{name}_up", nominal + error
        yield f"{name}_down", nominal - error


def growth(one: ScaleFactor) -> float:
    """Growth of the uncertainty with each doubling of pT above the last edge; nan if the last bin is not valid.

    It is the largest step between neighbouring bins that are valid, or the total uncertainty of the last bin, if that
    is larger.
    """
    if not one.valid[-1]:
        return math.nan
    steps = np.abs(np.diff(one.nominal))[one.valid[:-1] & one.valid[1:]]
    return float(max([*steps, one.total[-1]]))


def _scale_factor_correction(factors: Factors, tagger: str, quantity: str, above: Above) -> Any:
    schema = schema_of_corrections()
    low, high = factors.pt_edges[0], factors.pt_edges[-1]
    keys = {
        flavour: {f"{wp:g}": FactorKey(tagger, wp, flavour, quantity) for wp in factors.working_points}
        for flavour in FLAVOUR_NAMES
    }
    known = {key: dict(systematics_of(factors.by_name[key])) for points in keys.values() for key in points.values()}
    names = list(next(iter(known.values())))
    if above == "last":
        names += [f"{EXTRAPOLATION}_up", f"{EXTRAPOLATION}_down"]

    def at_point(key: FactorKey, systematic: str) -> Any:
        values = known[key].get(systematic, known[key]["nominal"]).tolist()
        beyond = _beyond(factors.by_name[key], systematic, high) if above == "last" else None
        return binning(values, factors.pt_edges, beyond)

    def at_flavour(points: Mapping[str, FactorKey], systematic: str) -> Any:
        return category("working_point", {point: at_point(key, systematic) for point, key in points.items()})

    def at_systematic(systematic: str) -> Any:
        return category("flavour", {name: at_flavour(points, systematic) for name, points in keys.items()})

    return schema.Correction(
        name=f"{tagger}_{quantity}",
        version=1,
        description=f"{_QUARK_LIKE[quantity]} Below {low:g} GeV evaluation fails; {_ABOVE[above].format(high=high)}. "
        f"It fails in bins that have no valid error. {_flagged(factors, tagger, quantity)}",
        inputs=[
            schema.Variable(
                name="systematic",
                type="string",
                description=f"{', '.join(names)}. stat: half the central 68 % interval of the replicas; total: all "
                "sources in quadrature with stat",
            ),
            schema.Variable(name="flavour", type="string", description=f"of the jet: {', '.join(FLAVOUR_NAMES)}"),
            schema.Variable(
                name="working_point",
                type="string",
                description=f"quark efficiency aimed at: {', '.join(f'{wp:g}' for wp in factors.working_points)}",
            ),
            schema.Variable(name="pt", type="real", description="transverse momentum of the jet [GeV]"),
        ],
        output=schema.Variable(name="scale_factor", type="real", description="data / simulation"),
        data=category("systematic", {name: at_systematic(name) for name in names}),
    )


def _flagged(factors: Factors, tagger: str, quantity: str) -> str:
    """The flags of a correction, in a sentence."""
    found = [
        f"{row.flavour} {row.working_point:g} {row.pt_low:g}-{row.pt_high:g} GeV: {in_words(row.flags)}"
        for row in factors.table()
        if (row.tagger, row.quantity) == (tagger, quantity) and row.flags
    ]
    return f"Flagged: {'; '.join(found)}." if found else "No bin is flagged."


def _beyond(one: ScaleFactor, systematic: str, high: float) -> Any:
    """The value of a systematic above the last edge of pT."""
    name, _, way = systematic.rpartition("_")
    if name not in (EXTRAPOLATION, TOTAL) or not one.valid[-1]:
        return LAST
    inside = float(one.total[-1]) if name == TOTAL else 0.0
    return schema_of_corrections().Formula(
        nodetype="formula",
        parser="TFormula",
        variables=["pt"],
        expression=f"[0]{'+' if way == 'up' else '-'}sqrt([1]*[1]+pow([2]*log(x/[3])/log(2.),2))",
        parameters=[float(one.nominal[-1]), inside, growth(one), high],
    )


def write_components(joint: JointUncertainties, components: Float64[ndarray, "k n"], path: Path) -> None:
    """Write the corrections as JSON.

    Args:
        joint: the scale factors.
        components: shifts by principal component, from `principal_components`.
        path: the file to write.

    Raises:
        MissingExtraError: correctionlib is not installed.
    """
    nominal = np.where(joint.valid, joint.nominal, np.nan)
    shifted = {"nominal": nominal}
    for k, one in enumerate(components):
        shifted |= {f"pc{k}_up": nominal + one, f"pc{k}_down": nominal - one}
    corrections = [
        _component_correction(joint, shifted, tagger, quantity)
        for tagger in dict.fromkeys(key.tagger for key in joint.keys)
        for quantity in QUANTITIES
    ]
    text = "Quark/gluon tagging: data / simulation. pcK is one nuisance parameter of all corrections in this file."
    write_corrections(text, corrections, path)


def _component_correction(joint: JointUncertainties, shifted: dict[str, Any], tagger: str, quantity: str) -> Any:
    schema = schema_of_corrections()
    points = dict.fromkeys(key.working_point for key in joint.keys if key.tagger == tagger)

    def at_flavour(flavour: str, values: Float64[ndarray, " n"]) -> Any:
        keys = {f"{wp:g}": FactorKey(tagger, wp, flavour, quantity) for wp in points}
        return category(
            "working_point",
            {wp: binning(values[joint.part(key)].tolist(), joint.pt_edges) for wp, key in keys.items()},
        )

    def at_systematic(values: Float64[ndarray, " n"]) -> Any:
        return category("flavour", {flavour: at_flavour(flavour, values) for flavour in FLAVOUR_NAMES})

    names = ("systematic", "flavour", "working_point")
    inputs = [schema.Variable(name=name, type="string") for name in names]
    return schema.Correction(
        name=f"{tagger}_{quantity}",
        version=1,
        description="Scale factor, shifted by principal components of the joint covariance.",
        inputs=[*inputs, schema.Variable(name="pt", type="real", description="transverse momentum of the jet [GeV]")],
        output=schema.Variable(name="scale_factor", type="real", description="data / simulation"),
        data=category("systematic", {name: at_systematic(values) for name, values in shifted.items()}),
    )


def write_mc_to_mc(results: Results, path: Path) -> None:
    """Write the factors as corrections for correctionlib, e.g. ``n_trk_efficiency_mc_to_mc``.

    Inputs are ``sample``, ``systematic`` (nominal, stat_up, stat_down), ``flavour``, ``working_point`` and ``pt``.
    Evaluation fails outside the bins of pT, and in bins without jets.

    Args:
        results: results of the calibration.
        path: the file to write.

    Raises:
        MissingExtraError: correctionlib is not installed.
    """
    text = "Simulation to simulation: multiply the scale factor by this for jets of the sample. nominal / sample."
    corrections = [
        _mc_to_mc_correction(results, tagger, quantity) for tagger in results.factors.taggers for quantity in QUANTITIES
    ]
    write_corrections(text, corrections, path)


def _mc_to_mc_correction(results: Results, tagger: str, quantity: str) -> Any:
    schema = schema_of_corrections()
    edges, points = results.factors.pt_edges, results.factors.working_points
    between = {
        (sample, flavour, wp): between_samples(results, sample, FactorKey(tagger, wp, flavour, quantity))
        for sample in other_samples(results)
        for flavour in FLAVOUR_NAMES
        for wp in points
    }

    def at_point(sample: str, sign: int, flavour: str, wp: float) -> Any:
        found = between[sample, flavour, wp]
        return binning((found.values + sign * found.errors if sign else found.values).tolist(), edges)

    def at_flavour(sample: str, sign: int, flavour: str) -> Any:
        return category("working_point", {f"{wp:g}": at_point(sample, sign, flavour, wp) for wp in points})

    def at_systematic(sample: str, sign: int) -> Any:
        return category("flavour", {flavour: at_flavour(sample, sign, flavour) for flavour in FLAVOUR_NAMES})

    def at_sample(sample: str) -> Any:
        ways = {"nominal": 0, "stat_up": 1, "stat_down": -1}
        return category("systematic", {name: at_systematic(sample, sign) for name, sign in ways.items()})

    names = ("sample", "systematic", "flavour", "working_point")
    return schema.Correction(
        name=f"{tagger}_{quantity}_mc_to_mc",
        version=1,
        description="Nominal simulation / sample, by label.",
        inputs=[
            *(schema.Variable(name=name, type="string") for name in names),
            schema.Variable(name="pt", type="real", description="transverse momentum of the jet [GeV]"),
        ],
        output=schema.Variable(name="factor", type="real", description=f"{quantity} of nominal / of the sample"),
        data=category("sample", {sample: at_sample(sample) for sample in other_samples(results)}),
    )
