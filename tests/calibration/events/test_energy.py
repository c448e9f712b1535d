"""The jet energy's parameters, and that no event is lost that one of them selects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from beampipe.calibration.config import DijetSelection, Energy
from beampipe.calibration.events.dijets import LARGEST_SHIFT, Dijets, WeightUnits
from beampipe.calibration.events.select import SelectSettings, select
from beampipe.calibration.events.variations import (
    built_in_variations,
    kinematics_of,
    matching,
    matching_or_error,
)
from beampipe.errors import UnknownNameError
from beampipe.jets.ntuple_format import VARIED_N_TRK
from beampipe.simulation.ntuples import Events, read_ntuple
from tests.calibration.campaign import Toys, configuration_of
from tests.calibration.random_dijets import random_dijets, shifted_pt

ENERGY = Energy(20, 4)


def factors(name: str, pt: ndarray, eta: ndarray, energy: Energy = ENERGY, seed: int = 1) -> ndarray:
    pt, eta = pt.astype(np.float32), eta.astype(np.float32)
    event = np.random.default_rng(seed).integers(0, 2**64, len(pt), np.uint64)
    factor: ndarray = shifted_pt(name, energy, pt=pt, eta=eta, run=np.zeros(len(pt), np.uint32), event=event) / pt
    return factor


@pytest.fixture(scope="module")
def jets() -> tuple[ndarray, ndarray]:
    rng = np.random.default_rng(3)
    return rng.uniform(100, 3000, (2000, 2)), rng.uniform(-4, 4, (2000, 2))


def test_no_factor_leaves_the_margin_and_up_mirrors_down(jets: tuple[ndarray, ndarray]) -> None:
    largest = 0.0
    for name in built_in_variations((), ENERGY)[::2]:
        up, down = factors(name, *jets), factors(name.replace("_up", "_down"), *jets)
        np.testing.assert_allclose(up + down, 2, atol=1e-15)
        assert (up != 1).any(), name
        largest = max(largest, float(np.abs(up - 1).max()))
    assert 0.01 < largest < LARGEST_SHIFT
    noise_at_most = 2 * 3**0.5  # four uniform numbers
    assert 0.045 * (1.1**2 - 1) ** 0.5 * noise_at_most < LARGEST_SHIFT


@pytest.mark.parametrize("energy", [ENERGY, Energy(45, 8), Energy(5, 1), Energy(10, 2)])
def test_triangles_add_up_to_one(energy: Energy, jets: tuple[ndarray, ndarray]) -> None:
    """Inside and outside of the range of pT and |eta|, all parameters of the scale together move every jet by 1 %."""
    moved = sum(factors(f"jes_{k + 1}_up", *jets, energy) - 1 for k in range(energy.scale))
    np.testing.assert_allclose(moved, 0.01, rtol=1e-10)
    squares = sum((factors(f"jes_{k + 1}_up", *jets, energy) - 1) ** 2 for k in range(energy.scale))
    assert (squares**0.5 <= 0.01 + 1e-12).all()


def test_a_parameter_of_the_scale_peaks_at_its_node() -> None:
    """The 8th of 20: third of five nodes in pT, second of four in |eta|: at 1250 GeV and 0.7."""
    pt, eta = np.array([[1250.0, 1250], [1250, 875], [1062.5, 1250]]), np.array([[0.7, -0.7], [1.4, 0.7], [0.7, 0.35]])
    got = (factors("jes_8_up", pt, eta) - 1) / 0.01
    np.testing.assert_allclose(got, np.array([[1, 1], [0, 0], [0.5, 0.5]]), atol=1e-6)


def test_noise_has_mean_0_and_variance_1() -> None:
    """A jet of 500 GeV is smeared by the first parameter of the resolution alone, by 0.045 sqrt(1.1**2 - 1)."""
    n = 40_000
    noise = (factors("jer_1_up", np.full((n, 2), 500.0), np.zeros((n, 2))) - 1) / (0.045 * (1.1**2 - 1) ** 0.5)
    assert abs(noise.mean()) < 4 / noise.size**0.5
    assert noise.var() == pytest.approx(1, abs=0.02)
    assert np.abs(noise).max() <= 2 * 3**0.5
    assert abs(np.corrcoef(noise.T)[0, 1]) < 4 / n**0.5, "the jets of an event are smeared independently"
    two = factors("jer_2_up", np.full((n, 2), 1000.0), np.zeros((n, 2))) - 1
    assert abs(np.corrcoef(noise[:, 0], two[:, 0])[0, 1]) < 4 / n**0.5


@pytest.mark.parametrize("name", ["jes_0_up", "jes_21_up", "jes_1", "jer_5_down", "jes_01_up", "trk_eff", ""])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown variation of jets: got .* expected one of"):
        kinematics_of(name, replace(random_dijets(3, 1), varied_n_trk={}), ENERGY)


def test_patterns_choose_in_the_order_of_the_names(toys: Toys, tmp_path: Path) -> None:
    assert matching(("a", "b1", "b2"), ("b*", "a")) == ("a", "b1", "b2")
    configuration = configuration_of(toys, tmp_path)
    patterns = configuration.kinematic_patterns
    known = built_in_variations(tuple(VARIED_N_TRK), configuration.energy)
    assert matching_or_error("variation", known, patterns) == known
    with pytest.raises(UnknownNameError, match=r"unknown variation: got 'jes_\*'"):
        matching_or_error("variation", built_in_variations(("trk_eff",), Energy(0, 1)), patterns)


SELECTION = DijetSelection(min_subleading_pt=550.0, max_leading_pt=1700.0, max_pt_ratio=1.3, min_n_trk=8)


def pairs_of(events: Events) -> tuple[ndarray, ndarray]:
    """Jets of the two leading places by the file's pT, and which events are otherwise good."""
    first, count = events.offset[:-1], np.diff(events.offset)
    order = [
        first[i] + np.argsort(-events.jet_pt[first[i] :][: count[i]], kind="stable")[:2] for i in range(len(first))
    ]
    jets = np.stack(order)
    assert events.jet_label is not None
    good = events.trigger & events.jet_clean[jets].all(axis=1) & (np.abs(events.jet_eta[jets]) < 2.1).all(axis=1)
    return jets, good & (events.jet_label[jets] != 0).all(axis=1)


