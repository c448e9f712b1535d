"""Lazily loaded names are imported from the modules that define them, and listed for Tab completion."""

from __future__ import annotations

import subprocess
import sys

import pytest

from beampipe.lazy import loader
from tests.test_public import SURFACE


def test_names_are_imported_from_their_modules() -> None:
    load, names = loader("beampipe.tracking", {"beampipe.events": ("NO_TRACK",), "beampipe.units": ("GeV",)})
    assert load("NO_TRACK") == -1
    assert load("GeV") == 1.0
    assert {"NO_TRACK", "GeV", "__name__"} <= set(names())
    with pytest.raises(AttributeError, match=r"module 'beampipe.tracking' has no attribute 'NOISE'"):
        load("NOISE")


@pytest.mark.parametrize("module", SURFACE)
def test_all_public_names_are_listed_before_they_are_loaded(module: str) -> None:
    code = f"import {module}; print(*dir({module}))"
    listed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert set(SURFACE[module]) <= set(listed)
