"""What the tests of tracking share: each instruction set of the native kernels in turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

try:
    from beampipe.tracking.kernels import _native
except ImportError:  # not built: what needs it is skipped, file by file
    ISAS: list[str] = []
else:
    ISAS = _native.supported_isas()


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """One that this CPU has; in use during the test."""
    before = _native.isa()
    _native.use_isa(request.param)
    yield request.param
    _native.use_isa(before)
