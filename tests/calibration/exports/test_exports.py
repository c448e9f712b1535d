"""Files for other programs, read back by these programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.calibration.exports import (
    pyhf_modifiers,
    read_correction,
    write_components,
    write_hepdata,
    write_joint,
)
from beampipe.calibration.exports.write import COMPONENTS, HEPDATA, JOINT, MODIFIERS
from beampipe.calibration.method.factors import FactorKey, Factors
from beampipe.calibration.method.joint import JointUncertainties, principal_components
from beampipe.errors import InputError
from tests.calibration.report.conftest import EDGES, POINTS, joint_of, scale_factor, without_last_bin

KEYS = tuple(
    FactorKey("n_trk", wp, flavour, quantity)
    for wp in POINTS
    for flavour in ("quark", "gluon")
    for quantity in ("efficiency", "rejection")
)
GAP, WHOLE = KEYS[0], KEYS[-1]
CENTRES = np.array([550.0, 750.0])


@pytest.fixture(scope="module")
def factors() -> Factors:
    """In the first scale factor the last bin is not known."""
    by_name = {key: scale_factor(seed) for seed, key in enumerate(KEYS)}
    by_name[GAP] = without_last_bin(by_name[GAP])
    cuts, fractions = {"n_trk": np.full((2, 2), 3.0)}, {"n_trk": np.array([[0.6, 0.5], [0.7, 0.55]])}
    return Factors(EDGES, POINTS, by_name, cuts, fractions, ("tracking",))


@pytest.fixture(scope="module")
def joint(factors: Factors) -> JointUncertainties:
    return joint_of(factors)


@pytest.fixture(scope="module")
def components(joint: JointUncertainties) -> Float64[ndarray, "k n"]:
    return principal_components(joint)


def test_correctionlib_gives_the_covariance_back(
    joint: JointUncertainties, components: Float64[ndarray, "k n"], tmp_path: Path
) -> None:
    """Evaluated for every scale factor, the shifts of all components multiply to the joint covariance."""
    path = tmp_path / "components.json"
    write_components(joint, components, path)
    corrections = read_correction(path)
    valid = joint.valid

    def every(systematic: str) -> Float64[ndarray, " n"]:
        results = []
        for key in joint.keys:
            for p, pt in enumerate(CENTRES):
                if valid[joint.part(key)][p]:
                    correction = corrections[f"{key.tagger}_{key.quantity}"]
                    results.append(correction.evaluate(systematic, key.flavour, f"{key.working_point:g}", pt))
        return np.array(results)

    nominal = every("nominal")
    np.testing.assert_allclose(nominal, joint.nominal[valid], rtol=1e-14)
    ups = np.stack([every(f"pc{k}_up") - nominal for k in range(len(components))])
    downs = np.stack([every(f"pc{k}_down") - nominal for k in range(len(components))])
    np.testing.assert_allclose(ups, -downs, atol=1e-12)
    wanted = joint.covariance[np.ix_(valid, valid)]
    np.testing.assert_allclose(ups.T @ ups, wanted, atol=2e-6 * np.trace(wanted))
    with pytest.raises(Exception, match=r"[Ii]ndex"):
        corrections["n_trk_efficiency"].evaluate("nominal", "quark", "0.5", CENTRES[1])


def workspace(
    joint: JointUncertainties, components: Float64[ndarray, "k n"], observed: list[float] | None = None
) -> dict[str, Any]:
    """Signal jets that get a scale factor, and background that gets another one, whose errors are correlated."""
    signal, shifts = pyhf_modifiers(joint, components, WHOLE, np.array([100.0, 60.0]))
    background, more = pyhf_modifiers(joint, components, KEYS[-2], np.array([400.0, 90.0]))
    strength = {"name": "mu", "type": "normfactor", "data": None}
    samples = [
        {"name": "signal", "data": signal, "modifiers": [strength, *shifts]},
        {"name": "background", "data": background, "modifiers": more},
    ]
    data = observed or [item + other for item, other in zip(signal, background, strict=True)]
    return {
        "channels": [{"name": "jets", "samples": samples}],
        "observations": [{"name": "jets", "data": data}],
        "measurements": [{"name": "fit", "config": {"poi": "mu", "parameters": []}}],
        "version": "1.0.0",
    }


# pyhf resolves references of its schema in a way that jsonschema calls deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fit_by_pyhf_finds_the_yield_that_was_put_in(
    joint: JointUncertainties, components: Float64[ndarray, "k n"]
) -> None:
    pyhf = pytest.importorskip("pyhf")
    plain = workspace(joint, components)
    signal, background = (np.array(item["data"]) for item in plain["channels"][0]["samples"])
    model = pyhf.Workspace(workspace(joint, components, (1.5 * signal + background).tolist()))
    pdf = model.model()
    result = pyhf.infer.mle.fit(model.data(pdf), pdf)
    assert result[pdf.config.poi_index] == pytest.approx(1.5, abs=1e-3)
    assert pdf.config.npars == 1 + len(components), "both samples share the components"
    pulls = np.delete(np.array(result), pdf.config.poi_index)
    np.testing.assert_allclose(pulls, 0, atol=5e-3)


def test_modifiers_move_a_sample_as_much_as_the_covariance_says(
    joint: JointUncertainties, components: Float64[ndarray, "k n"], tmp_path: Path
) -> None:
    yields = np.array([100.0, 60.0])
    data, modifiers = pyhf_modifiers(joint, components, WHOLE, yields)
    moved = np.array([np.subtract(modifier["data"]["hi_data"], data) for modifier in modifiers])
    wanted = joint.covariance[joint.part(WHOLE), joint.part(WHOLE)] * np.outer(yields, yields)
    np.testing.assert_allclose(moved.T @ moved, wanted, rtol=1e-3, atol=1e-2)
    with pytest.raises(InputError, match=r"got entries in bins \[1\] of n_trk/0.5/quark/efficiency"):
        pyhf_modifiers(joint, components, GAP, yields)
    assert pyhf_modifiers(joint, components, GAP, np.array([100.0, 0.0]))[0][1] == 0
    with pytest.raises(InputError, match="got 3 bins, expected 2"):
        pyhf_modifiers(joint, components, GAP, np.ones(3))


def test_hepdata_holds_every_number(factors: Factors, joint: JointUncertainties, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    paths = write_hepdata(factors, joint, tmp_path / "hepdata")
    head, *tables = list(yaml.safe_load_all(paths[0].read_text()))
    assert "comment" in head
    files = [tmp_path / "hepdata" / table["data_file"] for table in tables]
    assert files == list(paths[1:])
    for (key, one), path in zip(factors.by_name.items(), files, strict=False):
        table = yaml.safe_load(path.read_text())
        (low, _) = table["independent_variables"][0]["values"]
        assert (low["low"], low["high"]) == EDGES[:2]
        numbers, flags = table["dependent_variables"]
        assert {each["name"]: each["value"] for each in numbers["qualifiers"]} == key._asdict()
        for p, row in enumerate(numbers["values"]):
            if one.valid[p]:
                assert row["value"] == one.nominal[p]
                squares = sum(error["symerror"] ** 2 for error in row["errors"] if np.isfinite(error["symerror"]))
                assert squares <= one.total[p] ** 2 * (1 + 1e-12)
            else:
                assert row == {"value": "-"}
        assert flags["values"][1]["value"] != "none"
    table = yaml.safe_load(files[-1].read_text())
    n = int(joint.valid.sum())
    assert n == 15
    result = np.array([row["value"] for row in table["dependent_variables"][0]["values"]]).reshape(n, n)
    np.testing.assert_array_equal(result, joint.covariance[np.ix_(joint.valid, joint.valid)])


# The validator leaves the files open that it reads.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_hepdata_accepts_the_submission(factors: Factors, joint: JointUncertainties, tmp_path: Path) -> None:
    validator = pytest.importorskip("hepdata_validator.full_submission_validator")
    write_hepdata(factors, joint, tmp_path / "hepdata")
    check = validator.FullSubmissionValidator()
    valid = check.validate(directory=str(tmp_path / "hepdata"))
    assert valid, check.get_messages()


def test_all_files_are_written_and_read(factors: Factors, joint: JointUncertainties, tmp_path: Path) -> None:
    paths = (*write_joint(joint, tmp_path), *write_hepdata(factors, joint, tmp_path / HEPDATA))
    assert {path.name for path in paths} >= {JOINT, COMPONENTS, MODIFIERS, "submission.yaml", "covariance.yaml"}
    assert (tmp_path / HEPDATA).is_dir()
    np.testing.assert_array_equal(JointUncertainties.read(tmp_path / JOINT).covariance, joint.covariance)
    plain = json.loads((tmp_path / MODIFIERS).read_text())
    assert [FactorKey(*(item[name] for name in FactorKey._fields)) for item in plain["samples"]] == list(KEYS)
    assert plain["samples"][0]["valid"] == [True, False]
    assert "NaN" not in "".join(path.read_text() for path in paths)
