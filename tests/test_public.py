"""The public names of the package are there."""

from __future__ import annotations

import importlib
from typing import Final

import pytest

import beampipe

MODULES: Final = (
    "beampipe",
    "beampipe.analysisops",
    "beampipe.calibration",
    "beampipe.fleet",
    "beampipe.serving",
    "beampipe.simulation",
    "beampipe.tracking",
    "beampipe.tracking.data",
    "beampipe.tracking.display",
    "beampipe.tracking.evaluation",
    "beampipe.tracking.formats",
    "beampipe.triton",
    "beampipe.triton.client",
    "beampipe.workflow",
)
SURFACE: Final[dict[str, list[str]]] = {name: importlib.import_module(name).__all__ for name in MODULES}
"""Public API by module: user code may depend on these names, so a change belongs in CHANGELOG.md."""


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_there(module: str) -> None:
    names = SURFACE[module]
    assert len(names) == len(set(names)) > 0
    assert all(hasattr(importlib.import_module(module), name) for name in names)


def test_version_is_of_the_installed_package() -> None:
    assert beampipe.__version__.count(".") >= 2
