"""What the tests of serving share with those of Triton's servers."""

from tests.triton.conftest import doubler_server, doublers

__all__ = ["doubler_server", "doublers"]
