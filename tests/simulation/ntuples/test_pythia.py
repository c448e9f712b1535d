"""Generated collisions and their weights."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.simulation.ntuples import SAMPLES, SLICES, SampleSpec, Slice, sample_spec
from beampipe.simulation.ntuples.dijets import detected
from beampipe.simulation.pythia import (
    PDF_SETS,
    SHOWER_WEIGHTS,
    PdfWeights,
    PythiaRun,
    cross_section,
    pythia8,
    settings_of,
    start_pythia,
)

PLAIN = sample_spec("nominal2")


def hard_process(part: Slice, biased: bool, n_events: int) -> tuple[np.ndarray, np.ndarray, float]:
    """pT of the hard process, weight and cross section [pb], by the settings of a slice and without partons."""
    off = () if biased else ("PhaseSpace:bias2Selection = off",)
    pythia = start_pythia((*settings_of(PLAIN, part, 11), *off, "PartonLevel:all = off", "HadronLevel:all = off"))
    info = pythia.nextBatch(n_events).info
    weight = np.asarray(info.weights[:, 0])
    return np.sqrt(np.asarray(info.pT2Hat)), weight, float(pythia.infoPython().sigmaGen()) * 1e9


def test_weights_undo_the_bias() -> None:
    part = SLICES[0]
    pt, weight, sigma = hard_process(part, True, 20_000)
    plain_pt, plain_weight, plain_sigma = hard_process(part, False, 20_000)
    # Masses of c and b move pT a little after the weight is drawn.
    np.testing.assert_allclose(weight, (part.low / pt) ** part.power, rtol=1e-3)
    assert (plain_weight == 1).all()
    assert sigma == pytest.approx(plain_sigma, rel=0.02)
    assert cross_section(PLAIN, part, 20_000) == pytest.approx(plain_sigma, rel=0.02)
    edges = np.array([470, 520, 580, 660, 800])
    spectrum = sigma * np.histogram(pt, edges, weights=weight)[0] / weight.sum()
    plain = plain_sigma * np.histogram(plain_pt, edges)[0] / len(plain_pt)
    np.testing.assert_allclose(spectrum, plain, rtol=0.1)


def test_batches_of_any_size_give_the_same_events() -> None:
    runs = []
    for batch in (4, 9):
        batches = PythiaRun(PLAIN, SLICES[1], 17).batches(18, batch)
        parts = [detected(some, 3, 1, 0, with_constituents=True) for some in batches]
        runs.append({name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns})
    assert len(runs[0]["run"]) > 10
    for name, column in runs[0].items():
        np.testing.assert_array_equal(column, runs[1][name], err_msg=name)


def test_collisions_hold_together() -> None:
    some = next(PythiaRun(PLAIN, SLICES[0], 2).batches(5))
    assert len(some) == 5
    assert some.offset[-1] == len(some.momentum) == len(some.charged)
    assert some.parton_offset[-1] == len(some.parton) == len(some.parton_label)
    assert set(some.parton_label.tolist()) <= {1, 2, 3, 4, 5, 21}
    # Neutrinos and muons aside, an event holds the energy of the two beams.
    energy = np.add.reduceat(some.momentum[:, 3], some.offset[:-1])
    assert (energy < 13_001).all()
    assert (energy > 10_000).all()


def test_varied_sample_has_all_weights() -> None:
    generator = PythiaRun(sample_spec("nominal"), SLICES[0], 4)
    weights = next(generator.batches(40)).weights
    assert generator.weight_names[0] == "nominal"
    assert set(SHOWER_WEIGHTS) | set(PDF_SETS) < set(generator.weight_names)
    assert weights.shape == (40, len(generator.weight_names))
    assert np.isfinite(weights).all()
    ratio = weights[:, 1:] / weights[:, :1]
    assert (ratio.std(axis=0) > 0).all()
    assert np.median(ratio, axis=0) == pytest.approx(1, abs=0.5)
    assert PythiaRun(PLAIN, SLICES[0], 4).weight_names == ("nominal",)


def test_pdf_ratio_is_one_for_the_set_of_the_sample() -> None:
    pythia = start_pythia((*settings_of(PLAIN, SLICES[0], 11), "PartonLevel:all = off", "HadronLevel:all = off"))
    ratio = PdfWeights({"same": 13, "other": 17})(pythia.nextBatch(200).info)
    np.testing.assert_allclose(ratio[:, 0], 1, rtol=1e-9)
    assert ratio[:, 1].std() > 0.01


def test_pdf_weights_agree_with_events_made_with_the_other_set() -> None:
    # The cross section of the reweighted events is that of a run with the other set; alpha_s is the tune's in both.
    sample = SampleSpec("other", "pdf", ("Tune:pp = 21", "PDF:pSet = 17"), 99)
    pythia = start_pythia((*settings_of(PLAIN, SLICES[1], 11), "PartonLevel:all = off", "HadronLevel:all = off"))
    info = pythia.nextBatch(20_000).info
    weight = np.asarray(info.weights[:, 0])
    moved = (weight[:, None] * PdfWeights({"other": 17})(info)).sum() / weight.sum()
    own = cross_section(PLAIN, SLICES[1], 20_000)
    assert abs(moved - 1) > 0.05, "the two sets are too alike to tell"
    assert moved * own == pytest.approx(cross_section(sample, SLICES[1], 20_000), rel=0.02)


def test_every_sample_is_accepted_by_pythia() -> None:
    for spec in SAMPLES.values():
        pythia = pythia8().Pythia("", False)
        for line in settings_of(spec, SLICES[0], 1):
            assert pythia.readString(line), (spec.name, line)


def test_refused_setting_is_named() -> None:
    with pytest.raises(ConfigError, match="Tune:pq = 3"):
        PythiaRun(SampleSpec("wrong", "none", ("Tune:pq = 3",), 1), SLICES[0], 1)


def test_unknown_sample() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'vincia'"):
        sample_spec("vinci")


def test_samples_are_distinct() -> None:
    assert len({spec.seed for spec in SAMPLES.values()}) == len(SAMPLES)
    assert sum(part.share for part in SLICES) == pytest.approx(1)
    assert all(a.high == b.low for a, b in pairwise(SLICES))
