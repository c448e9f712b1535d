"""Health as the owner of a model defines it: while a check fails, the server says that it does not answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beampipe.errors import ConfigError
from beampipe.triton.engine import Engine
from beampipe.triton.model.canary import write_canary
from beampipe.triton.server.launch import CheckSettings, ServerSettings
from beampipe.triton.server.server import TritonServer
from beampipe.triton.supervision import supervisor
from tests.triton.waiting import wait_until

SENT = np.array([0, 1, 2], np.float32)


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    """A request whose answer differs from the model's by a ten-thousandth."""
    write_canary(tmp_path, {"X": SENT}, {"Y": np.float32(2.0002) * SENT})
    return tmp_path / "canary.safetensors"


def test_a_server_is_out_of_service_while_a_check_fails(
    engine: Engine, doublers: Path, request_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_CHECK_PERIOD", 0.1)
    flag = tmp_path / "failing"
    program = ("sh", "-c", f'test ! -e {flag} || {{ echo "$BEAMPIPE_MODEL is off"; exit 3; }}')
    checks = {"one": CheckSettings(program, request_file, tolerance=1e-3)}
    with TritonServer(ServerSettings(doublers, triton=engine.folder, checks=checks)) as server:
        assert server.answering
        flag.touch()
        wait_until(lambda: not server.answering)
        wait_until(lambda: any(incident.kind == "check" for incident in server.incidents))
        (said,) = {incident.text for incident in server.incidents if incident.kind == "check"}
        assert said == "one: its check sh ended with code 3: one is off"
        flag.unlink()
        wait_until(lambda: server.answering)
        assert server.ready
        server.kill()


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ({"program": ("sh", "-c", "echo no; exit 1")}, "one: its check sh ended with code 1: no"),
        ({"program": ("sleep", "60"), "timeout": 0.2}, "timed out after 0.2 seconds"),
        ({"program": ("no-such-program",)}, "No such file"),
        ({"tolerance": 1e-5}, "one: the canary got another Y"),
        ({}, "one: the canary got another Y"),
    ],
    ids=["fails", "slow", "missing", "another answer", "byte for byte"],
)
def test_a_server_does_not_start_with_a_failing_check(
    engine: Engine, doublers: Path, request_file: Path, check: dict[str, object], message: str
) -> None:
    settings = {"request": None if "program" in check else request_file, **check}
    checks = {"one": CheckSettings(**settings)}  # type: ignore[arg-type]
    with (
        pytest.raises(ConfigError, match=message),
        TritonServer(ServerSettings(doublers, triton=engine.folder, models=("one",), checks=checks, supervise=False)),
    ):
        pass


def test_a_check_without_anything_to_do_is_refused() -> None:
    with pytest.raises(ConfigError, match="neither program nor request"):
        CheckSettings()
