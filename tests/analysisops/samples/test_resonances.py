"""Higgs bosons, top quarks and W Z: a quick look at the files finds what they were made with."""

from __future__ import annotations

from collections.abc import Callable

import awkward as ak
import numpy as np
import pytest
from numpy import ndarray

from beampipe.analysisops.samples.dataset import RandomParameters
from tests.analysisops.samples.reading import Made, good, mass, opposite_muons, thinned

MadeBy = Callable[[str], Made]


def excess(values: ndarray, low: float, high: float, centre: float, half: float) -> tuple[float, float]:
    """Events near the centre above an exponential through the others, and their error."""
    counts, edges = np.histogram(values, 40, (low, high))
    middles = (edges[1:] + edges[:-1]) / 2
    outside = np.abs(middles - centre) > half
    line = np.polyfit(middles[outside], np.log(counts[outside] + 0.5), 1, w=np.sqrt(counts[outside] + 0.5))
    inside = counts[~outside]
    return float((inside - np.exp(np.polyval(line, middles))[~outside]).sum()), float(np.sqrt(inside.sum()))


@pytest.mark.parametrize(
    ("known", "near", "far", "precision"),
    [(125.2, 6.0, 13.0, 0.15), (125.2, 9.0, 17.0, 0.7), (172.57, 8.0, 13.0, 0.7)],
)
def test_a_remembered_mass_is_many_errors_away(known: float, near: float, far: float, precision: float) -> None:
    masses = [RandomParameters("hyy", seed).away("mass", known, near, far) for seed in range(100)]
    assert min(abs(value - known) for value in masses) > 8 * precision
    assert min(masses) < known < max(masses)


def test_hmumu_has_an_excess_of_its_yield(made: MadeBy) -> None:
    truth = made("hmumu").hidden.truth
    result, error = excess(opposite_muons(made("hmumu").columns()), 105, 160, truth["mass"], 6)
    assert result == pytest.approx(truth["signal_yield"], abs=4 * error)
    assert result > 5 * error


def test_hbb_has_an_excess_of_its_yield(made: MadeBy) -> None:
    truth = made("hbb").hidden.truth
    columns = made("hbb").columns()
    columns = thinned(columns, "jet", columns["jet_btag_quantile"] >= 4)
    rows = (ak.num(columns["jet_pt"]) == 2) & (columns["met"] > 80)
    pairs = mass({name: values[rows] for name, values in columns.items()}, "jet")
    result, error = excess(pairs, 70, 230, truth["mass"], 30)
    assert result == pytest.approx(truth["signal_yield"], abs=5 * error)
    near = pairs[np.abs(pairs - truth["mass"]) < 8]
    assert len(near) > 300


def test_hzz4l_peaks_at_its_mass(made: MadeBy) -> None:
    truth = made("hzz4l").hidden.truth
    columns = good(made("hzz4l").columns(), "lep", 7.0)
    charge = columns["lep_charge"]
    muons = ak.sum(charge * (columns["lep_type"] == 13), axis=1)
    rows = (ak.num(charge) == 4) & (ak.sum(charge, axis=1) == 0) & (muons == 0)
    four = mass({name: values[rows] for name, values in columns.items()}, "lep", 4)
    peak = four[np.abs(four - truth["mass"]) < 4]
    beside = np.sum(np.abs(four - truth["mass"]) < 12) - len(peak)
    assert len(peak) - beside / 2 == pytest.approx(truth["signal_yield"], abs=5 * np.sqrt(len(peak)))
    assert np.median(peak) == pytest.approx(truth["mass"], abs=0.8)


def test_the_top_mass_lies_between_those_of_the_simulation(made: MadeBy) -> None:
    instance = made("ttbar")
    stated = [file["top_mass_gev"] for file in instance.manifest["files"] if file["role"] == "signal_mc"]
    assert min(stated) < instance.hidden.truth["mass"] < max(stated)
    columns = thinned(instance.columns(), "jet", instance.columns()["jet_pt"] > 25)
    tags = ak.sum(columns["jet_btag_quantile"] >= 4, axis=1)
    assert 0.4 < np.mean(ak.to_numpy(tags == 2)) < 0.7
    assert abs(np.mean(np.concatenate(columns["lep_charge"].tolist()))) < 0.05


