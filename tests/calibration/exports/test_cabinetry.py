"""Scale factors in a fit that cabinetry builds from events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.calibration.exports import cabinetry_systematics, read_correction, write_components
from beampipe.calibration.exports.fits import write_cabinetry
from beampipe.calibration.method.factors import Factors
from beampipe.calibration.method.joint import JointUncertainties, principal_components
from tests.calibration.exports.test_exports import KEYS
from tests.calibration.report.conftest import EDGES, POINTS, joint_of, scale_factor

STRENGTH = 1.4


@pytest.fixture(scope="module")
def joint() -> JointUncertainties:
    by_name = {key: scale_factor(seed) for seed, key in enumerate(KEYS)}
    return joint_of(Factors(EDGES, POINTS, by_name, {}, {}, ()))


@pytest.fixture(scope="module")
def components(joint: JointUncertainties) -> Float64[ndarray, "k n"]:
    return principal_components(joint)


def write_events(joint: JointUncertainties, components: Float64[ndarray, "k n"], folder: Path) -> None:
    """Jets of a signal with a weight per variation, evaluated by correctionlib; data has the strength put in."""
    uproot = pytest.importorskip("uproot")
    write_components(joint, components, folder / "components.json")
    correction = read_correction(folder / "components.json")["n_trk_efficiency"]
    pt = np.repeat([550.0, 750.0], [400, 300])

    def weight(systematic: str) -> ndarray:
        return np.asarray(correction.evaluate(systematic, "quark", "0.5", pt))

    columns = {"pt": pt, "weight": weight("nominal")}
    for k in range(len(components)):
        columns |= {f"weight_quark_gluon_pc{k}_{way}": weight(f"pc{k}_{way}") for way in ("up", "down")}
    with uproot.recreate(folder / "signal.root") as file:
        file["events"] = columns
    with uproot.recreate(folder / "data.root") as file:
        file["events"] = {"pt": pt, "weight": STRENGTH * weight("nominal")}


# pyhf resolves references of its schema in a way that jsonschema calls deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fit_finds_the_yield_that_was_put_in(
    joint: JointUncertainties, components: Float64[ndarray, "k n"], tmp_path: Path
) -> None:
    cabinetry, yaml = pytest.importorskip("cabinetry"), pytest.importorskip("yaml")
    write_events(joint, components, tmp_path)
    write_cabinetry(components, tmp_path / "cabinetry.yml")
    snippet = yaml.safe_load((tmp_path / "cabinetry.yml").read_text())
    assert snippet["Systematics"] == cabinetry_systematics(components)
    settings = {
        "General": {
            "Measurement": "jets",
            "POI": "mu",
            "InputPath": f"{tmp_path}/{{SamplePath}}",
            "HistogramFolder": f"{tmp_path}/histograms/",
        },
        "Regions": [{"Name": "jets", "Variable": "pt", "Binning": list(EDGES)}],
        "Samples": [
            {"Name": "signal", "SamplePath": "signal.root", "Tree": "events", "Weight": "weight"},
            {"Name": "data", "SamplePath": "data.root", "Tree": "events", "Weight": "weight", "Data": True},
        ],
        "NormFactors": [{"Name": "mu", "Samples": "signal", "Nominal": 1, "Bounds": [0, 10]}],
        **snippet,
    }
    cabinetry.configuration.validate(settings)
    cabinetry.templates.build(settings, method="uproot")
    model, data = cabinetry.model_utils.model_and_data(cabinetry.workspace.build(settings))
    result = cabinetry.fit.fit(model, data)
    values = dict(zip(result.labels, result.bestfit, strict=True))
    assert values["mu"] == pytest.approx(STRENGTH, rel=1e-3)
    assert {f"quark_gluon_pc{k}" for k in range(len(components))} <= values.keys()
