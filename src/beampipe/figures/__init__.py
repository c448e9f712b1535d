"""Figures with matplotlib, drawn without a display and written atomically, and the pages that show them.

matplotlib is imported when something is drawn. pyplot is not used: it would keep each figure alive, and choose a
backend for the whole process.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from beampipe.files import MARK, write_whole

if TYPE_CHECKING:
    from jinja2 import BaseLoader, Environment
    from matplotlib.figure import Figure

_DPI: Final = 150
"""Resolution of PNG files [pixels per inch]."""

_PAGE_DPI: Final = 110
"""Resolution of pictures in pages [pixels per inch]."""

PALETTE: Final = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#4a4f57", "#f0e442")
"""Colours of curves and bands, in this order. The colour-blind can distinguish them.

Source: M. Okabe, K. Ito, "Color Universal Design" (2008), https://jfly.uni-koeln.de/color/, with a grey for black.
"""

INK: Final = "#1b1f24", "#d8dee9"
"""Colour of text, axes and points on a light and on a dark ground."""

GROUND: Final = "#ffffff", "#12161d"
"""Colour of a light and of a dark ground."""


def ground(*, dark: bool = False) -> Any:
    """Settings of matplotlib for figures on a light or a dark ground."""
    from matplotlib.rcsetup import cycler

    inked = ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color")
    grounds = ("figure.facecolor", "axes.facecolor", "savefig.facecolor")
    colours = dict.fromkeys(inked, INK[dark]) | dict.fromkeys(grounds, GROUND[dark])
    return {**colours, "axes.prop_cycle": cycler(color=PALETTE)}


@contextmanager
def drawing(settings: Mapping[str, Any] | None = None, *, dark: bool = False) -> Iterator[None]:
    """Context with the plotting style of ATLAS and our colours. Figures must be made and saved inside it.

    Args:
        settings: further settings of matplotlib (rcParams).
        dark: draw on a dark ground.

    Raises:
        MissingExtraError: matplotlib or mplhep is not installed.
    """
    import mplhep
    from matplotlib import rc_context, style

    with style.context(mplhep.style.ATLAS), rc_context(ground(dark=dark) | dict(settings or {})):
        yield


def new_figure(
    rows: int = 1, columns: int = 1, *, size: tuple[float, float] = (8.0, 6.0), **more: Any
) -> tuple[Figure, Any]:
    """A figure and its panels.

    Args:
        rows: number of rows of panels.
        columns: number of columns of panels.
        size: width and height of the figure [inches].
        more: further arguments of `Figure.subplots`.

    Returns:
        The figure, which a notebook shows, and its panels as an array (rows, columns) of axes.
    """
    from beampipe.figures.picture import Picture

    figure = Picture(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **more)


def save_figure(figure: Figure, *paths: Path, settings: Mapping[str, Any] | None = None) -> None:
    """Write a figure atomically, without a time in the files.

    Args:
        figure: the figure, made inside `drawing`.
        paths: the files; their endings (png, pdf, svg) choose the formats. Folders are made.
        settings: the settings that the figure was made with; matplotlib applies those of text when it saves.
    """
    with drawing(settings):
        for number, path in enumerate(paths):
            if number:
                figure.set_layout_engine("none")  # the same layout in all files
            write_whole(path, partial(_draw_once, figure, path.suffix.removeprefix(".")))


def metadata_of(figure: Figure, kind: str) -> dict[str, Any]:
    """Metadata of a file: who wrote it, but not when, so that the same figure gives the same bytes; and its legend.

    Args:
        figure: the figure.
        kind: format of the file, as png, pdf or svg.

    Returns:
        What `Figure.savefig` takes; nothing for other formats.
    """
    from matplotlib.legend import Legend

    legends = [legend for legend in figure.findobj(Legend) if isinstance(legend, Legend)]
    words = "; ".join(entry.get_text() for legend in legends for entry in legend.get_texts())
    by_kind: dict[str, dict[str, Any]] = {
        "png": {"Software": MARK, "Description": words},
        "pdf": {"Creator": MARK, "CreationDate": None, "Subject": words},
        "svg": {"Creator": MARK, "Date": None, "Description": words},
    }
    return by_kind.get(kind, {})


def png_base64(figure: Figure, *, settings: Mapping[str, Any] | None = None) -> str:
    """A figure as PNG in base64, for a page that contains its pictures.

    Args:
        figure: the figure, made inside `drawing`.
        settings: the settings that the figure was made with.
    """
    picture = BytesIO()
    with drawing(settings):
        figure.savefig(picture, format="png", dpi=_PAGE_DPI)
    return b64encode(picture.getvalue()).decode()


def html_templates(loader: BaseLoader | None = None) -> Environment:
    """Templates of HTML pages: what is inserted is escaped, and a name that is not given is an error.

    Args:
        loader: where templates are found by name.
    """
    from jinja2 import Environment, StrictUndefined

    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _draw_once(figure: Figure, kind: str, path: Path) -> None:
    """Write a figure in a format. `Figure.savefig` gives the same bytes, but draws everything twice."""
    from matplotlib.backend_bases import get_registered_canvas_class

    resolution = figure.dpi
    figure.set_dpi(_DPI)
    try:
        canvas = get_registered_canvas_class(kind)(figure)
        getattr(canvas, f"print_{kind}")(path, metadata=metadata_of(figure, kind))
    finally:
        figure.set_dpi(resolution)
