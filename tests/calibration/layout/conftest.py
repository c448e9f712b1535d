"""Files of other experiments, thinned."""

from __future__ import annotations

import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

FOREIGN = Path(__file__).parents[1] / "foreign"

Foreign = Callable[[str], Path]


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    """A file of others, unpacked."""
    folder = tmp_path_factory.mktemp("foreign")

    def unpacked(name: str) -> Path:
        path = folder / f"{name}.root"
        if not path.exists():
            path.write_bytes(lzma.decompress((FOREIGN / f"{path.name}.xz").read_bytes()))
        return path

    return unpacked
