"""The fit of the fraction of gluons, on counts whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from numpy import ndarray

from beampipe.calibration.method.factors import FactorKey, Factors
from beampipe.calibration.method.joint import JointUncertainties
from beampipe.chain.figures import plot_fit
from beampipe.chain.fit import (
    TAGGER,
    JetCounts,
    Measurement,
    Shares,
    calibrated_shares,
    expected_precision,
    fit_fraction,
    in_classes,
    measure,
    read_measurements,
    simulated_shares,
    write_measurements,
)
from beampipe.errors import InputError

CUTS = np.array([[2, 3], [1, 3]])
EDGES = (300.0, 400.0, 500.0)
FRACTION = np.array([0.6, 0.3])
QUARK, GLUON = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.2, 0.3, 0.4])


def counts(jets: float = 5000.0, weight: float = 1.0, simulated: float = 1e6) -> JetCounts:
    """Pseudo-data without fluctuations: jets of two bins of pT in four bins of the number of tracks."""
    shapes = np.stack([QUARK, GLUON])
    data = np.stack([jets * weight * ((1 - f) * QUARK + f * GLUON) for f in FRACTION])
    simulation = np.broadcast_to(simulated * shapes, (2, 2, 4)).copy()
    return JetCounts(simulation, simulation.copy(), data, data * weight, FRACTION)


def factors(nominal: float) -> tuple[Factors, JointUncertainties]:
    """Scale factors of one value for quarks, and 1 for gluons, without uncertainty but for 2 % of the quarks."""
    keys = tuple(
        FactorKey(TAGGER, point, flavour, "efficiency") for point in (0.5, 0.7) for flavour in ("quark", "gluon")
    )
    values = np.repeat([nominal if key.flavour == "quark" else 1.0 for key in keys], 2)
    shift = np.where(np.repeat([key.flavour == "quark" for key in keys], 2), 0.02, 0.0)
    joint = JointUncertainties(EDGES, keys, values, np.zeros((8, 8)), {"all": {"all": shift}}, {"all": shift[None]})
    return Factors(EDGES, (0.5, 0.7), {}, {TAGGER: CUTS.astype(np.float64)}, {}, ()), joint


def fitted(made: JetCounts, shares: Shares, name: str) -> Measurement:
    """The fit of counts of which some bin can be fitted."""
    result = fit_fraction(made, shares, CUTS, EDGES, name)
    assert result is not None
    return result


def test_classes_between_cuts() -> None:
    assert in_classes(np.arange(8.0).reshape(2, 4), CUTS).tolist() == [[1, 2, 3], [4, 11, 7]]


@pytest.mark.parametrize("weight", [1.0, 0.02])
def test_fit_finds_the_fraction_whatever_the_weights(weight: float) -> None:
    made = counts(weight=weight)
    result = fitted(made, simulated_shares(made, CUTS), "simulation")
    assert [each.fraction for each in result.bins] == pytest.approx(FRACTION, abs=1e-3)
    assert [each.jets for each in result.bins] == pytest.approx([5000, 5000])
    assert abs(result.pull) < 0.1
    # Multinomial error of the best estimate of a fraction from these shapes.
    assert _expected_error(0.6) == pytest.approx(result.bins[0].error, rel=0.05)


def test_bins_count_by_the_precision_that_their_shares_allow() -> None:
    made = counts()
    shares = simulated_shares(made, CUTS)
    jets = np.array([5000.0, 5000.0])
    precision = expected_precision(shares, jets)
    assert precision[0] == pytest.approx(_expected_error(0.5) ** -2)
    assert expected_precision(shares, 4 * jets) == pytest.approx(4 * precision)
    alike = shares.nominal.copy()
    alike[1, 1] = alike[1, 0] + [0.01, -0.01, 0.0]  # gluons look like quarks in the second bin
    result = fitted(made, replace(shares, nominal=alike), "alike")
    assert result.error == pytest.approx(result.bins[0].error, rel=0.02)  # that of the other bin, at 0, is too small
    assert result.true == pytest.approx(0.6, abs=2e-3)


def _expected_error(fraction: float) -> float:
    """By Fisher's information of 5000 jets in the classes of the first bin of pT."""
    shares = in_classes(np.stack([QUARK, GLUON])[:, None], CUTS[:1])[:, 0]
    mixture: ndarray = (1 - fraction) * shares[0] + fraction * shares[1]
    return float(1 / np.sqrt(5000 * ((shares[1] - shares[0]) ** 2 / mixture).sum()))


