"""`beampipe fleet k8s` and `beampipe fleet compose`: the files they name are there, and what they leave out is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from beampipe.fleet.cli import app
from beampipe.fleet.deploy.containers import compose_notes
from beampipe.fleet.deploy.kubernetes import kubernetes_notes
from tests.fleet.specimens import LEAST, WHOLE, specimen


@pytest.mark.parametrize(
    ("command", "file", "note"),
    [
        ("k8s", "supersonic/values-cpu.yaml", "SuperSONIC's Envoy asks for neither"),
        ("compose", "docker-compose.yaml", "does not scale"),
    ],
)
def test_the_commands_say_what_they_wrote_and_what_is_left_out(
    command: str, file: str, note: str, tmp_path: Path
) -> None:
    specimen(tmp_path, WHOLE)
    done = CliRunner().invoke(app, [command, str(tmp_path / "fleet.toml"), "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    written = [Path(line) for line in done.stdout.splitlines()]
    assert tmp_path / "out" / file in written
    assert all(path.is_file() for path in written)
    assert note in done.stderr


def test_what_a_specification_asks_for_in_vain_is_said(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    plain = specimen(tmp_path, LEAST)
    asking = specimen(tmp_path, LEAST + '[gateway]\nbalancing = "least_hits"\n[gateway.athena]\n')
    assert not list(compose_notes(plain))
    assert [note.partition(":")[0] for note in compose_notes(asking)] == ["gateway.athena"]
    assert [note.partition(":")[0] for note in kubernetes_notes(plain)] == ["gateway.tls"]
    assert len(list(kubernetes_notes(asking))) == 3
    patient = replace(plain, patience=20.0)
    assert [note.partition(":")[0] for note in compose_notes(patient)] == ["patience"]
    assert [note.partition(":")[0] for note in kubernetes_notes(patient)] == ["patience", "gateway.tls"]
