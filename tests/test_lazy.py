"""Names of a package are loaded when they are asked for, and only then."""

from __future__ import annotations

import pytest

from beampipe.lazy import loader


def test_names_come_from_their_homes() -> None:
    load = loader("beampipe.tracking", {"beampipe.units": ["GeV"]})
    assert load("NO_TRACK") == -1
    assert load("GeV") == 1.0
    with pytest.raises(AttributeError, match=r"module 'beampipe.tracking' has no attribute 'NOISE'"):
        load("NOISE")
