"""The extraction `template`: against the inversion, against a minimiser, on mixtures whose answer is known, by name."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from beampipe.calibration.config import Systematic
from beampipe.calibration.events.variations import UNVARIED, Variation
from beampipe.calibration.method.cases import Cases
from beampipe.calibration.method.extractions import extraction_digest, extraction_named
from beampipe.calibration.method.matrix import efficiencies_at, inverted, measure_efficiencies, truth
from beampipe.calibration.method.reweight import measure_reweighting
from beampipe.calibration.method.template_fit import fitted
from beampipe.calibration.method.uncertainties import shifts_of
from beampipe.errors import UnknownNameError

N_X = 24
CUT = 10


def simulation(factor: float = 1.0) -> ndarray:
    """(2 bins of pT, 2 regions, 2 flavours, x) expected jets; quark and gluon shapes are the same in both regions.

    `factor` multiplies the mean x of both flavours.
    """
    x = np.arange(N_X) + 0.5
    shapes = np.stack([np.exp(-0.5 * ((x - factor * mean) / 4.0) ** 2) for mean in (8.0, 14.0)])
    shapes /= shapes.sum(axis=-1, keepdims=True)
    fractions = np.array([[0.7, 0.45], [0.75, 0.6]])
    jets: ndarray = (
        np.stack([fractions, 1 - fractions], axis=-1)[..., None]
        * shapes
        * np.array([9000.0, 4000.0])[:, None, None, None]
    )
    return jets


def tilted(jets: ndarray, quark: float, gluon: float) -> ndarray:
    """Jets whose efficiencies are other ones: more or fewer below the cut, with the shapes on each side unchanged."""
    out = jets.copy()
    for flavour, factor in enumerate((quark, gluon)):
        shape = out[..., flavour, :]
        below = shape[..., :CUT].sum(axis=-1, keepdims=True) / shape.sum(axis=-1, keepdims=True)
        shape[..., :CUT] *= factor
        shape[..., CUT:] *= (1 - factor * below) / (1 - below)
    return out


CUTS = np.full((2, 1), CUT)


def test_with_one_bin_on_each_side_it_is_the_inversion() -> None:
    flavours = simulation()
    merged = np.stack([flavours[..., :CUT].sum(axis=-1), flavours[..., CUT:].sum(axis=-1)], axis=-1)
    data = np.random.default_rng(3).poisson(merged.sum(axis=-2)).astype(float)
    cuts = np.full((2, 1), 1)
    np.testing.assert_allclose(fitted(data, merged, cuts, merged), inverted(data, merged, cuts, merged), rtol=1e-9)


@pytest.mark.parametrize("cut", [CUT, CUT + 0.4])
def test_scales_are_those_of_a_minimiser(cut: float) -> None:
    """Also with a cut inside a bin, whose jets count in part on both sides."""
    minimize = pytest.importorskip("scipy.optimize").minimize
    flavours = simulation()
    data = np.random.default_rng(4).poisson(tilted(flavours, 1.1, 0.9).sum(axis=-2)).astype(float)
    result = fitted(data, flavours, np.full((2, 1), cut), flavours)
    for p in range(2):
        templates = flavours[p] * (data[p].sum(axis=-1) / flavours[p].sum(axis=(1, 2)))[:, None, None]
        below = np.clip(cut - np.arange(N_X), 0, 1)
        scales = []
        for side in (below, 1 - below):

            def loss(s: ndarray, side: ndarray = side, templates: ndarray = templates, p: int = p) -> float:
                mean = np.einsum("f,rfx->rx", s, templates)
                return float((side * (mean - data[p] * np.log(np.maximum(mean, 1e-300)))).sum())

            scales.append(minimize(loss, [1.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9}).x)
        expected = (flavours[p, 0] * below).sum(axis=-1) / flavours[p, 0].sum(axis=-1)
        tagged = scales[0] * expected
        np.testing.assert_allclose(result[p, 0], tagged / (tagged + scales[1] * (1 - expected)), rtol=1e-4)


@pytest.mark.parametrize(("quark", "gluon"), [(1.0, 1.0), (0.9, 1.0), (1.05, 1.3), (1.1, 0.7)])
def test_closure(quark: float, gluon: float) -> None:
    """Without statistics the known factors come back."""
    flavours = simulation()
    result = fitted(tilted(flavours, quark, gluon).sum(axis=-2), flavours, CUTS, flavours)
    before = efficiencies_at(truth(flavours), CUTS)
    np.testing.assert_allclose(result[:, 0] / before[:, 0], [[quark, gluon]] * 2, rtol=1e-6)


def test_a_sample_with_other_shapes_covers_the_bias_of_wrong_ones() -> None:
    """Pseudo-data differ by random multiples of the difference of that sample, which statistics do not hide."""
    nominal, rng = simulation(), np.random.default_rng(11)
    other = Systematic("other", samples=("other",), only_data=True)
    pulls, pulls_without = [], []
    for z in rng.normal(size=100):
        true = simulation(1 + 0.05 * z)
        data = rng.poisson(50 * true.sum(axis=-2), (21, 2, 2, N_X)).astype(float)
        cases = Cases(
            (UNVARIED, Variation("sample", "other")),
            np.stack([nominal, simulation(1.05)]),
            np.stack([nominal] * 20),
            data[0],
            data[1:],
        )
        frozen = measure_reweighting(cases.simulation, cases.simulation_replicas)
        measured = measure_efficiencies(cases, frozen, (0.8,), extraction=fitted)
        off = measured.data[0, :, 0] - efficiencies_at(truth(true), measured.cuts)[:, 0]
        error = measured.data_replicas[:, :, 0].std(axis=0)
        shift = [shifts_of(measured, (0, f), "efficiency", other).values[0] for f in (0, 1)]
        shift_of_data = np.stack(shift, axis=-1) * measured.simulation[0, :, 0]
        pulls.append(off / np.hypot(error, shift_of_data))
        pulls_without.append(off / error)
    assert (np.std(pulls_without, axis=0) > 3).all()
    assert (np.abs(np.mean(pulls, axis=0)) < 0.3).all()
    assert (np.abs(np.std(pulls, axis=0) - 1) < 0.3).all()


def test_a_fit_does_not_depend_on_others() -> None:
    """Fits end one by one, when they have converged: alone or among others, the bytes are the same."""
    flavours = simulation()
    data = np.random.default_rng(7).poisson(tilted(flavours, 1.05, 0.9).sum(axis=-2), (50, 2, 2, N_X)).astype(float)
    together = fitted(data, flavours, CUTS, flavours)
    alone = np.stack([fitted(each, flavours, CUTS, flavours) for each in data])
    assert together.tobytes() == alone.tobytes()


def test_empty_regions_and_equal_templates_have_no_value() -> None:
    flavours = simulation()
    data = flavours.sum(axis=-2)
    data[0, 1] = 0
    flavours[1, :, 1] = flavours[1, :, 0]
    assert np.isnan(fitted(data, flavours, CUTS, flavours)).all()


def test_all_cases_and_replicas_are_measured() -> None:
    """As in a run: cuts are those of the matrix method, simulation gives its own efficiencies by label."""
    flavours = simulation()
    rng = np.random.default_rng(6)
    data = tilted(flavours, 1.05, 0.9).sum(axis=-2)
    cases = Cases(
        (UNVARIED,),
        flavours[None],
        rng.poisson(flavours, (3, *flavours.shape)).astype(float),
        data,
        rng.poisson(data, (3, *data.shape)).astype(float),
    )
    frozen = measure_reweighting(cases.simulation, cases.simulation_replicas)
    both = [measure_efficiencies(cases, frozen, (0.5, 0.8), extraction=each) for each in (fitted, inverted)]
    np.testing.assert_array_equal(both[0].cuts, both[1].cuts)
    np.testing.assert_allclose(both[0].simulation, both[0].truth, rtol=1e-9)
    assert both[0].data.shape == both[1].data.shape
    assert np.isfinite(both[0].data_replicas).all()


def test_cuts_by_label_do_not_follow_fluctuations_of_the_inversion() -> None:
    """In simulation of few jets; at the cuts by label, quarks have the efficiency that was wanted."""
    rng = np.random.default_rng(8)
    places: dict[str, list[ndarray]] = {"inverted": [], "label": []}
    for _ in range(20):
        flavours = rng.poisson(simulation() / 30).astype(float)
        data = flavours.sum(axis=-2)
        cases = Cases((UNVARIED,), flavours[None], flavours[None], data, data[None])
        frozen = measure_reweighting(cases.simulation, cases.simulation_replicas)
        for shape, cuts in places.items():
            result = measure_efficiencies(cases, frozen, (0.8,), "at_least", fitted, cut_shape=shape)
            cuts.append(result.cuts[:, 0])
            if shape == "label":
                assert (result.truth[0, :, 0, 0] >= 0.8).all()
                assert (result.truth[0, :, 0, 0] < 0.9).all()
    assert np.std(places["label"]) < 0.5 * np.std(places["inverted"])


def half(jets: ndarray, flavours: ndarray, cuts: ndarray, nominal: ndarray) -> ndarray:
    """An extraction of another package."""
    return np.full((*jets.shape[:-2], cuts.shape[1], 2), 0.5)


def test_extractions_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of this package, and a plug-in, whose code is in the key of the efficiencies."""
    assert extraction_named("matrix") is inverted
    assert extraction_named("template") is fitted
    assert extraction_digest("matrix") == ""
    with pytest.raises(UnknownNameError, match=r"unknown extraction: got 'templates', .* did you mean 'template'"):
        extraction_named("templates")
    entry: Any = EntryPoint("half", f"{__name__}:half", "beampipe.extractions")
    from importlib.metadata import EntryPoints

    monkeypatch.setattr("beampipe.plugins._entries", lambda kind: EntryPoints([entry] if kind == "extractions" else []))
    assert extraction_named("half") is half
    assert len({extraction_digest(name) for name in ("matrix", "template", "half")}) == 3


def test_without_replicas_there_are_none() -> None:
    flavours = simulation()
    none = np.empty((0, *flavours.shape))
    assert fitted(none.sum(axis=-2), none, CUTS, flavours).shape == (0, 2, 1, 2)
