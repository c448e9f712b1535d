"""A figure of matplotlib that keeps its style and shows itself in a notebook."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from matplotlib import rc_context, rcParams
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["Picture"]


class Picture(Figure):
    """A figure without pyplot, which would keep it, and choose a backend for the whole process.

    Whoever draws it, and whenever, finds the style (rcParams) that it was made in: text is set only then. A notebook
    shows it without ``%matplotlib inline``.

    Args:
        *arguments: those of matplotlib's `Figure`.
        **options: those of matplotlib's `Figure`.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._style: dict[str, Any] = {name: value for name, value in rcParams.copy().items() if name != "backend"}
        super().__init__(*arguments, **options)
        FigureCanvasAgg(self)

    def draw(self, renderer: Any) -> None:
        with rc_context(self._style):  # type: ignore[arg-type]
            super().draw(renderer)

    def savefig(self, *arguments: Any, **options: Any) -> None:
        with rc_context(self._style):  # type: ignore[arg-type]
            super().savefig(*arguments, **options)

    def _repr_png_(self) -> bytes:
        picture = BytesIO()
        self.savefig(picture, format="png", dpi=self.dpi)
        return picture.getvalue()
