"""Factors from simulation to simulation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from beampipe.calibration.events.dijets import FLAVOURS
from beampipe.calibration.exports.corrections import read_correction, write_mc_to_mc
from beampipe.calibration.method.factors import FactorKey
from beampipe.calibration.report.tables import mc_to_mc_table
from beampipe.calibration.results import Results, between_samples, other_samples
from tests.calibration.report.conftest import templates


@pytest.fixture
def with_other(results: Results) -> Results:
    other = replace(results.samples["nominal"], templates=templates(FLAVOURS, 3))
    return replace(results, samples={**results.samples, "me": other})


def test_the_ratio_and_its_error_by_hand(with_other: Results) -> None:
    """Forward gluons, 50 %: the first three bins of x pass. Errors of ratios of weighted numbers."""
    result = between_samples(with_other, "me", FactorKey("n_trk", 0.5, "gluon", "rejection"))
    for p in range(2):
        ratio, square = 1.0, 0.0
        for name, power in (("nominal", 1), ("me", -1)):
            one = with_other.samples[name].templates
            jets, squares = (part[0, p, 0, FLAVOURS.index("gluon")] for part in (one.values, one.squares))
            passed, failed = jets[:3].sum(), jets[3:].sum()
            share = failed / (passed + failed)
            variance = (failed**2 * squares[:3].sum() + passed**2 * squares[3:].sum()) / (passed + failed) ** 4
            ratio, square = ratio * share**power, square + variance / share**2
        assert result.values[p] == pytest.approx(ratio)
        assert result.errors[p] == pytest.approx(ratio * np.sqrt(square))


def test_correctionlib_evaluates_to_the_table(with_other: Results, tmp_path: Path) -> None:
    assert other_samples(with_other) == ("me",)
    write_mc_to_mc(with_other, tmp_path / "mc_to_mc.json")
    correction = read_correction(tmp_path / "mc_to_mc.json")["n_trk_efficiency_mc_to_mc"]
    result = between_samples(with_other, "me", FactorKey("n_trk", 0.8, "quark", "efficiency"))
    for name, sign in (("nominal", 0), ("stat_up", 1), ("stat_down", -1)):
        read = correction.evaluate("me", name, "quark", "0.8", np.array([550.0, 700.0]))
        np.testing.assert_allclose(read, result.values + sign * result.errors, rtol=1e-14)
    table = mc_to_mc_table(with_other)
    assert len(table.rows) == 8 * 2
    assert f"{result.values[0]:.4f}" in {row[6] for row in table.rows}


def test_the_same_sample_gives_one(with_other: Results) -> None:
    same = replace(with_other, samples={**with_other.samples, "me": with_other.samples["nominal"]})
    for key in same.factors.by_name:
        np.testing.assert_allclose(between_samples(same, "me", key).values, 1)
