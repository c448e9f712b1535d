"""The file of tokens: hashes only, one for each name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from beampipe.errors import ConfigError, FileError, UnknownNameError
from beampipe.fleet.security import add_token, read_tokens, revoke_token


def test_a_token_is_kept_as_its_hash_only(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    token = add_token(path, "alice")
    other = add_token(path, "bob")
    assert token not in path.read_text()
    assert read_tokens(path) == {
        hashlib.sha256(token.encode()).hexdigest(): "alice",
        hashlib.sha256(other.encode()).hexdigest(): "bob",
    }
    assert path.stat().st_mode & 0o077 == 0
    revoke_token(path, "alice")
    assert list(read_tokens(path).values()) == ["bob"]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    with pytest.raises(FileError, match="token add"):
        read_tokens(path)
    add_token(path, "alice")
    with pytest.raises(ConfigError, match="second token"):
        add_token(path, "alice")
    with pytest.raises(ConfigError, match="letters"):
        add_token(path, "alice smith")
    with pytest.raises(UnknownNameError, match="alice"):
        revoke_token(path, "alcie")
    path.write_text("alice secret\n")
    with pytest.raises(FileError, match="line 1"):
        read_tokens(path)
