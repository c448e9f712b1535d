"""Bins of pT and eta: through a run, its report and its corrections; a single bin gives what no bins give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.calibration.config import Bootstrap, Configuration
from beampipe.calibration.exports import read_correction
from beampipe.calibration.exports.write import CORRECTIONS, JOINT
from beampipe.calibration.method.factors import Factors
from beampipe.calibration.method.joint import JointUncertainties, combine_sets
from beampipe.calibration.report import write
from beampipe.calibration.report.write import Picture, figures_of
from beampipe.calibration.results import Results, collect_results
from beampipe.calibration.run import run_calibration
from beampipe.calibration.taggers import Tagger
from beampipe.calibration.tasks.runtime import FACTORS, workspace_of
from beampipe.errors import ConfigError
from tests.calibration.campaign import INLINE, Toys, configuration_of

ETA = (0.0, 0.9, 2.1)
FIGURES = ("spectra", "separation", "closure_n_trk_quark", "scale_factor_n_trk_50_quark_efficiency")
WHAT: Any = {"tagger": "n_trk", "working_point": 0.5, "flavour": "quark", "quantity": "efficiency"}


@pytest.fixture(scope="module")
def configuration(toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> Configuration:
    return replace(
        configuration_of(toys, tmp_path_factory.mktemp("eta")),
        pt_edges=(500.0, 800.0, 2000.0),
        eta_edges=ETA,
        working_points=(0.5,),
        taggers=(Tagger(bins=10, high=60.0),),
        bootstrap=Bootstrap(10),
    )


@pytest.fixture(scope="module")
def report(configuration: Configuration) -> Path:
    """Folder of the report of a calibration with four bins."""

    def some(results: Results) -> Iterator[tuple[Picture, Any]]:
        return (each for each in figures_of(results) if each[0].name.startswith(FIGURES))

    plan = run_calibration(configuration, INLINE)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(write, "figures_of", some)
        write.write_report(plan, workspace_of(configuration).store, configuration.output / "report")
    return configuration.output / "report"


def test_factors_are_looked_up_by_pt_and_eta(configuration: Configuration, report: Path, tmp_path: Path) -> None:
    factors = Factors.read(configuration.output / FACTORS)
    assert list(map(str, factors.bins)) == [
        f"{pt} GeV, |eta| {eta}" for eta in ("0 to 0.9", "0.9 to 2.1") for pt in ("500-800", "800-2000")
    ]
    whole = factors.against_pt(**WHAT)
    for number, (pt, eta) in enumerate([(700.0, 0.2), (900.0, -0.8), (500.0, 0.9), (1999.0, -2.0)]):
        result = factors.at(**WHAT, pt=pt, eta=eta)
        np.testing.assert_equal([result.nominal, result.data], [whole.nominal[number], whole.data[number]])
        np.testing.assert_equal(factors.by_eta()[number // 2].at(**WHAT, pt=pt, eta=eta), result)
    with pytest.raises(ConfigError, match=r"eta: got 2.5, expected \|eta\| of 0 to 2.1"):
        factors.at(**WHAT, pt=700.0, eta=2.5)
    histogram = factors.to_hist(**WHAT)
    np.testing.assert_array_equal(histogram.values(), whole.nominal.reshape(2, 2))
    assert [axis.name for axis in histogram.axes] == ["abs_eta", "pt"]
    factors.write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (configuration.output / FACTORS).read_bytes()


def test_corrections_have_an_input_for_eta(configuration: Configuration, report: Path) -> None:
    factors, corrections = Factors.read(configuration.output / FACTORS), read_correction(report / CORRECTIONS)
    pt, eta = np.array([700.0, 900.0, 700.0, 900.0]), np.array([0.2, 0.2, 1.5, 1.5])
    compared = 0
    for flavour, number in (("quark", 2), ("gluon", 21)):
        one = factors.against_pt(**WHAT | {"flavour": flavour})
        for k in np.flatnonzero(one.published):
            by_text = corrections["n_trk_efficiency"].evaluate("nominal", flavour, "0.5", eta[k], pt[k])
            by_id = corrections["n_trk_efficiency_by_id"].evaluate("nominal", number, "0.5", eta[k], pt[k])
            assert by_text == by_id == pytest.approx(one.nominal[k])
            compared += 1
    assert compared
    with pytest.raises(RuntimeError):
        corrections["n_trk_efficiency"].evaluate("nominal", "quark", "0.5", 2.2, 700.0)


def test_the_report_has_figures_of_each_bin_of_eta(report: Path) -> None:
    names = {path.stem for path in (report / "plots").glob("*.png")}
    for name in FIGURES:
        assert {f"{name}_abs_eta_0_0.9", f"{name}_abs_eta_0.9_2.1"} <= names
    rows = (report / "tables" / "yields.csv").read_text().splitlines()
    assert any(row.startswith('nominal,"500 to 800, |eta| 0.9 to 2.1",forward') for row in rows)


def test_bins_add_up_to_one(configuration: Configuration, report: Path, tmp_path: Path) -> None:
    """One bin of all jets gives the same numbers as no bins."""
    every = [
        run_calibration(replace(configuration, eta_edges=edges, output=tmp_path / str(len(edges))), INLINE)
        for edges in ((), (0.0, 2.1))
    ]
    none, one = (Factors.read(plan.configuration.output / FACTORS) for plan in every)
    for key, factor in none.by_name.items():
        for name in ("nominal", "total", "covariance"):
            np.testing.assert_array_equal(getattr(factor, name), getattr(one.by_name[key], name))
    assert b"eta_edges" not in (tmp_path / "0" / FACTORS).read_bytes()
    of_eta, of_all = (
        collect_results(plan, workspace_of(plan.configuration).store).samples["nominal"].templates
        for plan in (run_calibration(configuration, INLINE), every[0])
    )
    np.testing.assert_array_equal(of_eta.entries.reshape(2, *of_all.entries.shape).sum(axis=0), of_all.entries)


def test_joint_uncertainties_keep_the_bins(report: Path) -> None:
    joint = JointUncertainties.read(report / JOINT)
    assert len(joint.bins) == 4
    combined = combine_sets({"first": joint, "second": joint}).joint
    np.testing.assert_allclose(combined.nominal[joint.valid], joint.nominal[joint.valid])
    assert combined.bins == joint.bins
