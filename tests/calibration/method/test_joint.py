"""The covariance of all scale factors together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from beampipe.calibration.cli import app
from beampipe.calibration.config import Configuration, Systematic
from beampipe.calibration.exports import read_correction
from beampipe.calibration.method.factors import FLAVOUR_NAMES, QUANTITIES, FactorKey, Factors
from beampipe.calibration.method.joint import (
    JointUncertainties,
    combine_sets,
    joint_uncertainties,
    principal_components,
    read_sets,
)
from beampipe.calibration.method.matrix import Efficiencies
from beampipe.calibration.method.uncertainties import factors_of
from beampipe.errors import ConfigError, FileError, InputError
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


def test_principal_components_give_the_covariance_back(made: tuple[Configuration, Factors, JointUncertainties]) -> None:
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


EDGES = (500.0, 800.0, 1200.0, 2000.0)
KEYS = (FactorKey("n_trk", 0.5, "quark", "efficiency"), FactorKey("n_trk", 0.5, "gluon", "rejection"))
N = 6


EVERY = tuple(FactorKey("n_trk", 0.5, flavour, quantity) for flavour in FLAVOUR_NAMES for quantity in QUANTITIES)


def one_set(seed: int, *sources: str, keys: tuple[FactorKey, ...] = KEYS) -> JointUncertainties:
    rng, n = np.random.default_rng(seed), 3 * len(keys)
    root = rng.normal(0, 0.05, (n, 2 * n))
    vectors = {source: rng.normal(0, 0.04, (1, n)) for source in sources}
    shifts = {source: {f"weight:{source}_1": each[0]} for source, each in vectors.items()}
    return JointUncertainties(EDGES, keys, rng.normal(1, 0.1, n), root @ root.T, shifts, vectors)


def single(value: float, error: float, moved: float) -> JointUncertainties:
    """One bin, one scale factor: a statistical error, and a source."""
    vectors = {"pdf": np.array([[moved]])}
    shifts = {"pdf": {"weight:pdf_1": np.array([moved])}}
    return JointUncertainties((500.0, 600.0), KEYS[:1], np.array([value]), np.array([[error**2]]), shifts, vectors)


@pytest.mark.parametrize("moved", [(0.03, 0.05), (0.03, -0.05), (0.0, 0.05), (0.04, 0.001)])
def test_two_numbers_by_the_closed_form(moved: tuple[float, float]) -> None:
    """Lyons, Gibaut and Clifford, doi:10.1016/0168-9002(88)90018-6, equations of two correlated measurements."""
    result = combine_sets({"dijets": single(1.1, 0.06, moved[0]), "photon": single(0.9, 0.04, moved[1])})
    one, other = (np.hypot(error, shift) for error, shift in zip((0.06, 0.04), moved, strict=True))
    together = moved[0] * moved[1]
    spread = one**2 + other**2 - 2 * together
    weight = (other**2 - together) / spread
    assert result.weights.reshape(2).tolist() == pytest.approx([weight, 1 - weight])
    assert result.joint.nominal[0] == pytest.approx(weight * 1.1 + (1 - weight) * 0.9)
    assert result.joint.covariance[0, 0] == pytest.approx((one**2 * other**2 - together**2) / spread)
    assert result.chi2[0] == pytest.approx(0.2**2 / spread)
    assert result.ndf[0] == 1
    assert result.shares(KEYS[0])[:, 0].tolist() == pytest.approx([weight, 1 - weight])


def whole_covariance(one: JointUncertainties, other: JointUncertainties) -> np.ndarray:
    both = np.zeros((2 * N, 2 * N))
    both[:N, :N], both[N:, N:] = one.statistical, other.statistical
    for source in one.vectors.keys() | other.vectors.keys():
        zero = np.zeros((1, N))
        moved = np.concatenate([one.vectors.get(source, zero)[0], other.vectors.get(source, zero)[0]])
        both += np.outer(moved, moved)
    return both


def test_bins_that_are_correlated_against_a_fit_by_hand() -> None:
    """Generalised least squares with the roots of C, of each scale factor alone."""
    one, other = one_set(1, "pdf", "jes"), one_set(2, "pdf", "photon")
    result = combine_sets({"one": one, "other": other})
    covariance = whole_covariance(one, other)
    y, wanted, weights = np.concatenate([one.nominal, other.nominal]), [], np.zeros((N, 2 * N))
    for k, part in enumerate((slice(0, 3), slice(3, 6))):
        places = np.r_[part, slice(part.start + N, part.stop + N)]
        root = np.linalg.inv(np.linalg.cholesky(covariance[np.ix_(places, places)]))
        design = np.tile(np.eye(3), (2, 1))
        x, squares, *_ = np.linalg.lstsq(root @ design, root @ y[places], rcond=None)
        wanted.append(x)
        weights[part, places] = np.linalg.pinv(root @ design) @ root
        assert result.chi2[k] == pytest.approx(squares[0])
        assert result.ndf[k] == 3
    np.testing.assert_allclose(result.joint.nominal, np.concatenate(wanted))
    np.testing.assert_allclose(result.joint.covariance, weights @ covariance @ weights.T, rtol=1e-9)
    assert set(result.joint.vectors) == {"pdf", "jes", "photon"}
    np.testing.assert_allclose(result.joint.shifts["jes"]["weight:jes_1"], weights[:, :N] @ one.vectors["jes"][0])
    np.testing.assert_allclose(result.shares(KEYS[0]).sum(axis=0), 1)


def test_order_of_sets_does_not_matter() -> None:
    one, other = one_set(1, "pdf"), one_set(2, "pdf")
    forth, back = combine_sets({"a": one, "b": other}), combine_sets({"b": other, "a": one})
    np.testing.assert_allclose(forth.joint.nominal, back.joint.nominal, rtol=1e-12)
    np.testing.assert_allclose(forth.joint.covariance, back.joint.covariance, rtol=1e-9)


def lost(one: JointUncertainties, place: int) -> JointUncertainties:
    """The set without a value in one place."""
    nominal, statistical = one.nominal.copy(), one.statistical.copy()
    nominal[place], statistical[place], statistical[:, place] = np.nan, np.nan, np.nan

    def cut(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values[..., place] = np.nan
        return values

    shifts = {source: {name: cut(each) for name, each in members.items()} for source, members in one.shifts.items()}
    vectors = {source: cut(each) for source, each in one.vectors.items()}
    return replace(one, nominal=nominal, statistical=statistical, shifts=shifts, vectors=vectors)


def test_a_bin_that_one_set_lacks_comes_from_the_other() -> None:
    one, other = one_set(1, "pdf"), one_set(2, "pdf")
    result = combine_sets({"one": lost(one, 1), "other": other})
    assert result.ndf.tolist() == [2, 3]
    assert result.joint.valid.all()
    assert result.shares(KEYS[0])[:, 1].tolist() == pytest.approx([0, 1])
    neither = combine_sets({"one": lost(one, 1), "other": lost(other, 1)})
    assert neither.joint.valid.tolist() == [True, False, True, True, True, True]
    assert np.isnan(neither.joint.covariance[1]).all()
    assert neither.ndf.tolist() == [2, 3]


def test_a_source_is_one_unless_it_is_named_separate() -> None:
    one, other = single(1.1, 0.0, 0.05), single(0.9, 0.0, 0.04)
    apart = combine_sets({"a": one, "b": other}, separate=["pdf"])
    assert set(apart.joint.vectors) == {"pdf_a", "pdf_b"}
    assert apart.joint.covariance[0, 0] == pytest.approx(1 / (0.05**-2 + 0.04**-2))
    assert apart.joint.nominal[0] == pytest.approx((1.1 / 0.05**2 + 0.9 / 0.04**2) / (0.05**-2 + 0.04**-2))
    renamed = replace(other, shifts={"pdf": {"weight:other": np.array([0.04])}})
    with pytest.raises(
        ConfigError, match=r"source pdf: got other variations in a than in b \(weight:other, weight:pdf_1"
    ):
        combine_sets({"a": one, "b": renamed})
    assert combine_sets({"a": one, "b": renamed}, separate=["pdf"]).ndf[0] == 1


def test_what_cannot_be_combined_is_refused() -> None:
    one = one_set(1)
    with pytest.raises(InputError, match="got 1, expected two or more"):
        combine_sets({"one": one})
    with pytest.raises(InputError, match="sets one and other: got other scale factors or bins"):
        combine_sets({"one": one, "other": replace(one, pt_edges=(500.0, 900.0, 1200.0, 2000.0))})


def test_pulls_of_toys() -> None:
    """Two sets with all their correlations: the quoted errors are right."""
    one, other = one_set(1, "pdf", "jes"), one_set(2, "pdf")
    rng = np.random.default_rng(8)
    drawn = rng.multivariate_normal(np.ones(2 * N), whole_covariance(one, other), 4000)
    result = combine_sets({"one": one, "other": other})  # weights do not depend on what was measured
    y = drawn.reshape(-1, 2, 2, 3)
    estimates = np.einsum("skpq,tskq->tkp", result.weights, y).reshape(-1, N)
    pulls = (estimates - 1) / np.sqrt(np.diagonal(result.joint.covariance))
    np.testing.assert_allclose(np.std(pulls, axis=0), 1, atol=0.05)
    np.testing.assert_allclose(np.mean(pulls, axis=0), 0, atol=0.06)
    errors = np.sqrt(np.diagonal(one.covariance))
    assert (np.sqrt(np.diagonal(result.joint.covariance)) < errors).all(), "two sets say more than one"


def test_a_file_is_that_of_one_set_with_the_weights(tmp_path: Path) -> None:
    result = combine_sets({"one": one_set(1, "pdf"), "other": one_set(2, "pdf")})
    result.write(tmp_path / "combined.json")
    read = JointUncertainties.read(tmp_path / "combined.json")
    np.testing.assert_array_equal(read.covariance, result.joint.covariance)
    plain = json.loads((tmp_path / "combined.json").read_text())
    assert plain["sets"] == ["one", "other"]
    assert plain["estimates"][1]["flavour"] == "gluon"
    np.testing.assert_array_equal(plain["estimates"][1]["weights"]["other"], result.weights[1, 1])


def test_the_command_combines_reports(tmp_path: Path) -> None:
    for name, seed in (("dijets", 1), ("photons", 2)):
        one_set(seed, "pdf", keys=EVERY).write(tmp_path / f"{name}.json")
    arguments = [f"{name}={tmp_path / name}.json" for name in ("dijets", "photons")]
    shown = CliRunner().invoke(app, ["combine", *arguments, "-o", str(tmp_path / "both")])
    assert shown.exit_code == 0, shown.output
    wanted = combine_sets({"dijets": one_set(1, "pdf", keys=EVERY), "photons": one_set(2, "pdf", keys=EVERY)})
    read = JointUncertainties.read(tmp_path / "both/joint.json")
    np.testing.assert_array_equal(read.nominal, wanted.joint.nominal)
    corrections = read_correction(tmp_path / "both/components.json")
    result = corrections["n_trk_efficiency"].evaluate("nominal", "quark", "0.5", 600.0)
    assert result == wanted.joint.nominal[0]
    with pytest.raises(InputError, match="got 'dijets', expected NAME=FILE"):
        read_sets(["dijets"])
    with pytest.raises(InputError, match=r"got the numbers of another set in again=.*, expected other events"):
        read_sets([*arguments, f"again={tmp_path / 'dijets'}.json"])
