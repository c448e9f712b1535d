"""The compiled kernels of the calibration."""

from __future__ import annotations

from functools import cache
from types import ModuleType

from beampipe.files import compiled


@cache
def native() -> ModuleType | None:
    """The compiled loops; None, with one warning, if they are not built."""
    return compiled(
        "beampipe.calibration.kernels", "numpy runs instead and gives the same numbers, several times slower"
    )


def build() -> str:
    """Digest of the sources and build settings of the compiled loops; ``numpy`` if there are none."""
    compiled = native()
    return "numpy" if compiled is None else str(compiled.BUILD)
