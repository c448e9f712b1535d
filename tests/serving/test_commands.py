"""`beampipe serving export`, as typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.in_process import run


def test_export_writes_what_is_asked_for(tmp_path: Path) -> None:
    done = run(
        "serving", "export", "-o", tmp_path / "models", "-m", "module_map", "--scale", "exatrkx", "--instances", "3"
    )
    assert done.returncode == 0, done.stderr
    config = (tmp_path / "models" / "module_map" / "config.pbtxt").read_text()
    assert "count: 3" in config
    assert 'string_value: "exatrkx"' in config


def test_a_model_is_exported_under_the_name_that_foreign_clients_ask_for(tmp_path: Path) -> None:
    options = ("-m", "module_map", "--name", "ActsExaTrkX", "--scale", "acts")
    done = run("serving", "export", "-o", tmp_path / "models", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}/models/ActsExaTrkX\n"
    config = (tmp_path / "models" / "ActsExaTrkX" / "config.pbtxt").read_text()
    assert 'name: "ActsExaTrkX"' in config
    assert 'string_value: "acts"' in config
    assert 'string_value: "module_map"' in config


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "-o", "{tmp}/a", "-m", "module_mop"], "unknown model: got 'module_mop'"),
        (["export", "-o", "{tmp}/a", "-m", "module_map", "--device", "gpu"], "unknown device: got 'gpu'"),
        (["export", "-o", "{tmp}/a", "-m", "mine=gone.py:Mine"], "gone.py"),
        (["export", "-o", "{tmp}/a", "--name", "X"], "--name: got 'X' for 4 models, expected one model"),
        (["export", "-o", "{tmp}/a", "-m", "module_map", "--name", "a b"], "got the name 'a b', expected letters"),
        (["bench", "--concurrency", "1,x"], "invalid value for '--concurrency'"),
    ],
)
def test_an_error_is_one_line_and_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = run("serving", *(argument.format(tmp=tmp_path) for argument in arguments))
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "a").exists()
