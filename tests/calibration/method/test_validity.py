"""Bins that have no valid error, and bins that a reader should look at, told apart from the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from beampipe.calibration.config import Systematic
from beampipe.calibration.events.histograms import Axes, TaggerBins
from beampipe.calibration.events.variations import UNVARIED
from beampipe.calibration.method.cases import Dropped, Templates
from beampipe.calibration.method.factors import FLAGS, NO_VALID_ERROR, Factors
from beampipe.calibration.method.uncertainties import factors_of
from beampipe.errors import InputError
from tests.calibration.method.test_factors import configuration, measured

PDF = Systematic("pdf", "envelope", weights=("pdf_*",))
QUARK = {"tagger": "n_trk", "working_point": 0.5, "flavour": "quark", "quantity": "efficiency"}
NONE = np.zeros(0)


def drawn(n: int = 200) -> dict[str, np.ndarray]:
    """Replicas that scatter by 10 %."""
    scatter = np.random.default_rng(8).normal(1, 0.1, (n, 2, 1, 2))
    replicas = measured().data[0] * scatter
    return {"data_replicas": replicas, "simulation_replicas": np.broadcast_to(measured().simulation[0], scatter.shape)}


def with_empty_bin() -> dict[str, np.ndarray]:
    """The second bin of pT has no jets of data."""
    made = {name: array.copy() for name, array in drawn().items()}
    made["data_replicas"][:, 1] = np.nan
    data = measured().data
    data[:, 1] = np.nan
    return {**made, "data": data}


@pytest.mark.parametrize("sources", [(), (PDF,)])
def test_an_empty_bin_takes_no_error_from_the_others(tmp_path: Path, sources: tuple[Systematic, ...]) -> None:
    whole = factors_of(configuration(tmp_path, *sources), {"n_trk": measured(**drawn())})
    gappy = factors_of(configuration(tmp_path, *sources), {"n_trk": measured(**with_empty_bin())})
    for key, one in gappy.by_name.items():
        other = whole.by_name[key]
        assert one.statistical[0] == other.statistical[0] > 0
        assert one.total[0] == other.total[0] >= one.statistical[0]
        assert one.covariance[0, 0] == pytest.approx(one.total[0] ** 2, rel=1e-12)
        assert np.isnan([one.nominal[1], one.statistical[1], one.total[1], *one.covariance[1]]).all()
        assert one.valid.tolist() == [True, False]
        assert {"no_value", "no_statistical_error"} <= set(one.flags[1])
        assert not set(one.flags[0]) & set(NO_VALID_ERROR)
    gappy.require_valid()


def test_without_replicas_there_is_no_total(tmp_path: Path) -> None:
    nothing = np.empty((0, 2, 1, 2))
    result = factors_of(
        configuration(tmp_path, PDF), {"n_trk": measured(data_replicas=nothing, simulation_replicas=nothing)}
    )
    one = result.against_pt(**QUARK)  # type: ignore[arg-type]
    assert np.isfinite(one.sources["pdf"]).all()
    assert np.isnan(one.total).all()
    with pytest.raises(
        InputError, match=r"no bin with a valid error \(fewer than half of the replicas.*take more events"
    ):
        result.require_valid()
    empty = replace(result, dropped=(Dropped("data", "clean", np.nan, np.nan),))
    with pytest.raises(InputError, match="no event of sample data passes the trigger and the cuts"):
        empty.require_valid()


def test_an_unknown_shift_takes_the_total_of_its_bin(tmp_path: Path) -> None:
    efficiencies = measured(**drawn())
    efficiencies.data[1, 0] = np.nan
    one = factors_of(configuration(tmp_path, PDF), {"n_trk": efficiencies}).against_pt(**QUARK)  # type: ignore[arg-type]
    assert np.isfinite(one.statistical).all()
    assert np.isfinite(one.total).tolist() == [False, True]
    assert "no_systematic_error" in one.flags[0]
    assert "no_systematic_error" not in one.flags[1]


def test_each_flag_has_its_rule(tmp_path: Path) -> None:
    jets = np.full((2, 2, 3, 2), 1000.0)
    fractions = np.broadcast_to([0.7, 0.6], measured().fractions.shape)
    clean = measured(**drawn(), jets=jets, fractions=fractions)
    assert flags(tmp_path, clean) == ((), ())
    negative, above, far = clean.data.copy(), clean.data.copy(), clean.simulation.copy()
    negative[0, 0], above[0, 1], far[0, 1] = -0.293, 1.01, 0.61
    few, heavy, near = jets.copy(), jets.copy(), fractions.copy()
    few[0, 1, 2] = 99.0
    heavy[1, 0, 0, 1] = 24.9
    near[0, 1] = [0.6, 0.64]
    for name, bad, place in [
        ("efficiency_above_1", replace(clean, data=above), 1),
        ("far_from_working_point", replace(clean, simulation=far), 1),
        ("few_events", replace(clean, jets=few), 0),
        ("dominated_by_one_weight", replace(clean, jets=heavy), 1),
        ("small_determinant", replace(clean, fractions=near), 1),
    ]:
        result = flags(tmp_path, bad)
        assert result[place] == (name,)
        assert result[1 - place] == ()
        assert name in FLAGS
    assert flags(tmp_path, replace(clean, data=negative)) == (("negative_efficiency", "not_published"), ())


def flags(folder: Path, efficiencies: object) -> tuple[tuple[str, ...], ...]:
    result: Factors = factors_of(configuration(folder), {"n_trk": efficiencies})  # type: ignore[dict-item]
    path = folder / "factors.json"
    result.write(path)
    again = Factors.read(path)
    assert [item.flags for item in again.by_name.values()] == [item.flags for item in result.by_name.values()]
    assert again.at(**QUARK, pt=700.0).flags == result.against_pt(**QUARK).flags[0]  # type: ignore[arg-type]
    return result.against_pt(**QUARK).flags  # type: ignore[arg-type]


def test_effective_numbers_by_hand() -> None:
    """Four jets of weight 1 and one of weight 10 count as 14^2 / 104."""
    axes = Axes((500.0, 800.0), ("light", "c", "gluon"), (TaggerBins("n_trk", 2),))
    entries, values, squares = (np.zeros(axes.shape) for _ in range(3))
    entries[0, 0, 0], values[0, 0, 0], squares[0, 0, 0] = [3, 0], [3, 0], [3, 0]
    entries[0, 0, 1], values[0, 0, 1], squares[0, 0, 1] = [1, 1], [1, 10], [1, 100]
    entries[0, 0, 2], values[0, 0, 2], squares[0, 0, 2] = [0, 2], [0, 4], [0, 8]
    templates = Templates(axes, (UNVARIED,), values[None], squares[None], np.zeros((0, *axes.shape)), entries)
    result = templates.flavour_numbers("n_trk")
    np.testing.assert_allclose(result[0, 0], np.array([[5, 14**2 / 104], [2, 2]], np.float64))
    np.testing.assert_allclose(templates.total_numbers("n_trk")[0, 0], np.array([7, 18**2 / 112]))
    np.testing.assert_array_equal(result[0, 1], 0)
