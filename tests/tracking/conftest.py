"""What the tests of tracking share: each instruction set of the native kernels in turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beampipe.tracking.kernels import _native


@pytest.fixture(params=_native.supported_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """One that this CPU has; in use during the test."""
    before = _native.isa()
    _native.use_isa(request.param)
    yield request.param
    _native.use_isa(before)
