"""What the figures of a report have in common: words, colours and names of files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.calibration.method.factors import FactorKey, Factors, ScaleFactor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "EXPERIMENTAL_COLOUR",
    "INK",
    "OTHERS",
    "PT_LABEL",
    "REPORT_STYLE",
    "STATISTICAL_COLOUR",
    "TOTAL_COLOUR",
    "bands_of",
    "colours_of",
    "experimental_of",
    "figure_paths",
    "heading",
    "key_name",
    "percent",
    "point_name",
    "source_label",
    "tagger_label",
]

PT_LABEL: Final = r"Jet $p_{\mathrm{T}}$ [GeV]"
"""Label of the horizontal axis."""

INK: Final = "#1b1f24"
"""Colour of text, points and axes."""

TOTAL_COLOUR: Final = "#d9dce1"
"""Colour of total uncertainties."""

EXPERIMENTAL_COLOUR: Final = "#2457a6"
"""Colour of experimental uncertainties."""

STATISTICAL_COLOUR: Final = INK
"""Colour of statistical uncertainties."""

OTHERS: Final = "others"
"""How the name of the band begins that stands for many small sources."""

REPORT_STYLE: Final = {"text.color": INK, "axes.labelcolor": INK, "axes.formatter.use_mathtext": False}
"""Settings of matplotlib beyond the style of ATLAS. Numbers on axes, set as formulas, would take half of the time."""

_MOST_BANDS: Final = 7
"""Bands of more sources than these cannot be told apart: the smallest are drawn as one."""

# Neighbours differ in lightness too, so that they can be told apart in grey.
_COLOURS: Final = ("#f2c14e", "#3a9d8f", "#e4572e", "#7bb5e8", "#8e4585", "#a8c66c", "#c98f5f", "#6f7a87")
_SHORT: Final = {
    word: word.upper() for word in ("pdf", "jes", "jer", "me", "mc", "fsr", "isr", "ps", "mpi", "cr", "lo", "nlo")
} | {"nonclosure": "non-closure", "reweight": "re-weighting"}


def source_label(name: str) -> str:
    """Name of a source of uncertainty for a reader: ``me_proxy`` becomes ``ME proxy``."""
    words = name.replace("_", " ").split()
    return " ".join(_SHORT.get(word, word) for word in words)


def tagger_label(name: str) -> str:
    """Name of a tagger for a reader, as a formula if it has one."""
    return r"$n_{\mathrm{trk}}$" if name == "n_trk" else name.replace("_", " ")


def point_name(tagger: str, working_point: float) -> str:
    """A working point of a tagger in the name of a file: ``n_trk_50``."""
    return f"{tagger}_{100 * working_point:g}"


def key_name(key: FactorKey) -> str:
    """A scale factor in the name of a file: ``n_trk_50_quark_efficiency``."""
    return f"{point_name(key.tagger, key.working_point)}_{key.flavour}_{key.quantity}"


def percent(working_point: float) -> str:
    """A working point for a reader: ``0.5`` becomes ``50 %``."""
    return f"{100 * working_point:g} %"


def experimental_of(factors: Factors, one: ScaleFactor) -> Float64[ndarray, " p"]:
    """Uncertainty of all experimental sources in quadrature; nan where one of them is not known."""
    square = np.zeros_like(one.nominal)
    for name in factors.experimental:
        square = square + one.sources[name] ** 2
    root: Float64[ndarray, " p"] = np.sqrt(square)
    return root


def bands_of(factors: Factors, one: ScaleFactor) -> dict[str, Float64[ndarray, " p"]]:
    """Uncertainties of the other sources, the largest first. If there are many, the smallest become one: `OTHERS`."""
    sources = {name: values for name, values in one.sources.items() if name not in factors.experimental}
    order = sorted(sources, key=lambda name: -float(np.nansum(np.abs(sources[name]))))
    if len(order) <= _MOST_BANDS:
        return {name: sources[name] for name in order}
    rest = order[_MOST_BANDS - 1 :]
    bands = {name: sources[name] for name in order[: _MOST_BANDS - 1]}
    square = np.zeros_like(one.nominal)
    for name in rest:
        square = square + sources[name] ** 2
    return {**bands, f"{OTHERS} ({len(rest)})": np.sqrt(square)}


def colours_of(factors: Factors, names: Sequence[str]) -> Mapping[str, str]:
    """Colours of bands. A source has the same one in every figure, as long as there are as many colours as sources."""
    theory = [name for one in factors.by_name.values() for name in one.sources if name not in factors.experimental]
    fixed = dict(zip(dict.fromkeys(theory), _COLOURS[:-1], strict=False))
    free = iter([colour for colour in _COLOURS if colour not in {fixed.get(name) for name in names}])
    return {name: fixed[name] if name in fixed else next(free) for name in names}


def heading(axes: Axes, title: str, *lines: str) -> None:
    """Write a title and the lines that belong to it inside a panel, in its upper left corner."""
    for number, text in enumerate((title, *lines)):
        axes.annotate(
            text,
            (0, 1),
            (12, -12 - 21 * number),
            xycoords="axes fraction",
            textcoords="offset points",
            va="top",
            fontsize=13 if number else 16,
            fontweight="normal" if number else "bold",
        )


def figure_paths(folder: Path, name: str) -> tuple[Path, Path]:
    """The files of a figure: a PNG and a PDF."""
    return folder / f"{name}.png", folder / f"{name}.pdf"
