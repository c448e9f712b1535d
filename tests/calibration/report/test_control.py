"""Control figures: what is drawn is what was counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from beampipe.calibration.config import Style
from beampipe.calibration.method.reweight import apply_factors, reweighting_factors, shapes
from beampipe.calibration.report import figures
from beampipe.calibration.results import Results
from beampipe.errors import ConfigError
from beampipe.figures import drawing


def test_stacks_are_the_numbers_of_jets(results: Results) -> None:
    nominal, data = (results.samples[name].templates for name in ("nominal", "data"))
    for region in range(2):
        spectrum = figures.stack_of(results, "n_trk", region, None)
        assert list(spectrum.flavours) == ["light", "charm", "bottom", "gluon"]
        np.testing.assert_allclose(spectrum.simulation, nominal.values[0, :, region].sum(axis=(1, 2)))
        for p in range(2):
            stack = figures.stack_of(results, "n_trk", region, p)
            np.testing.assert_allclose(stack.data, data.values[0, p, region, 0])
            np.testing.assert_allclose(stack.data_error**2, data.squares[0, p, region, 0])
            np.testing.assert_allclose(stack.simulation_error**2, nominal.squares[0, p, region].sum(axis=0))
            assert stack.simulation.sum() == pytest.approx(spectrum.simulation[p])
    assert figures.normalisation(results) == pytest.approx(data.values.sum() / nominal.values.sum())


def test_errors_of_extracted_shapes_are_those_of_toys(results: Results) -> None:
    """Poisson numbers of data, with re-weighting factors and fractions fixed."""
    rng = np.random.default_rng(4)
    nominal, data = (results.samples[name].templates for name in ("nominal", "data"))
    counts = 50.0 + 20 * data.entries
    many = replace(data, values=counts[None], squares=counts[None])
    samples = {**results.samples, "data": replace(results.samples["data"], templates=many)}
    factors = reweighting_factors(nominal.flavours("n_trk")[0])
    forward, central = results.factors.fractions["n_trk"].T[:, :, None]
    result = []
    for _ in range(600):
        jets = shapes(apply_factors(rng.poisson(counts).sum(axis=2).astype(np.float64), factors))
        result.append(((1 - central) * jets[:, 0] - (1 - forward) * jets[:, 1]) / (forward - central))
    errors = figures.shape_errors(replace(results, samples=samples), "data", "n_trk", "quark")
    np.testing.assert_allclose(np.std(result, axis=0), errors, rtol=0.2)


def texts(figure: Figure) -> str:
    return " ".join([figure.get_suptitle(), *(text.get_text() for axes in figure.axes for text in axes.texts)])


def test_labels_are_written_once_and_only_if_they_are_set(results: Results) -> None:
    style = Style("ATLAS", "Preliminary", 13.6, 51.8)
    for draw in (figures.plot_spectra, figures.plot_separation):
        figure = draw(results)
        with drawing():
            before = texts(figure)
            figures.add_labels(figure, Style())
            assert texts(figure) == before
            figures.add_labels(figure, style)
        for word in ("ATLAS", "Preliminary", "13.6 TeV", "51.8 fb"):
            assert texts(figure).count(word) == 1
    with pytest.raises(ConfigError, match="expected an energy and a luminosity of 0 or more"):
        Style(energy=-1.0)


def test_each_figure_has_a_panel_for_each_bin_of_pt(results: Results) -> None:
    n_pt = len(results.factors.bins)
    for figure, per_bin in (
        (figures.plot_stacks(results, "n_trk", 0), 2),
        (figures.plot_reweighting(results, "n_trk"), 1),
        (figures.plot_separation(results), 1),
    ):
        assert sum(axes.get_visible() for axes in figure.axes) == per_bin * n_pt
    separation = figures.plot_separation(results)
    for axes in separation.axes:
        curve = np.asarray(axes.lines[0].get_xydata())
        assert (curve[0].tolist(), curve[-1].tolist()) == ([0.0, 1.0], pytest.approx([1.0, 0.0]))
