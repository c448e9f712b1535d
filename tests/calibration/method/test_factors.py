"""Stage 6: scale factors, their uncertainties, and the file they are published in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.calibration.config import Configuration, InputSample, Systematic
from beampipe.calibration.events.variations import GLUON_REWEIGHT
from beampipe.calibration.method.factors import Factors
from beampipe.calibration.method.matrix import Efficiencies
from beampipe.calibration.method.uncertainties import factors_of, statistical
from beampipe.calibration.taggers import Tagger
from beampipe.errors import ConfigError, FileError, UnknownNameError

SAMPLES = {
    "nominal": InputSample("nominal", ()),
    "data": InputSample("data", (), "data"),
    "one": InputSample("one", ()),
    "two": InputSample("two", ()),
}
NAMES = (
    "nominal",
    "weight:pdf_0",
    "weight:pdf_1",
    "jets:jes_1_up",
    "jets:jes_1_down",
    "sample:one",
    "sample:two",
    str(GLUON_REWEIGHT),
)
DATA = np.array([0.5, 0.52, 0.46, 0.55, 0.44, 0.6, 0.4, 0.51])
"""Efficiency of quarks in data by case; in simulation it is 0.4 for all, by label 0.42; of gluons half of these."""


def configuration(folder: Path, *systematics: Systematic) -> Configuration:
    return Configuration(
        folder,
        SAMPLES,
        pt_edges=(500.0, 800.0, 2000.0),
        working_points=(0.5,),
        taggers=(Tagger("n_trk", 20, 0.0, 40.0),),
        systematics=systematics,
    )


def measured(**changes: Any) -> Efficiencies:
    """Two bins of pT, one working point; the second bin has data 10 % higher. Replicas are all alike."""
    both = np.stack([DATA, 1.1 * DATA], axis=1)[:, :, None, None] * np.array([1.0, 0.5])
    simulation = np.full(both.shape, 0.4) * np.array([1.0, 0.5])
    standard = Efficiencies(
        names=np.array(NAMES),
        cuts=np.array([[5], [7]]),
        data=both,
        simulation=simulation,
        truth=simulation * 1.05,
        data_replicas=np.stack([both[0]] * 2),
        simulation_replicas=np.stack([simulation[0]] * 2),
        fractions=np.full((len(NAMES), 2, 2), 0.6),
        shapes=np.zeros((3, 2, 2, 20)),
    )
    return replace(standard, **changes)


def test_numbers_of_the_nominal_case(tmp_path: Path) -> None:
    result = factors_of(configuration(tmp_path), {"n_trk": measured()})
    quark = result.against_pt(tagger="n_trk", working_point=0.5, flavour="quark", quantity="efficiency")
    np.testing.assert_allclose(quark.nominal, [1.25, 1.375])
    np.testing.assert_allclose(quark.data, [0.5, 0.55])
    np.testing.assert_allclose(quark.simulation, [0.4, 0.4])
    np.testing.assert_allclose(quark.truth, [0.42, 0.42])
    gluon = result.against_pt(tagger="n_trk", working_point=0.5, flavour="gluon", quantity="rejection")
    np.testing.assert_allclose(gluon.nominal, [0.75 / 0.8, 0.725 / 0.8])
    np.testing.assert_allclose(gluon.data, [0.75, 0.725])
    np.testing.assert_allclose(gluon.simulation, [0.8, 0.8])
    assert result.cuts["n_trk"].tolist() == [[10.0], [14.0]], "upper edges of bins of width 2"
    assert (quark.statistical == 0).all(), "replicas are alike"
    assert (quark.total == 0).all()


@pytest.mark.parametrize(
    ("systematic", "want"),
    [
        (Systematic("s", "envelope", weights=("pdf_*",)), 0.1),  # 0.02 and -0.04 over 0.4
        (Systematic("s", "quadrature", weights=("pdf_*",)), (0.05**2 + 0.1**2) ** 0.5),
        (Systematic("s", "up_down", kinematics=("jes_*",)), 0.15),  # 0.05 and -0.06 over 0.4
        (Systematic("s", samples=("one",)), 0.25),  # 0.1 over 0.4
        (Systematic("s", samples=("one", "two")), 0.5),  # against each other
        (Systematic("s", samples=("nominal", "two")), 0.25),
        (Systematic("s", method="gluon_reweight"), 0.025),
        (Systematic("s", method="nonclosure"), 1.25 * (1 - 1 / 1.05)),
    ],
)
def test_each_kind_of_source_by_hand(tmp_path: Path, systematic: Systematic, want: float) -> None:
    result = factors_of(configuration(tmp_path, systematic), {"n_trk": measured()})
    one = result.against_pt(tagger="n_trk", working_point=0.5, flavour="quark", quantity="efficiency")
    np.testing.assert_allclose(one.sources["s"], [want, 1.1 * want], rtol=1e-12)
    np.testing.assert_allclose(one.total, one.sources["s"], rtol=1e-12)
    np.testing.assert_allclose(np.diagonal(one.covariance), one.total**2, rtol=1e-12)
    np.testing.assert_allclose(abs(one.covariance[0, 1]), np.sqrt(np.prod(np.diagonal(one.covariance))), rtol=1e-12)


def test_total_is_the_root_of_the_sum_of_squares(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    drawn = measured().data[:1, None, :, :, :].reshape(1, 2, 1, 2) * rng.normal(1, 0.1, (500, 2, 1, 2))
    fixed = np.broadcast_to(measured().simulation[:1], drawn.shape).copy()
    sources = (
        Systematic("pdf", "envelope", weights=("pdf_*",), experimental=True),
        Systematic("jes", "up_down", kinematics=("jes_*",)),
        Systematic("other", samples=("one",)),
    )
    efficiencies = measured(data_replicas=drawn, simulation_replicas=fixed)
    result = factors_of(configuration(tmp_path, *sources), {"n_trk": efficiencies})
    assert result.experimental == ("pdf",)
    for item in result.by_name.values():
        squares = item.statistical**2 + sum(values**2 for values in item.sources.values())
        np.testing.assert_allclose(item.total**2, squares, rtol=1e-12)
        np.testing.assert_allclose(np.diagonal(item.covariance), squares, rtol=1e-12)
        np.testing.assert_array_equal(item.covariance, item.covariance.T)
        assert np.linalg.eigvalsh(item.covariance).min() > 0
    quark = result.against_pt(tagger="n_trk", working_point=0.5, flavour="quark", quantity="efficiency")
    np.testing.assert_allclose(quark.statistical, 0.1 * quark.nominal, rtol=4 / 500**0.5)


def test_the_statistical_error_is_that_of_the_replicas() -> None:
    """Of 4000 replicas with known errors and correlation, a few of them far out."""
    rng = np.random.default_rng(7)
    covariance = np.array([[0.04, 0.03, 0.0], [0.03, 0.09, 0.0], [0.0, 0.0, 0.01]])
    replicas = rng.multivariate_normal([1.0, 0.9, 1.1], covariance, 4000)
    replicas[::100] += rng.normal(0, 50, (40, 3))
    error, result = statistical(replicas)
    np.testing.assert_allclose(error, [0.2, 0.3, 0.1], rtol=0.05)
    np.testing.assert_allclose(np.diagonal(result), error**2, rtol=1e-12)
    correlation = result / np.outer(error, error)
    assert correlation[0, 1] == pytest.approx(0.5, abs=0.06)
    assert correlation[0, 2] == pytest.approx(0, abs=0.06)
    assert replicas.std(axis=0).min() > 1, "a plain spread would be far off"


def test_replicas_that_say_nothing() -> None:
    for replicas in (np.empty((0, 2)), np.ones((1, 2)), np.full((10, 2), np.nan)):
        error, covariance = statistical(replicas)
        assert np.isnan(error).all()
        assert np.isnan(covariance).all()
    some = np.random.default_rng(1).normal(1, 0.1, (400, 2))
    some[:100, 0] = np.nan
    assert statistical(some)[0] == pytest.approx([0.1, 0.1], rel=0.2)
    np.testing.assert_array_equal(statistical(some)[0][1], statistical(some[:, 1:])[0][0])
    error, covariance = statistical(np.ones((5, 2)))
    assert (error == 0).all()
    assert (covariance == 0).all()


def test_a_variation_that_is_not_there_is_refused(tmp_path: Path) -> None:
    wrong = Systematic("s", "envelope", weights=("pfd*",))
    with pytest.raises(UnknownNameError, match="variation of systematic s: got 'weight:pfd"):
        factors_of(configuration(tmp_path, wrong), {"n_trk": measured()})


@pytest.fixture
def some(tmp_path: Path) -> Factors:
    efficiencies = measured()
    efficiencies.data[0, 1, 0, 0] = np.nan
    efficiencies.data_replicas[:, 1, 0, 0] = np.nan
    source = Systematic("pdf", "envelope", weights=("pdf_*",), experimental=True)
    return factors_of(configuration(tmp_path, source), {"n_trk": efficiencies})


def test_a_file_gives_back_what_was_written(some: Factors, tmp_path: Path) -> None:
    path, again = tmp_path / "factors.json", tmp_path / "again.json"
    some.write(path)
    result = Factors.read(path)
    result.write(again)
    assert again.read_bytes() == path.read_bytes()
    assert result.pt_edges == some.pt_edges
    assert result.working_points == some.working_points
    assert result.experimental == ("pdf",)
    assert list(result.by_name) == list(some.by_name)
    for name, one in some.by_name.items():
        other = result.by_name[name]
        for field in ("nominal", "data", "simulation", "truth", "statistical", "total", "covariance"):
            np.testing.assert_array_equal(getattr(other, field), getattr(one, field))
        assert list(other.sources) == list(one.sources)
    np.testing.assert_array_equal(result.cuts["n_trk"], some.cuts["n_trk"])
    np.testing.assert_array_equal(result.fractions["n_trk"], some.fractions["n_trk"])


def test_what_is_unknown_is_null(some: Factors, tmp_path: Path) -> None:
    path = tmp_path / "factors.json"
    some.write(path)
    text = path.read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    first = json.loads(text)["scale_factors"][0]
    assert first["nominal"] == [1.25, None]
    assert first["statistical"] == [0.0, None]
    assert first["sources"]["pdf"][1] is None
    assert first["total"][1] is None
    assert first["flags"][1] == ["no_value", "no_statistical_error", "no_systematic_error", "small_determinant"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1, "scale_factors": [{}]}'])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "factors.json"
    path.write_text(content)
    with pytest.raises(FileError, match=r"factors\.json: got no factors .*make them: beampipe calibration factors"):
        Factors.read(path)
    with pytest.raises(FileError, match="got no factors"):
        Factors.read(tmp_path / "none.json")


def test_a_factor_is_found_by_what_it_is_of(some: Factors) -> None:
    point = 0.1 + 0.4 + 1e-17  # need not have the bits of the configuration's
    one = some.at(tagger="n_trk", working_point=point, flavour="quark", quantity="efficiency", pt=799.9)
    whole = some.against_pt(tagger="n_trk", working_point=point, flavour="quark", quantity="efficiency")
    assert [str(each) for each in some.bins] == ["500-800 GeV", "800-2000 GeV"]
    assert (one.pt_low, one.pt_high, one.working_point) == (500.0, 800.0, 0.5)
    assert (one.nominal, one.sources["pdf"], one.cut) == (1.25, whole.sources["pdf"][0], 10.0)
    assert (one.forward_fraction, one.central_fraction) == (0.6, 0.6)
    second = some.at(tagger="n_trk", working_point=0.5, flavour="quark", quantity="efficiency", pt=800.0)
    assert second.pt_low == 800.0
    assert np.isnan(second.data)
    table = some.table()
    assert len(table) == len(some.by_name) * len(some.bins) == 8
    assert repr(table[0]) == repr(one)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"tagger": "ntrk"}, UnknownNameError, "unknown tagger: got 'ntrk', .* did you mean 'n_trk'"),
        ({"working_point": 0.55}, UnknownNameError, "unknown working point: got '0.55', expected one of 0.5"),
        ({"flavour": "quarks"}, UnknownNameError, "unknown flavour: got 'quarks', .* did you mean 'quark'"),
        ({"quantity": "rejections"}, UnknownNameError, "unknown quantity"),
        ({"pt": 2000.0}, ConfigError, "pt: got 2000 GeV, expected 500 to 2000"),
        ({"pt": 499.9}, ConfigError, "pt: got 499.9 GeV, expected 500 to 2000"),
    ],
)
def test_what_is_no_factor_is_refused(
    some: Factors, wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    right = {"tagger": "n_trk", "working_point": 0.5, "flavour": "quark", "quantity": "efficiency", "pt": 700.0}
    with pytest.raises(error, match=message):
        some.at(**{**right, **wrong})
