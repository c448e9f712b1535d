"""The script that starts a server in a container."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from beampipe.errors import ConfigError
from beampipe.fleet.deploy.containers import fleet_models, memory_limit, server_script
from tests.fleet.specimens import LEAST, WHOLE, specimen
from tests.fleet.tritons import outside
from tests.triton.doublers import write_model
from tests.triton.waiting import wait_until

STAND_IN = """#!/bin/sh
echo "$@" > "$0.arguments"
trap 'echo ended >> "$0.arguments"; exit 7' TERM
while :; do sleep 0.05; done
"""
"""Notes how it was started, and ends with 7 when it is told to."""


@contextmanager
def started(folder: Path, name: str, *, drains: bool = False) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The script for a group of the whole specimen, and the file in which the stand-in takes its notes."""
    program, notes = folder / "stand-in", folder / "stand-in.arguments"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    notes.unlink(missing_ok=True)
    fleet = specimen(folder, WHOLE)
    script = server_script(fleet, fleet.servers[name], str(folder / "all"), drains=drains, program=str(program))
    process = subprocess.Popen(["/bin/sh", "-c", outside(script, folder)], start_new_session=True)
    try:
        wait_until(lambda: notes.exists() and "--grpc-restricted" in notes.read_text(), 10)
        yield process, notes
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_server_ends_with_its_script(tmp_path: Path) -> None:
    with started(tmp_path, "cpu") as (process, notes):
        process.terminate()
        assert process.wait(60) == 7
        assert "ended" in notes.read_text()


def test_a_server_goes_on_for_a_while_after_it_was_told_to_end(tmp_path: Path) -> None:
    with started(tmp_path, "cpu", drains=True) as (process, notes):
        assert not (tmp_path / "shutdown").exists()
        process.terminate()
        wait_until((tmp_path / "shutdown").exists)
        assert "ended" not in notes.read_text()
        assert process.wait(60) == 7  # the status of the server, not of the signal
        assert "ended" in notes.read_text()


def test_only_the_models_of_the_fleet_are_served(tmp_path: Path) -> None:
    for name in ("module_map", "exatrkx", "another"):
        write_model(tmp_path / "all", name)
    with started(tmp_path, "gpu") as (_, notes):
        assert f"--model-repository={tmp_path}/models " in notes.read_text()
        assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["exatrkx", "module_map"]
        assert (tmp_path / "models" / "exatrkx" / "config.pbtxt").is_file()


def test_the_secret_is_another_for_each_server(tmp_path: Path) -> None:
    secrets = []
    for _ in range(2):
        with started(tmp_path, "gpu") as (_, notes):
            secrets += re.findall(r"--http-restricted-api=\S+:beampipe-secret=(\w{48})\b", notes.read_text())
    assert len(set(secrets)) == 2


def test_all_models_of_a_repository_are_known(tmp_path: Path) -> None:
    fleet = specimen(tmp_path, LEAST.replace('models = ["one"]\n', ""))
    with pytest.raises(ConfigError, match="no repository on this machine"):
        fleet_models(fleet)
    write_model(fleet.repository, "b")
    write_model(fleet.repository, "a")
    assert fleet_models(fleet) == ("a", "b")
    (fleet.repository / ".beampipe.json").write_text('{"models": ["c"]}')
    assert fleet_models(fleet) == ("c",)


def test_memory_is_whole_in_mebibytes(tmp_path: Path) -> None:
    fleet = specimen(tmp_path, LEAST + "memory = 1.5\n")
    assert memory_limit(fleet.servers["cpu"]) == "1536Mi"
