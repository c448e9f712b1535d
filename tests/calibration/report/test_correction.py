from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.calibration.config import REGIONS
from beampipe.calibration.events.dijets import FLAVOURS
from beampipe.calibration.exports.corrections import (
    growth,
    read_correction,
    systematics_of,
    write_correction,
    write_mc_to_mc,
)
from beampipe.calibration.exports.write import scale_factor_folder, write_root
from beampipe.calibration.method.factors import FLAGS, FactorKey, Factors
from beampipe.calibration.report.tables import mc_to_mc_table
from beampipe.calibration.results import Results, between_samples, other_samples
from beampipe.errors import ConfigError
from tests.calibration.report.conftest import BINS, EDGES, templates

CENTRES = [(low + high) / 2 for low, high in pairwise(EDGES)]
ROUNDING = 1e-15
"""The reader of JSON in correctionlib may miss the nearest number by one."""
GAP = FactorKey("n_trk", 0.5, "quark", "efficiency")


def corrections_of(factors: Factors, folder: Path) -> Any:
    """The corrections as correctionlib reads them."""
    write_correction(factors, folder / "corrections.json")
    return read_correction(folder / "corrections.json")


def test_every_bin_evaluates_to_its_factor(factors: Factors, tmp_path: Path) -> None:
    corrections = corrections_of(factors, tmp_path)
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


def test_outside_the_bins(factors: Factors, tmp_path: Path) -> None:
    correction = corrections_of(factors, tmp_path)["n_trk_efficiency"]
    with pytest.raises(Exception, match=r"[Ii]ndex"):
        correction.evaluate("nominal", "quark", "0.5", 499.0)
    results = [correction.evaluate("nominal", "quark", "0.5", pt) for pt in (900.0, 5000.0)]
    np.testing.assert_allclose(results, factors.by_name[GAP].nominal[[1, 1]], rtol=ROUNDING)


def test_uncertainties_grow_above_the_last_bin(factors: Factors, tmp_path: Path) -> None:
    correction = corrections_of(factors, tmp_path)["n_trk_efficiency"]
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
    correction = corrections_of(gappy, tmp_path)["n_trk_efficiency"]
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
    correction = corrections_of(replace(factors, by_name={**factors.by_name, GAP: lost}), tmp_path)["n_trk_efficiency"]
    assert correction.evaluate("total_up", "quark", "0.5", CENTRES[0]) > 0
    for systematic in ("nominal", "pdf_up", "stat_down", "total_up"):
        with pytest.raises(Exception, match=r"[Ii]ndex"):
            correction.evaluate(systematic, "quark", "0.5", CENTRES[1])
    written = json.loads((tmp_path / "corrections.json").read_text())
    assert "quark 0.5 600-900 GeV: no statistical error" in written["corrections"][0]["description"]


def test_names_that_corrections_need_are_refused(factors: Factors, tmp_path: Path) -> None:
    one = factors.by_name[GAP]
    clashing = replace(one, sources={**one.sources, "stat": one.total})
    with pytest.raises(ConfigError, match="systematic stat: got a name"):
        write_correction(replace(factors, by_name={**factors.by_name, GAP: clashing}), tmp_path / "corrections.json")


@pytest.fixture(scope="module")
def path(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("root") / "histograms.root"
    write_root(results, path)
    return path


def test_scale_factors_come_back(results: Results, path: Path) -> None:
    import uproot

    with uproot.open(path) as file:
        for key, one in results.factors.by_name.items():
            folder = file[scale_factor_folder(*key)]
            assert folder["scale_factor"].classname.startswith("TH1D")
            values, edges = folder["scale_factor"].to_numpy()
            np.testing.assert_array_equal(values, one.nominal)
            np.testing.assert_array_equal(edges, EDGES)
            squares = folder["scale_factor"].member("fSumw2")[1:-1]  # `errors` of uproot would give 0 for nan
            np.testing.assert_array_equal(squares, one.total**2)
            for name, expected in {**one.sources, "x": one.total}.items():
                result = folder["total" if name == "x" else f"source_{name}"].values()
                np.testing.assert_array_equal(result, expected)
            np.testing.assert_array_equal(folder["statistical"].values(), one.statistical)
            np.testing.assert_array_equal(folder["valid"].values(), one.valid)
            bits = [int(value) for value in folder["flags"].values()]
            assert [tuple(name for k, name in enumerate(FLAGS) if bit & 2**k) for bit in bits] == list(one.flags)
            assert folder["covariance"].classname.startswith("TH2D")
            np.testing.assert_array_equal(folder["covariance"].values(), one.covariance)


def test_the_joint_covariance_comes_back(results: Results, path: Path) -> None:
    import uproot

    with uproot.open(path) as file:
        np.testing.assert_array_equal(file["joint/covariance"].values(), results.joint.covariance)
        np.testing.assert_array_equal(file["joint/statistical"].values(), results.joint.statistical)
        np.testing.assert_array_equal(file["joint/nominal"].values(), results.joint.nominal)
        order = [FactorKey(**key) for key in json.loads(str(file["joint/order"]))]
        assert tuple(order) == results.joint.keys


def test_inputs_come_back_with_their_squares(results: Results, path: Path) -> None:
    import uproot

    with uproot.open(path) as file:
        for sample, flavours in (("nominal", FLAVOURS), ("data", ("data",))):
            templates = results.samples[sample].templates
            for r, region in enumerate(REGIONS):
                for f, flavour in enumerate(flavours):
                    histogram = file[f"inputs/{sample}/n_trk/{region}_{flavour}"]
                    np.testing.assert_array_equal(histogram.values(), templates.values[0, :, r, f])
                    np.testing.assert_array_equal(histogram.variances(), templates.squares[0, :, r, f])
                    np.testing.assert_array_equal(histogram.axis(1).edges(), np.linspace(0, 8, BINS + 1))


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