def test_scale_factors_move_the_shares_and_widen_the_error() -> None:
    made = counts()
    simulated = simulated_shares(made, CUTS)
    one = fitted(made, calibrated_shares(simulated, *factors(1.0)), "calibrated")
    less = fitted(made, calibrated_shares(simulated, *factors(0.9)), "calibrated")
    plain = fitted(made, simulated, "simulation")
    assert [each.fraction for each in one.bins] == pytest.approx([each.fraction for each in plain.bins], abs=2e-3)
    assert one.error > 1.05 * plain.error
    # Quarks look more like gluons: fewer gluons are needed.
    assert less.fraction - less.true < plain.fraction - plain.true - 0.02
    shares = calibrated_shares(simulated, *factors(0.9))
    assert shares.nominal[0, 0] == pytest.approx([0.63, 0.18, 0.19])  # 0.7, 0.9 times 0.9
    assert shares.nominal[0, 1] == pytest.approx([0.3, 0.3, 0.4])


def test_a_bin_whose_flavours_have_equal_shares_is_left_out() -> None:
    made = counts()
    shares = simulated_shares(made, CUTS)
    alike = np.stack([shares.nominal[0], shares.nominal[1, :1].repeat(2, axis=0)])
    result = fitted(made, replace(shares, nominal=alike), "alike")
    assert result.left_out == ("400-500 GeV",)
    assert fit_fraction(made, replace(shares, nominal=alike[:, :1].repeat(2, axis=1)), CUTS, EDGES, "alike") is None


def test_bins_without_jets_or_scale_factors_are_left_out() -> None:
    made = counts()
    made.data[1] *= 5e-4
    made.data_squares[1] *= 5e-4
    simulated = simulated_shares(made, CUTS)
    assert simulated.usable.tolist() == [True, False]
    result = fitted(made, simulated, "simulation")
    assert result.left_out == ("400-500 GeV",)
    given, joint = factors(1.0)
    unknown = replace(joint, nominal=np.where(np.arange(8) % 2 == 0, 5.0, joint.nominal))  # first bin of pT
    assert not calibrated_shares(simulated, given, unknown).usable.any()
    assert [each.shares for each in measure(made, given, unknown)] == ["simulation"]
    with pytest.raises(InputError, match="no bin of pT with 5 jets"):
        measure(counts(jets=4.0), given, joint)


def test_results_survive_writing(tmp_path: Path) -> None:
    results = measure(counts(), *factors(1.0))
    write_measurements(tmp_path / "result.json", results)
    again = read_measurements(tmp_path / "result.json")
    assert [each.shares for each in again] == ["simulation", "calibrated"]
    assert [each.fraction for each in again] == pytest.approx([each.fraction for each in results], rel=1e-9)


def test_a_bin_without_jets_is_left_out_and_drawn_empty() -> None:
    full = counts()
    gap = np.array([0.0, 1.0])
    made = JetCounts(
        full.simulation * gap[:, None, None],
        full.simulation_squares * gap[:, None, None],
        full.data * gap[:, None],
        full.data_squares * gap[:, None],
        FRACTION,
    )
    by_factors, joint = factors(1.0)
    results = measure(made, by_factors, joint)
    assert [each.left_out for each in results] == [("300-400 GeV",)] * 2
    left, _ = plot_fit(made, by_factors, results).axes  # numpy's warnings would be errors
    heights = [bar.get_height() for bar in left.patches if isinstance(bar, Rectangle)]
    assert np.nansum(heights[:3]) == 0
    assert np.nansum(heights) == pytest.approx(1, abs=1e-3)
