from __future__ import annotations

from pathlib import Path

import pytest

from beampipe.errors import ConfigError, FileError
from beampipe.triton.engine import (
    find_engine,
)
from tests.triton.engine.wheels import fake_wheel


def test_a_missing_engine_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAMPIPE_ENGINE", str(tmp_path / "engine"))
    with pytest.raises(FileError, match="run: beampipe serving engine install"):
        find_engine()
    (tmp_path / "engine").mkdir()
    with pytest.raises(FileError, match="got no Triton there"):
        find_engine()


def test_versions_are_sorted_as_numbers(tmp_path: Path) -> None:
    fake_wheel(tmp_path)
    result = find_engine(tmp_path)
    assert result.versions() == ("3.9", "3.10", "3.11", "3.12")
    with pytest.raises(ConfigError, match=r"for Python 3\.9, 3\.10, 3\.11, 3\.12, expected one for Python 3\.99"):
        result.stub("3.99")
