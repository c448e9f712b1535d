from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from beampipe.calibration.exports.corrections import (
    growth,
    read_correction,
    systematics_of,
    write_correction,
    write_covariance,
)
from beampipe.calibration.method.factors import FactorKey, Factors
from beampipe.errors import ConfigError, FileError
from tests.calibration.report.conftest import EDGES

CENTRES = [(low + high) / 2 for low, high in pairwise(EDGES)]
ROUNDING = 1e-15
"""The reader of JSON in correctionlib may miss the nearest number by one."""
GAP = FactorKey("n_trk", 0.5, "quark", "efficiency")


def test_every_bin_evaluates_to_its_factor(factors: Factors, tmp_path: Path) -> None:
    path = tmp_path / "corrections.json"
    write_correction(factors, path)
    corrections = read_correction(path)
    compared = 0
    for (tagger, wp, flavour, quantity), one in factors.by_name.items():
        correction = corrections[f"{tagger}_{quantity}"]
        by_id = corrections[f"{tagger}_{quantity}_by_id"]
        for systematic, expected in systematics_of(one):
            result = correction.evaluate(systematic, flavour, f"{wp:g}", np.array(CENTRES))
            np.testing.assert_allclose(result, expected, rtol=ROUNDING)
            for number in (1, 2, 3, 4, 5) if flavour == "quark" else (21,):
                ids = np.full(len(CENTRES), number, np.int8)
                result = by_id.evaluate(systematic, ids, f"{wp:g}", np.array(CENTRES))
                np.testing.assert_allclose(result, expected, rtol=ROUNDING)
            compared += 1
        assert by_id.evaluate("nominal", 0, f"{wp:g}", CENTRES[0]) == 1.0
    assert compared == 8 * (1 + 2 * 7)


def test_the_file_fits_the_schema_and_says_what_it_holds(factors: Factors, tmp_path: Path) -> None:
    from correctionlib.schemav2 import CorrectionSet

    path = tmp_path / "corrections.json"
    write_correction(factors, path)
    result = CorrectionSet.model_validate_json(path.read_text())
    names = [f"n_trk_{quantity}{ending}" for quantity in ("efficiency", "rejection") for ending in ("", "_by_id")]
    assert [correction.name for correction in result.corrections] == names
    for item in result.corrections:
        assert [variable.name for variable in item.inputs] == ["systematic", "flavour", "working_point", "pt"]
        assert "above 900 GeV that of the last bin" in (item.description or "")
    for systematic in ("nominal", "pdf_up", "tracking_down", "stat_up", "total_down"):
        assert systematic in str(result.corrections[0].inputs[0].description)


def test_edges_belong_to_the_bin_above(factors: Factors, tmp_path: Path) -> None:
    path = tmp_path / "corrections.json"
    write_correction(factors, path)
    nominal = factors.against_pt(tagger="n_trk", working_point=0.8, flavour="gluon", quantity="rejection").nominal
    correction = read_correction(path)["n_trk_rejection"]
    results = [correction.evaluate("nominal", "gluon", "0.8", pt) for pt in (500.0, 599.99, 600.0)]
    np.testing.assert_allclose(results, nominal[[0, 0, 1]], rtol=ROUNDING)


def test_outside_the_bins(factors: Factors, tmp_path: Path) -> None:
    path = tmp_path / "corrections.json"
    write_correction(factors, path)
    correction = read_correction(path)["n_trk_efficiency"]
    with pytest.raises(Exception, match=r"[Ii]ndex"):
        correction.evaluate("nominal", "quark", "0.5", 499.0)
    results = [correction.evaluate("nominal", "quark", "0.5", pt) for pt in (900.0, 5000.0)]
    np.testing.assert_allclose(results, factors.by_name[GAP].nominal[[1, 1]], rtol=ROUNDING)


