"""One small chain, made once for all tests that compare with it."""

from __future__ import annotations

import pytest

from beampipe.chain.run import ChainResult, run_chain
from tests.chain.test_chain import INLINE, small


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> ChainResult:
    return run_chain(small(tmp_path_factory.mktemp("chain")), INLINE)
