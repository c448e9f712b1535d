from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import beampipe
from beampipe.calibration.report.figures import BAND_COLOURS
from beampipe.errors import MissingExtraError
from beampipe.figures import GROUND, INK, PALETTE, drawing, metadata_of, new_figure, save_figure
from beampipe.figures.picture import Picture
from tests.colours import contrast, smallest_difference


def draw() -> Figure:
    with drawing():
        figure, panels = new_figure(1, 2, size=(4.0, 3.0))
        panels[0, 1].plot([1, 2], label=r"$n_{\mathrm{trk}}$")
        panels[0, 1].legend()
    return figure


def test_the_same_figure_has_the_same_bytes_in_every_format(tmp_path: Path) -> None:
    from matplotlib import rcParams

    before = dict(rcParams)
    for folder in ("one", "other"):
        figure = draw()
        save_figure(figure, *(tmp_path / folder / f"a.{kind}" for kind in ("png", "pdf")))
    assert dict(rcParams) == before, "a setting is left"
    for kind, start in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
        one, other = ((tmp_path / folder / f"a.{kind}").read_bytes() for folder in ("one", "other"))
        assert one == other
        assert one.startswith(start)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["a.pdf", "a.png"]


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_a_file_is_that_of_matplotlib_itself(kind: str, tmp_path: Path) -> None:
    with drawing():
        figure, other = draw(), draw()
        resolution = figure.dpi
        save_figure(figure, tmp_path / f"once.{kind}")
        other.savefig(tmp_path / f"twice.{kind}", dpi=150, metadata=metadata_of(other, kind))
    assert figure.dpi == resolution
    assert (tmp_path / f"once.{kind}").read_bytes() == (tmp_path / f"twice.{kind}").read_bytes()


def test_pyplot_is_not_touched(tmp_path: Path) -> None:
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    draw()
    assert pyplot.get_fignums() == before


def test_the_extra_is_named(hide: Callable[[str], None]) -> None:
    hide("mplhep")
    with pytest.raises(MissingExtraError, match=r"beampipe\.figures needs mplhep"), drawing():
        pass


def test_a_figure_shows_itself_in_its_own_style() -> None:
    with drawing():
        figure, panels = new_figure(size=(3.0, 2.0))
        panels[0, 0].plot([1, 2])
        panels[0, 0].set_xlabel("$p_T$ [GeV]")
        assert isinstance(figure, Picture)
        inside = figure._repr_png_()
    assert inside.startswith(b"\x89PNG")
    assert figure._repr_png_() == inside


def test_the_colour_blind_can_distinguish_the_colours() -> None:
    assert smallest_difference(PALETTE) > 15
    assert smallest_difference(BAND_COLOURS) > 15
    assert smallest_difference(["#2ca02c", "#d62728"]) < 10, "green and red of matplotlib itself"
    for dark in (False, True):
        assert contrast(INK[dark], GROUND[dark]) > 10


@pytest.mark.parametrize("dark", [False, True])
def test_a_figure_has_the_palette_and_the_ground(tmp_path: Path, dark: bool) -> None:
    import numpy as np
    from matplotlib.colors import to_rgb
    from matplotlib.image import imread

    with drawing(dark=dark):
        figure, ((axes,),) = new_figure(size=(3.0, 2.0))
        for level in range(3):
            axes.plot([0, 1], [level, level], linewidth=3)
    figure.savefig(tmp_path / "figure.png")
    pixels = imread(tmp_path / "figure.png")[..., :3].reshape(-1, 3)
    for colour in (GROUND[dark], INK[dark], *PALETTE[:3]):
        assert np.abs(pixels - to_rgb(colour)).max(axis=1).min() < 0.02, colour
    assert np.allclose(pixels[0], to_rgb(GROUND[dark]), atol=0.01)


def test_the_colour_blind_can_distinguish_the_curves_of_the_report_of_agents() -> None:
    css = (Path(beampipe.__file__).parent / "analysisops/report/web/page.css").read_text(encoding="utf-8")
    light, dark = (
        list(scheme) for scheme in zip(*(re.findall(rf"--s{n}: (#\w+)", css) for n in range(8)), strict=True)
    )
    for curves, paper in zip((light, dark), re.findall(r"--(?:surface|card): (#\w+)", css), strict=True):
        assert smallest_difference(curves) > 10
        assert all(contrast(colour, paper) > 2.9 for colour in curves)
