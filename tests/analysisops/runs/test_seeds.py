"""Seeds that are public, and seeds that are not."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest

from beampipe.analysisops.runs.engine import ALL_LEVELS
from beampipe.analysisops.seeds import Seeds
from beampipe.errors import FileError


def test_development_seeds_of_level_3_are_their_numbers_and_other_levels_have_others() -> None:
    assert [(item.label, item.value) for item in Seeds((1, 3)).of("zmumu", 3)] == [("dev-1", 1), ("dev-3", 3)]
    values = [item.value for level in ALL_LEVELS for item in Seeds((1, 2, 10**6)).of("zmumu", level)]
    assert len(set(values)) == 9


def test_evaluation_seeds_follow_from_the_secret_the_task_and_the_place(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"0123456789abcdef0123456789abcdef\n")
    seeds = Seeds.first(50, path)
    result = {task: [item.value for item in seeds.of(task, 3)] for task in ("zmumu", "hyy")}
    assert len({*result["zmumu"], *result["hyy"]}) == 100
    assert all(0 <= value < 2**63 for value in result["zmumu"])
    assert not {*result["zmumu"]} & {item.value for item in seeds.of("zmumu", 1)}, "levels have other instances"
    assert max(result["zmumu"]) > 2**60, "too many to try"
    expected = hmac.new(b"0123456789abcdef0123456789abcdef", b"seed\nzmumu\n3\n2", hashlib.sha256).digest()
    assert result["zmumu"][1] == int.from_bytes(expected[:8]) >> 1
    assert Seeds((2,), path).of("zmumu", 3)[0] == seeds.of("zmumu", 3)[1]
    path.write_bytes(b"another secret of as many bytes, and a few")
    assert not {*result["zmumu"]} & {item.value for item in seeds.of("zmumu", 3)}


def test_a_seed_is_not_printed(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"0123456789abcdef0123456789abcdef")
    [one] = Seeds.first(1, path).of("zmumu", 3)
    assert str(one.value) not in repr(one)
    assert one.label == "eval-1"
    assert len(one.secret) == 16


def test_a_secret_that_is_short_or_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="expected the secret of evaluation"):
        Seeds.first(1, tmp_path / "none").of("zmumu", 3)
    short = tmp_path / "short"
    short.write_text("hunter2\n")
    with pytest.raises(FileError, match=r"got a secret of 7 bytes, expected at least 32; make one: head"):
        Seeds.first(1, short).of("zmumu", 3)
