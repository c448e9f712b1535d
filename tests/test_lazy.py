"""Lazily loaded names are imported from the modules that define them, and listed for Tab completion."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module

import pytest

from beampipe.lazy import import_name, loader
from tests.test_imports import MODULES
from tests.test_public import SURFACE


def test_names_are_imported_from_their_modules() -> None:
    import_module("beampipe.tracking")
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
    if "__dir__" in vars(import_module(module)):
        assert {name for name in listed if not name.startswith("__")} <= set(SURFACE[module])


def test_names_of_higher_layers_are_there() -> None:
    """Those that a data type imports when a method needs them, which no checker of imports sees."""
    texts = [path.read_text(encoding="utf-8") for path in MODULES]
    names = {name for text in texts for name in re.findall(r'import_name\(\s*"([^"]+)"', text)}
    assert len(names) > 5
    for name in names:
        assert callable(import_name(name))
