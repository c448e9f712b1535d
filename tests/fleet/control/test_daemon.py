"""The end of a fleet whose keeper takes no orders."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from beampipe.fleet.control import daemon
from beampipe.fleet.run_folder import RunFolder


def test_a_keeper_that_takes_no_orders_is_ended_by_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specification = tmp_path / "fleet.toml"
    specification.write_text('repository = "models"\n[servers.cpu]\n')
    RunFolder(tmp_path).make()
    with subprocess.Popen(["sleep", "60"]) as reconciler:  # it starts, or ends already: there is no socket
        monkeypatch.setattr(daemon, "daemon_pid", lambda folder: reconciler.pid)
        assert "ended" in daemon.stop_fleet(specification, tmp_path)
        assert reconciler.wait(1.0) < 0
