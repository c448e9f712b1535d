"""What the tests of serving share with those of Triton's servers."""

from tests.triton.conftest import doublers

__all__ = ["doublers"]
