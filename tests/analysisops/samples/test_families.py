"""A quick look at the files finds what they were made with, and no value that anybody remembers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from numpy import ndarray

from beampipe.analysisops.samples.collisions import counting_limit
from beampipe.analysisops.samples.dataset import RandomParameters
from tests.analysisops.samples.reading import Made, good, make, mass, opposite_muons

MadeBy = Callable[[str], Made]


def highest(values: ndarray, low: float, high: float, bins: int) -> float:
    """The centre of the highest bin."""
    counts, edges = np.histogram(values, bins, (low, high))
    place = int(np.argmax(counts))
    return float((edges[place] + edges[place + 1]) / 2)


@pytest.mark.parametrize("seed", range(40))
def test_masses_lie_away_from_what_is_remembered(seed: int) -> None:
    distance = abs(RandomParameters("zmumu", seed).away("mass", 91.1876, 1.0, 5.0) - 91.1876)
    assert 1.0 <= distance <= 5.0  # a fit of such data finds the mass to 0.04 GeV


def test_zmumu_peaks_at_its_mass(made: MadeBy) -> None:
    instance = made("zmumu")
    result = opposite_muons(instance.columns())
    peak = result[np.abs(result - highest(result, 60, 120, 60)) < 4]
    assert len(peak) > 2_000
    assert np.median(peak) == pytest.approx(instance.hidden.truth["mass"], abs=0.5)
    assert abs(instance.hidden.truth["mass"] - 91.1876) > 1


def test_the_width_is_what_the_calibration_does_not_explain(made: MadeBy) -> None:
    instance = made("width")
    data, narrow = (opposite_muons(instance.columns(role)) for role in ("data", "calibration_mc"))
    resolution = instance.hidden.parameters["muon_resolution"] / np.sqrt(2) * instance.hidden.parameters["mass"]
    assert np.std(narrow) == pytest.approx(resolution, rel=0.1)
    # Half of a Cauchy law lies within half its width of the middle; smearing adds roughly in quadrature.
    data = data[data > instance.hidden.parameters["mass"] - 110]  # below are mostly pairs of other sources
    middle = np.median(data)
    half = np.median(np.abs(data - middle))
    # Pairs of other sources beside the peak widen it further.
    assert half == pytest.approx(np.hypot(instance.hidden.truth["width"] / 2, 0.6745 * resolution), rel=0.35)


def test_no_edge_of_the_generator_lies_within_the_spectrum_of_width(tmp_path: Path) -> None:
    fixed = {"mass": 315.0, "width": 6.0, "background_scale": 80.0, "background_share": 0.14, "resonances": 13_000.0}
    made = make("width", 1, tmp_path, {name: (value, value) for name, value in fixed.items()})
    masses = opposite_muons(made.columns(), 15.0)
    for edge in (315.0 - 110.0, 315.0 - 72.0):  # the lowest masses of the continuum and of the line before
        below, above = (np.sum((masses > low) & (masses < low + 15)) for low in (edge - 15, edge))
        assert below == pytest.approx(above * np.exp(15 / 80), abs=4 * np.sqrt(below + above))
    assert np.sum((masses > 100) & (masses < 115)) > 500
    beyond = np.sum((masses > 315 + 72) & (masses < 400))
    assert beyond > 20


def test_hyy_has_an_excess_of_its_yield_and_search_has_none(made: MadeBy) -> None:
    for family in ("hyy", "search"):
        instance = made(family)
        columns = good(instance.columns(), "photon", 15.0)
        columns = {name: values[ak.num(columns["photon_pt"]) >= 2] for name, values in columns.items()}
        pairs = mass(columns, "photon")
        pt = ak.to_numpy(columns["photon_pt"][:, :2])
        pairs = pairs[(pt[:, 0] > 0.35 * pairs) & (pt[:, 1] > 0.25 * pairs)]
        centre = instance.hidden.truth.get("mass", 125.0)
        counts, edges = np.histogram(pairs, 55, (105, 160))
        middles = (edges[1:] + edges[:-1]) / 2
        outside = np.abs(middles - centre) > 6
        line = np.polyfit(middles[outside], np.log(counts[outside]), 1, w=np.sqrt(counts[outside]))
        excess = (counts - np.exp(np.polyval(line, middles)))[~outside].sum()
        error = np.sqrt(counts[~outside].sum())
        assert excess == pytest.approx(instance.hidden.truth["signal_yield"], abs=4 * error)
        assert (excess > 6 * error) == (instance.hidden.words["signal"] == "yes")


def test_tag_and_probe_pairs_tell_the_efficiency(made: MadeBy) -> None:
    instance = made("tagprobe")
    columns = instance.columns()
    result = opposite_muons(columns, isolated=False)
    rows = (ak.num(columns["lep_pt"][columns["lep_pt"] > 20]) == 2) & (
        ak.sum(columns["lep_charge"][columns["lep_pt"] > 20], axis=1) == 0
    )
    tight = ak.to_numpy(ak.sum(columns["lep_isTightID"][columns["lep_pt"] > 20][rows], axis=1))
    near = np.abs(result - 91.2) < 3
    both, one = np.sum(near & (tight == 2)), np.sum(near & (tight == 1))
    efficiency = 2 * both / (2 * both + one)
    assert efficiency == pytest.approx(instance.hidden.truth["efficiency"], abs=0.04)


def test_counting_expects_what_was_made(made: MadeBy) -> None:
    instance = made("counting")
    luminosity = instance.hidden.luminosity
    assert luminosity is not None
    expected = {}
    for name in ("background", "signal"):
        columns = instance.columns(f"{name}_mc")
        facts = next(file for file in instance.manifest["files"] if file["role"] == f"{name}_mc")
        weight = facts["cross_section_pb"] * 1000 * luminosity / facts["sum_of_weights"]
        expected[name] = float(ak.sum(columns["mcWeight"]) * weight)
        assert expected[name] == pytest.approx(instance.hidden.parameters[name], rel=1e-3)
        assert 0.01 < np.mean(ak.to_numpy(columns["mcWeight"]) < 0) < 0.1
    mean = (
        expected["background"] * instance.hidden.parameters["background_factor"]
        + expected["signal"] * instance.hidden.parameters["signal_strength"]
    )
    assert instance.tree().num_entries == pytest.approx(mean, abs=5 * np.sqrt(mean))


def test_the_limit_without_background_and_events_is_three(tmp_path: Path) -> None:
    assert counting_limit(0, 0.0, 0.0) == pytest.approx(-np.log(0.05), abs=1e-3)
    # Without observed events the background cancels in CLs.
    assert counting_limit(0, 5.0, 0.0) == pytest.approx(-np.log(0.05), abs=1e-3)
    assert counting_limit(100, 100.0, 10.0) > counting_limit(100, 100.0, 0.0)


def test_a_strong_signal_is_in_the_data(tmp_path: Path) -> None:
    weak, strong = (
        make("counting", 2, tmp_path / str(value), {"signal_strength": (value, value)}) for value in (0.0, 4.0)
    )
    assert strong.tree().num_entries > weak.tree().num_entries + 100
    assert strong.hidden.truth["limit"] > weak.hidden.truth["limit"] + 2