def passes(pt: ndarray, n_trk: ndarray) -> ndarray:
    high, low = pt.max(axis=1).astype(float), pt.min(axis=1).astype(float)
    good: ndarray = (low > 550) & (high < 1700) & (high < 1.3 * low) & (n_trk >= 8).all(axis=1)
    return good


@pytest.fixture(scope="module")
def selected(toys: Toys) -> tuple[Events, Dijets]:
    path = toys.files("nominal")[0]
    events = read_ntuple(path)
    wanted = SelectSettings(SELECTION, WeightUnits(36), True, True, (0,), ("trk_eff", "trk_fake"))
    return events, select(path, 0, len(events), wanted)


@pytest.mark.parametrize(
    "name", ["trk_eff", "trk_fake", "jes_1_up", "jes_7_down", "jer_1_up", "jer_2_down", "jer_4_up"]
)
def test_no_variation_selects_an_event_that_is_lost(selected: tuple[Events, Dijets], name: str) -> None:
    """Against all events of the file, each varied without any selection before."""
    events, dijets = selected
    jets, good = pairs_of(events)
    raw = {
        "run": events.run,
        "event": events.event,
        "pt": events.jet_pt[jets],
        "eta": events.jet_eta[jets],
        "n_trk": events.jet_n_trk[jets],
    }
    pt, n_trk = raw["pt"], raw["n_trk"]
    if name in ("trk_eff", "trk_fake"):
        n_trk = events.columns[f"jet_n_{name}"][jets]
    else:
        pt = shifted_pt(name, ENERGY, **raw).astype(np.float32)
    want = events.event[good & passes(pt, n_trk)]
    varied = kinematics_of(name, dijets, ENERGY)
    got = dijets.event[passes(varied.pt, varied.n_trk)]
    nominal = events.event[good & passes(raw["pt"], raw["n_trk"])]
    assert 20 < len(want) < len(events) / 2
    np.testing.assert_array_equal(got, want)
    if name in ("trk_fake", "jer_1_up", "jer_2_down"):
        assert set(want.tolist()) - set(nominal.tolist()), "the variation selects events of its own"
