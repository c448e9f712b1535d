"""The covariance of all scale factors together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beampipe.calibration.config import Configuration, Systematic
from beampipe.calibration.method.factors import FactorKey, Factors
from beampipe.calibration.method.joint import JointUncertainties, joint_uncertainties, principal_components
from beampipe.calibration.method.matrix import Efficiencies
from beampipe.calibration.method.uncertainties import factors_of
from beampipe.errors import FileError
from tests.calibration.method.test_factors import configuration, measured

SOURCES = (
    Systematic("pdf", "envelope", weights=("pdf_*",)),
    Systematic("jes", "up_down", kinematics=("jes_*",)),
    Systematic("shower", samples=("one", "two")),
    Systematic("closure", method="nonclosure"),
)
SF_Q, SF_G = (FactorKey("n_trk", 0.5, *what) for what in (("quark", "efficiency"), ("gluon", "rejection")))


def correlated() -> Efficiencies:
    """Replicas in which quarks and gluons move together."""
    rng = np.random.default_rng(12)
    together = rng.normal(1, 0.1, (300, 2, 1, 1)) + rng.normal(0, 0.02, (300, 2, 1, 2))
    fixed = np.broadcast_to(measured().simulation[0], together.shape).copy()
    return measured(data_replicas=measured().data[0] * together, simulation_replicas=fixed)


@pytest.fixture
def made(tmp_path: Path) -> tuple[Configuration, Factors, JointUncertainties]:
    settings, efficiencies = configuration(tmp_path, *SOURCES), {"n_trk": correlated()}
    factors = factors_of(settings, efficiencies)
    return settings, factors, joint_uncertainties(settings, efficiencies, factors)


def test_the_block_of_a_scale_factor_is_its_own_covariance(
    made: tuple[Configuration, Factors, JointUncertainties],
) -> None:
    _, factors, joint = made
    assert joint.keys == tuple(factors.by_name)
    for key, one in factors.by_name.items():
        block = joint.covariance[joint.part(key), joint.part(key)]
        np.testing.assert_allclose(block, one.covariance, rtol=1e-10)
        np.testing.assert_array_equal(joint.nominal[joint.part(key)], one.nominal)
    assert np.linalg.eigvalsh(joint.covariance).min() > -1e-12
    np.testing.assert_array_equal(joint.covariance, joint.covariance.T)


def test_flavours_are_correlated_as_their_replicas_and_shifts_are(
    made: tuple[Configuration, Factors, JointUncertainties],
) -> None:
    """SF_g is of the rejection: where the efficiency of gluons goes up, it goes down."""
    _, factors, joint = made
    q, g = joint.part(SF_Q).start, joint.part(SF_G).start
    statistical = joint.statistical[q, g] / np.sqrt(joint.statistical[q, q] * joint.statistical[g, g])
    assert statistical == pytest.approx(-1 / 1.04, abs=0.03)
    # jes by hand: ups are 0.05 / 0.4 for quarks and -0.025 / 0.8 for gluons, downs -0.06 / 0.4 and 0.03 / 0.8
    np.testing.assert_allclose(joint.shifts["jes"]["jets:jes_1_up"][[q, g]], [0.125, -0.03125])
    np.testing.assert_allclose(joint.shifts["jes"]["jets:jes_1_down"][[q, g]], [-0.15, 0.0375])
    np.testing.assert_allclose(joint.vectors["jes"][:, [q, g]], [[0.15, -0.0375]])
    brute = joint.statistical[q, g] + sum(float(v[q] * v[g]) for each in joint.vectors.values() for v in each)
    assert joint.covariance[q, g] == pytest.approx(brute, rel=1e-12)
    assert set(factors.by_name[SF_Q].sources) == set(joint.vectors)


def test_a_file_gives_back_what_was_written(
    made: tuple[Configuration, Factors, JointUncertainties], tmp_path: Path
) -> None:
    _, _, joint = made
    path = tmp_path / "joint.json"
    joint.write(path)
    result = JointUncertainties.read(path)
    assert (result.keys, result.pt_edges) == (joint.keys, joint.pt_edges)
    np.testing.assert_array_equal(result.covariance, joint.covariance)
    for source, members in joint.shifts.items():
        for member, values in members.items():
            np.testing.assert_array_equal(result.shifts[source][member], values)
    path.write_text("{}")
    with pytest.raises(FileError, match="got no joint uncertainties"):
        JointUncertainties.read(path)


def test_principal_components_give_the_covariance_back(
    made: tuple[Configuration, Factors, JointUncertainties],
) -> None:
    _, _, joint = made
    components = principal_components(joint)
    assert 1 < len(components) <= len(joint.nominal)
    np.testing.assert_allclose(components.T @ components, joint.covariance, atol=2e-6 * np.trace(joint.covariance))
    sizes = (components**2).sum(axis=1)
    assert (np.diff(sizes) <= 0).all()


def test_a_lost_bin_is_lost_alone(tmp_path: Path) -> None:
    efficiencies = correlated()
    efficiencies.data[:, 1, 0, 0] = np.nan
    efficiencies.data_replicas[:, 1, 0, 0] = np.nan
    settings = configuration(tmp_path, *SOURCES)
    factors = factors_of(settings, {"n_trk": efficiencies})
    joint = joint_uncertainties(settings, {"n_trk": efficiencies}, factors)
    assert joint.valid.tolist() == [flag for item in factors.by_name.values() for flag in item.valid]
    assert joint.valid.sum() == 6
    components = principal_components(joint)
    assert np.isfinite(components).all(axis=0).tolist() == joint.valid.tolist()
