from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from beampipe.calibration.config import REGIONS
from beampipe.calibration.events.dijets import FLAVOURS
from beampipe.calibration.exports.archives import scale_factor_folder, write_root
from beampipe.calibration.method.factors import FLAGS, FactorKey
from beampipe.calibration.results import Results
from tests.calibration.report.conftest import BINS, EDGES


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
