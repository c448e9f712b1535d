"""Factors from one simulation to another: with them, scale factors serve analyses that use another generator.

A scale factor is of the nominal simulation: data / nominal. Jets of another simulation have to be weighted with

    data / other = (data / nominal) x (nominal / other)

The second factor is here, for every other sample: the ratio of efficiencies or rejections by label, of forward jets, at
the cuts of the working points. Its statistical error is that of both samples, from the sums of squared weights.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.calibration.exports.nodes import binning, category, schema_of_corrections, write_corrections
from beampipe.calibration.histograms.templates import Templates
from beampipe.calibration.method.extract import cumulated
from beampipe.calibration.method.factors import FLAVOUR_NAMES, QUANTITIES, FactorKey
from beampipe.calibration.method.reweight import FORWARD
from beampipe.calibration.report.gather import Results
from beampipe.calibration.report.style import percent
from beampipe.calibration.report.tables import TextTable, fixed

__all__ = ["BetweenSamples", "between_samples", "mc_to_mc_table", "other_samples", "write_mc_to_mc"]


class BetweenSamples(NamedTuple):
    """Factors from the nominal simulation to another, against pT.

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
    """The factors of one sample; nan in bins without jets.

    Args:
        results: results of the calibration.
        sample: name of the other sample.
        key: tagger, working point, flavour and quantity.
    """
    place = (results.factors.working_points.index(key.working_point), FLAVOUR_NAMES.index(key.flavour))
    cuts = results.efficiencies[key.tagger].cuts[:, place[0]][:, None]
    names = (results.configuration.nominal, sample)
    shares = [_share(results.samples[name].templates, key, cuts, place[1]) for name in names]
    (one, one_error), (other, other_error) = shares
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where((one > 0) & (other > 0), one / other, np.nan)
        return BetweenSamples(ratio, ratio * np.sqrt((one_error / one) ** 2 + (other_error / other) ** 2))


def mc_to_mc_table(results: Results) -> TextTable:
    """The factors of all samples: a row per sample, scale factor and bin of pT."""
    rows = []
    for sample in other_samples(results):
        for key in results.factors.by_name:
            found = between_samples(results, sample, key)
            for p, (low, high) in enumerate(pairwise(results.factors.pt_edges)):
                names = (
                    sample,
                    key.tagger,
                    percent(key.working_point),
                    key.flavour,
                    key.quantity,
                    f"{low:g} to {high:g}",
                )
                rows.append((*names, fixed(float(found.values[p])), fixed(float(found.errors[p]))))
    heads = ("sample", "tagger", "working point", "flavour", "quantity", "pT [GeV]", "nominal / sample", "± stat")
    return TextTable("mc_to_mc", "From simulation to simulation", heads, tuple(rows), labels=6)


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
        _correction(results, tagger, quantity) for tagger in results.factors.taggers for quantity in QUANTITIES
    ]
    write_corrections(text, corrections, path)


def _correction(results: Results, tagger: str, quantity: str) -> Any:
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


def _share(
    templates: Templates, key: FactorKey, cuts: ndarray, flavour: int
) -> tuple[Float64[ndarray, " p"], Float64[ndarray, " p"]]:
    """Efficiency or rejection of forward jets of a flavour, and its statistical error."""
    sums = []
    for one in (templates, replace(templates, values=templates.squares)):
        jets = one.flavours(key.tagger)[0, :, FORWARD, flavour]
        passed = cumulated(jets, cuts)[:, 0]
        sums.append((passed, np.cumsum(jets, axis=-1)[:, -1] - passed))
    (passed, failed), (passed_square, failed_square) = sums
    total = passed + failed
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(failed**2 * passed_square + passed**2 * failed_square) / total**2
        return (failed if key.quantity == "rejection" else passed) / total, error
