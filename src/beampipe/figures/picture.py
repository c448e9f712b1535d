"""A figure of matplotlib that keeps its style and is displayed by notebooks."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from matplotlib import rc_context, rcParams
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


class Picture(Figure):
    """A figure made without pyplot. Notebooks display it without ``%matplotlib inline``.

    It is drawn in the style (rcParams) in which it was made; matplotlib itself would use the current style.

    Args:
        *arguments: passed to `Figure`.
        **options: passed to `Figure`.
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