def test_uncertainties_grow_above_the_last_bin(factors: Factors, tmp_path: Path) -> None:
    path = tmp_path / "corrections.json"
    write_correction(factors, path)
    correction = read_correction(path)["n_trk_efficiency"]
    one = factors.by_name[GAP]
    step = max(abs(one.nominal[1] - one.nominal[0]), one.total[1])
    for way, sign in (("up", 1), ("down", -1)):
        inside = correction.evaluate(f"extrapolation_{way}", "quark", "0.5", 700.0)
        assert inside == pytest.approx(one.nominal[1], rel=ROUNDING)
        for pt, doublings in ((900.0, 0.0), (1800.0, 1.0), (7200.0, 3.0)):
            alone = correction.evaluate(f"extrapolation_{way}", "quark", "0.5", pt)
            assert alone == pytest.approx(one.nominal[1] + sign * step * doublings)
            total = correction.evaluate(f"total_{way}", "quark", "0.5", pt)
            assert total == pytest.approx(one.nominal[1] + sign * np.hypot(one.total[1], step * doublings))
    lost = replace(one, total=np.array([one.total[0], np.nan]))
    assert np.isnan(growth(lost))


def test_a_bin_that_is_not_known_fails_alone(gappy: Factors, tmp_path: Path) -> None:
    path = tmp_path / "corrections.json"
    write_correction(gappy, path)
    correction = read_correction(path)["n_trk_efficiency"]
    known = gappy.by_name[GAP]
    result = correction.evaluate("nominal", "quark", "0.5", CENTRES[0])
    assert result == pytest.approx(known.nominal[0], rel=ROUNDING)
    for systematic, pt in (
        ("nominal", CENTRES[1]),
        ("nominal", 2000.0),
        ("total_up", 2000.0),
        ("pdf_up", CENTRES[1]),
        ("stat_up", 550.0),
    ):
        with pytest.raises(Exception, match=r"[Ii]ndex"):
            correction.evaluate(systematic, "quark", "0.5", pt)
    assert correction.evaluate("nominal", "quark", "0.8", CENTRES[1]) > 0


def test_a_bin_without_a_valid_error_fails_whatever_is_asked_for(factors: Factors, tmp_path: Path) -> None:
    """The nominal value alone, used without its error, would pass for a measurement."""
    one = factors.by_name[GAP]
    lost = replace(one, total=np.array([one.total[0], np.nan]), flags=((), ("no_statistical_error",)))
    path = tmp_path / "corrections.json"
    write_correction(replace(factors, by_name={**factors.by_name, GAP: lost}), path)
    correction = read_correction(path)["n_trk_efficiency"]
    assert correction.evaluate("total_up", "quark", "0.5", CENTRES[0]) > 0
    for systematic in ("nominal", "pdf_up", "stat_down", "total_up"):
        with pytest.raises(Exception, match=r"[Ii]ndex"):
            correction.evaluate(systematic, "quark", "0.5", CENTRES[1])
    assert (
        "quark 0.5 600-900 GeV: no statistical error" in json.loads(path.read_text())["corrections"][0]["description"]
    )


def test_names_that_corrections_need_are_refused(factors: Factors, tmp_path: Path) -> None:
    one = factors.by_name[GAP]
    clashing = replace(one, sources={**one.sources, "stat": one.total})
    with pytest.raises(ConfigError, match="systematic stat: got a name"):
        write_correction(replace(factors, by_name={**factors.by_name, GAP: clashing}), tmp_path / "corrections.json")


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(FileError, match="got no corrections"):
        read_correction(tmp_path / "other.json")


def test_covariance_lies_beside(gappy: Factors, tmp_path: Path) -> None:
    write_covariance(gappy, tmp_path / "covariance.json")
    plain = json.loads((tmp_path / "covariance.json").read_text())
    assert plain["pt_edges"] == list(EDGES)
    assert len(plain["covariances"]) == len(gappy.by_name)
    for entry, one in zip(plain["covariances"], gappy.by_name.values(), strict=True):
        np.testing.assert_array_equal(np.array(entry["covariance"], np.float64), one.covariance)
    assert plain["covariances"][0]["covariance"][1] == [None, None]
    assert plain["covariances"][0]["flags"] == [[], ["no_value", "no_statistical_error"]]