def test_wz3l_holds_the_cross_section_that_it_was_made_with(made: MadeBy) -> None:
    instance = made("wz3l")
    hidden = instance.hidden
    assert hidden.luminosity is not None
    signal = next(file for file in instance.manifest["files"] if file["role"] == "signal_mc")
    strength = np.exp(hidden.parameters["log_strength"])
    assert hidden.truth["cross_section"] == pytest.approx(1000 * signal["cross_section_pb"] * strength)
    assert hidden.truth["cross_section"] * hidden.luminosity == pytest.approx(hidden.parameters["wz"], rel=1e-3)
    assert strength < 0.71 or strength > 1.4
    factors = {"signal_mc": strength}
    expected = 0.0
    for file in instance.manifest["files"]:
        if file["role"] != "data":
            columns = instance.columns(file["role"], hidden.files[file["role"]].index(file["name"]))
            three = ak.num(good(columns, "lep", 15.0)["lep_pt"]) == 3
            weight = file["cross_section_pb"] * 1000 * hidden.luminosity / file["sum_of_weights"]
            expected += float(ak.sum(columns["mcWeight"][three])) * weight * factors.get(file["role"], 1.0)
    observed = float(ak.sum(ak.num(good(instance.columns(), "lep", 15.0)["lep_pt"]) == 3))
    assert observed == pytest.approx(expected, abs=5 * np.sqrt(2 * observed))


def test_zz2mu2nu_differs_from_its_samples_as_it_says(made: MadeBy) -> None:
    """Pairs of tight, isolated muons of the data are those of the samples, each scaled by what is hidden of it."""
    instance = made("zz2mu2nu")
    hidden = instance.hidden
    assert hidden.luminosity is not None
    signal = next(file for file in instance.manifest["files"] if file["role"] == "signal_mc")
    assert hidden.truth["cross_section"] == pytest.approx(
        1000 * signal["cross_section_pb"] * hidden.parameters["strength"], rel=1e-3
    )
    correction = (hidden.truth["efficiency"] / 0.95) ** 2
    assert correction < 0.7
    scales = {
        "zz.root": hidden.parameters["strength"],
        "zjets.root": 1 / hidden.parameters["zjets_stated"],
        "top.root": 1 / hidden.parameters["top_stated"],
    }
    for kinds in ({13}, {11, 13}):
        expected = 0.0
        for name, scale in scales.items():
            role = "signal_mc" if name == "zz.root" else "background_mc"
            file = next(file for file in instance.manifest["files"] if file["name"] == name)
            columns = instance.columns(role, hidden.files[role].index(name))
            weight = file["cross_section_pb"] * 1000 * hidden.luminosity / file["sum_of_weights"]
            expected += float(ak.sum(columns["mcWeight"][pairs_of(columns, kinds)])) * weight * scale * correction
        observed = float(np.sum(pairs_of(instance.columns(), kinds)))
        luminosity = 2 * hidden.parameters["luminosity_uncertainty"] * expected
        assert observed == pytest.approx(expected, abs=5 * np.sqrt(2 * observed) + luminosity)


def pairs_of(columns: dict[str, ak.Array], kinds: set[int]) -> np.ndarray:
    """Events with exactly two good leptons above 20 GeV, of opposite charge and these kinds, and much met."""
    leptons = good(columns, "lep", 20.0)
    two = (ak.num(leptons["lep_pt"]) == 2) & (ak.sum(leptons["lep_charge"], axis=1) == 0)
    total = 26 if kinds == {13} else 24
    selected: np.ndarray = ak.to_numpy(two & (ak.sum(leptons["lep_type"], axis=1) == total) & (columns["met"] > 80))
    return selected
