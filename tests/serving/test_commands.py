"""`beampipe serving export` and `bench`, as typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from beampipe.triton.engine import Engine


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "beampipe", "serving", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_export_writes_what_is_asked_for(tmp_path: Path) -> None:
    done = run("export", "-o", tmp_path / "models", "-m", "module_map", "--scale", "exatrkx", "--instances", "3")
    assert done.returncode == 0, done.stderr
    config = (tmp_path / "models" / "module_map" / "config.pbtxt").read_text()
    assert "count: 3" in config
    assert 'string_value: "exatrkx"' in config


def test_a_model_is_exported_under_the_name_that_foreign_clients_ask_for(tmp_path: Path) -> None:
    options = ("-m", "module_map", "--name", "ActsExaTrkX", "--scale", "acts")
    done = run("export", "-o", tmp_path / "models", *options)
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
    done = run(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "a").exists()


def test_bench_prints_a_table_and_writes_plots(engine: Engine, tmp_path: Path) -> None:
    ways = ("--way", "direct", "--way", "module_map http")
    options = ("--pipeline", "module_map", "--mu", "0", "--concurrency", "1", "--instances", "1", "--seconds", "0.1")
    done = run("bench", "-o", tmp_path, *options, *ways)
    assert done.returncode == 0, done.stderr
    assert "efficiency 1.0000" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "serving.json",
        "throughput_concurrency.png",
        "throughput_instances.png",
    ]
