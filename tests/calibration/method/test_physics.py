"""The whole chain on toys whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from beampipe.calibration.config import Bootstrap, Configuration, InputSample
from beampipe.calibration.method import matrix
from beampipe.calibration.method.factors import FLAVOUR_NAMES, Factors
from beampipe.calibration.results import read_templates
from beampipe.calibration.run import run_calibration
from beampipe.calibration.taggers import Tagger
from beampipe.calibration.tasks.runtime import FACTORS, workspace_of
from beampipe.simulation.ntuples import ToyModel
from tests.calibration.campaign import INLINE, write_sample

N_EVENTS = 300_000


@dataclass(frozen=True)
class Calibrated:
    """Factors, and what they should be: by label, of forward jets, at the same cuts."""

    factors: Factors
    truth: dict[tuple[float, str, str], ndarray]


def calibrated(folder: Path, model: ToyModel, data_seed: int, events: int) -> Calibrated:
    """Factors of pseudo-data of a model against the toy as it is."""
    samples = {
        "nominal": InputSample("nominal", tuple(write_sample(folder, "nominal", events, 3, 31)), luminosity=1000.0),
        "data": InputSample(
            "data",
            tuple(write_sample(folder, "shifted", events, 3, data_seed, model=model)),
            "pseudo-data",
            luminosity=1000.0,
        ),
    }
    configuration = Configuration(
        folder / "output",
        samples,
        pt_edges=(500.0, 800.0, 2000.0),
        working_points=(0.5, 0.8),
        taggers=(Tagger("n_trk", 60, 0.0, 60.0),),
        bootstrap=Bootstrap(100, 1),
    )
    plan = run_calibration(configuration, INLINE)
    factors = Factors.read(configuration.output / FACTORS)
    store = workspace_of(configuration).store
    cuts = factors.cuts["n_trk"].astype(np.int64)  # bins of width 1
    by_label: dict[str, ndarray] = {}
    for name in samples:
        shapes = matrix.truth(read_templates(store, plan.samples[name]).flavours("n_trk")[:1])
        both = [matrix.cumulated(shape, cuts)[0] for shape in (shapes.quark, shapes.gluon)]
        by_label[name] = np.stack(both, axis=-1)
    truth = {}
    for w, wp in enumerate(configuration.working_points):
        for f, flavour in enumerate(FLAVOUR_NAMES):
            data, simulation = by_label["data"][:, w, f], by_label["nominal"][:, w, f]
            truth[wp, flavour, "efficiency"] = data / simulation
            truth[wp, flavour, "rejection"] = (1 - data) / (1 - simulation)
    return Calibrated(factors, truth)


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    model = ToyModel(quark_tracks=1.10, gluon_tracks=0.92)
    return calibrated(tmp_path_factory.mktemp("shifted"), model, 32, N_EVENTS)


def test_extracted_efficiencies_close_within_a_few_percent(shifted: Calibrated) -> None:
    for flavour, quantity in (("quark", "efficiency"), ("gluon", "rejection")):
        one = shifted.factors.against_pt(tagger="n_trk", working_point=0.5, flavour=flavour, quantity=quantity)
        np.testing.assert_allclose(one.simulation / one.truth, 1, atol=0.03, err_msg=flavour)


def test_quarks_pass_as_often_as_asked_for(shifted: Calibrated) -> None:
    """A whole bin is the smallest step: the efficiency is that of the working point or a little more."""
    for wp in shifted.factors.working_points:
        one = shifted.factors.against_pt(tagger="n_trk", working_point=wp, flavour="quark", quantity="efficiency")
        assert (one.simulation >= wp).all()
        assert (one.simulation < wp + 0.08).all()


def test_a_known_shift_is_found_within_its_error(shifted: Calibrated) -> None:
    """In units of the statistical error; bins of pT are independent, working points and quantities are not."""
    pulls, sizes = [], []
    for (_, wp, flavour, quantity), one in shifted.factors.by_name.items():
        true = shifted.truth[wp, flavour, quantity]
        pulls.append((one.nominal - true) / one.statistical)
        sizes.append(np.abs(true - 1) / one.statistical)
        assert (one.statistical > 0).all()
    assert np.max(sizes) > 5, "the shift is large"
    assert np.abs(pulls).max() < 4
    assert np.mean(np.square(pulls)) < 2.5
    quark = shifted.factors.against_pt(tagger="n_trk", working_point=0.5, flavour="quark", quantity="efficiency")
    assert (quark.nominal < 0.95).all(), "more tracks: fewer quarks pass"


def test_data_equal_to_simulation_gives_one(tmp_path: Path) -> None:
    """Other files of the same events, under another name of the dataset."""
    same = calibrated(tmp_path, ToyModel(), 31, 20_000)
    for item in same.factors.by_name.values():
        np.testing.assert_allclose(item.nominal, 1, atol=1e-9)
        assert (item.statistical > 0).all(), "the replicas of the two are drawn independently"
