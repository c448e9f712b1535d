from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from beampipe.calibration.config import Style
from beampipe.calibration.method.factors import FLAGS, FactorKey
from beampipe.calibration.method.reweight import apply_factors, reweighting_factors, shapes
from beampipe.calibration.report import figures
from beampipe.calibration.report.figures import (
    REPORT_STYLE,
    bands_of,
    drawable,
    figure_paths,
    plot_points,
    plot_scale_factor,
    plot_uncertainties,
)
from beampipe.calibration.report.write import figures_of
from beampipe.calibration.results import Results
from beampipe.errors import ConfigError
from beampipe.figures import drawing, save_figure

KEY = FactorKey("n_trk", 0.8, "gluon", "rejection")
GAP = FactorKey("n_trk", 0.5, "quark", "efficiency")


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    paths = figure_paths(folder, name)
    save_figure(figure, *paths, settings=REPORT_STYLE)
    return paths


def labels_of(figure: Figure) -> list[str]:
    legend = figure.axes[0].get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def open_markers(figure: Figure) -> list[Line2D]:
    lines = [line for line in figure.axes[0].get_lines() if line.get_markerfacecolor() == "white"]
    return [line for line in lines if np.size(line.get_xdata())]


def test_boxes_reach_as_far_as_their_source(results: Results) -> None:
    from matplotlib.patches import Rectangle

    one = results.factors.by_name[KEY]
    boxes = [patch for patch in plot_scale_factor(results, KEY).axes[0].patches if isinstance(patch, Rectangle)]
    bands = {"": one.total, **bands_of(results.factors, one)}
    assert len(boxes) == 2 * len(bands)
    for p in range(2):
        mine = [box for box in boxes if box.get_x() == results.factors.pt_edges[p]]
        wanted = sorted(2 * values[p] for values in bands.values())
        np.testing.assert_allclose(sorted(box.get_height() for box in mine), wanted)
        by_depth = sorted(mine, key=lambda box: box.get_zorder())
        assert [box.get_height() for box in by_depth] == sorted((box.get_height() for box in mine), reverse=True)
        np.testing.assert_allclose([box.get_y() + box.get_height() / 2 for box in mine], one.nominal[p])


def test_what_is_not_known_is_not_drawn(results: Results) -> None:
    from matplotlib.patches import Rectangle

    figure = plot_scale_factor(results, GAP)
    boxes = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle) and not patch.get_hatch()]
    assert boxes
    assert {box.get_x() for box in boxes} == {500.0}
    assert "statistical" not in labels_of(figure)


def test_a_bin_without_a_valid_error_is_hatched_and_empty(results: Results) -> None:
    """A point there, or an error bar of length 0, would look like a measurement."""
    one = results.factors.by_name[KEY]
    lost = replace(one, total=np.array([one.total[0], np.nan]), flags=((), ("no_statistical_error",)))
    broken = replace(results, factors=replace(results.factors, by_name={**results.factors.by_name, KEY: lost}))
    assert np.isfinite(lost.nominal).all()
    assert np.isnan(drawable(lost).nominal).tolist() == [False, True]
    for figure in (plot_scale_factor(broken, KEY), plot_uncertainties(broken, KEY)):
        axes = figure.axes[0]
        assert [patch.get_hatch() for patch in axes.patches].count("//") == 1
        assert figure.get_supxlabel() == "Hatched: no valid error"
        assert open_markers(figure) == []
    figure = plot_points(broken, *KEY[:1], *KEY[2:])
    assert any(patch.get_hatch() for patch in figure.axes[0].patches)


def test_a_bin_with_few_events_has_an_open_marker_and_a_footnote(results: Results) -> None:
    """The first bin has a flag, the second one has none."""
    factors = results.factors
    by_name = {key: replace(one, flags=(("few_events",), ())) for key, one in factors.by_name.items()}
    few = replace(results, factors=replace(factors, by_name=by_name))
    none = {key: replace(one, flags=((), ())) for key, one in factors.by_name.items()}
    clean = replace(results, factors=replace(factors, by_name=none))
    for draw, y in (
        (partial(plot_scale_factor, key=KEY), factors.by_name[KEY].nominal[0]),
        (partial(plot_uncertainties, key=KEY), factors.by_name[KEY].total[0]),
    ):
        figure = draw(few)
        assert figure.get_supxlabel() == f"Open markers: {FLAGS['few_events']}"
        assert [text for text in texts(figure).split() if text in ("few", "events")] == []
        (line,) = open_markers(figure)
        np.testing.assert_allclose(np.asarray(line.get_xydata()), [[550.0, y]])
        assert draw(clean).get_supxlabel() == ""
        assert open_markers(draw(clean)) == []
    lines = open_markers(plot_points(few, *KEY[:1], *KEY[2:]))
    wanted = [factors.by_name[KEY._replace(working_point=point)].nominal[0] for point in factors.working_points]
    np.testing.assert_allclose([np.asarray(line.get_ydata()) for line in lines], np.transpose([wanted]))


def test_nothing_known_at_all_still_gives_figures(results: Results, tmp_path: Path) -> None:
    one = results.factors.by_name[GAP]
    never = np.full(2, np.nan)
    empty = replace(
        one, nominal=never, statistical=never, total=never, sources=dict.fromkeys(one.sources, never), data=never
    )
    nothing = replace(results, factors=replace(results.factors, by_name=dict.fromkeys(results.factors.by_name, empty)))
    save(plot_scale_factor(nothing, GAP), tmp_path, "factor")
    save(plot_uncertainties(nothing, GAP), tmp_path, "uncertainty")
    save(plot_points(nothing, *GAP[:1], *GAP[2:]), tmp_path, "points")


def test_every_figure_becomes_a_picture(results: Results, report: Path) -> None:
    from matplotlib import image

    pictures = [picture for picture, _ in figures_of(results)]
    assert pictures[0].name == "scale_factor_n_trk_50_quark_efficiency"
    assert len({picture.name for picture in pictures}) == len(pictures) == 4 + 2 + 2 + 2 + 1 + 2 + 3
    main = replace(results, configuration=replace(results.configuration, style=Style()))
    names = {picture.name.partition("_n_trk")[0] for picture, _ in figures_of(main)}
    assert names == {"scale_factor", "uncertainties", "working_points", "closure", "spectra", "separation"}
    for picture in pictures:
        png, pdf = figure_paths(report / "plots", picture.name)
        pixels = np.round(255 * image.imread(png)).astype(np.uint8)
        assert pixels.shape[0] > 500
        assert pixels.shape[1] > 1000
        assert len(np.unique(pixels.view(np.uint32))) > 20
        assert pdf.read_bytes().startswith(b"%PDF")


def test_the_same_figure_has_the_same_bytes_and_leaves_no_setting(results: Results, tmp_path: Path) -> None:
    from matplotlib import rcParams

    before = dict(rcParams)
    one, other = (save(plot_scale_factor(results, KEY), tmp_path, name) for name in ("one", "other"))
    for first, second in zip(one, other, strict=True):
        assert first.read_bytes() == second.read_bytes()
    assert dict(rcParams) == before


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
