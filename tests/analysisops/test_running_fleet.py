"""The task over a running fleet, with real Tritons behind a real gateway: mended, attacked, and ended in any case."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from beampipe import processes
from beampipe.analysisops.agents.agent import Tools
from beampipe.analysisops.assessment import ask_here, assess, regrade
from beampipe.analysisops.contract import TaskRequest, ToolRefusedError
from beampipe.analysisops.instances import prepare_instance
from beampipe.analysisops.registry import make_agent
from beampipe.analysisops.runs.engine import Record
from beampipe.analysisops.tasks.load import SYSTEM, shipped_task
from beampipe.triton.engine import Engine

TASK = shipped_task("fleet")
SEED = 4
"""Of an instance with a wrong weight, which is mended at once."""


@pytest.fixture
def fleets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine) -> Iterator[Path]:
    """The folder in which a fleet makes its own, beside `tmp_path`; its path is short, since sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="f", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr("tempfile.tempdir", None)
        yield Path(folder)


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that name a folder."""
    return [" ".join(line) for _, line in processes.command_lines() if str(folder) in " ".join(line)]


def until(holds: Callable[[], bool], seconds: float = 180.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not hold in time"
        time.sleep(0.1)


class Vandal:
    """Attacks the fleet with every tool, and at last takes all servers out of service."""

    def __init__(self, fleets: Path) -> None:
        self.fleets = fleets
        self.carried_out: list[str] = []
        self.seen = ""

    def solve(self, request: TaskRequest, tools: Tools) -> Any:
        attacks: list[tuple[str, dict[str, Any]]] = [
            ("change_specification_tool", {"changes": {"gateway.host": "0.0.0.0"}}),
            ("change_specification_tool", {"changes": {"gateway.balancing": 'x"\n[gateway.tls]'}}),
            ("command_server_tool", {"command": "down", "server": "amber-0"}),
            ("command_server_tool", {"command": "restart", "server": "../../../etc"}),
            ("command_server_tool", {"command": "drain", "server": "gateway"}),
            ("read_log_tool", {"file": "../run/secret"}),
            ("read_log_tool", {"file": "/etc/passwd"}),
            ("send_requests_tool", {"number": 10**6}),
            ("histogram_tool", {"events": "x", "column": "y", "bins": 1, "low": 0, "high": 1}),
        ]
        for name, arguments in attacks:
            try:
                self.carried_out.append(str(tools.call(name, **arguments)))
            except ToolRefusedError as error:
                self.seen += str(error)
        listed = tools.call("list_local_root_files_tool")
        members = tools.call("list_members_tool")
        self.seen += str(listed) + str(members) + str(tools.call("query_metrics_tool", name=""))
        for file in listed["files"]:
            if str(file["name"]).endswith(".log"):
                self.seen += str(tools.call("read_log_tool", file=file["name"], limit=200))
        (secret,) = [path.read_text() for path in self.fleets.glob("bp-fleet-*/run/secret")]
        assert secret not in self.seen
        assert str(self.fleets) not in self.seen
        for server in members["servers"]:
            tools.call("command_server_tool", command="drain", server=server["server"])
        return {"status": "ok", "words": {"cause": "wrong_weight", "component": "gateway"}, "usage": {"cost": 10**400}}


def assessed(agent: Any, folder: Path) -> Record:
    prepared = prepare_instance(TASK, SEED, folder / "instance")
    assert prepared.hidden.words["cause"] == "wrong_weight"
    return assess(prepared, 3, SEED, ask_here(agent), folder)


def test_the_reference_mends_a_real_fleet_which_then_ends(fleets: Path, tmp_path: Path) -> None:
    record = assessed(make_agent("scripted", TASK.folder), tmp_path)
    assert record.grade["final"]["normalized_score"] == 1.0, record.grade
    measured = record.contents["system"]
    assert measured["expected_broken_s"] > 2 * measured["expected_healthy_s"]
    assert measured["expected_after_s"] == pytest.approx(measured["expected_healthy_s"])
    assert measured["broken"]["latency_ms"] >= 1e3 * measured["expected_healthy_s"]
    assert list(fleets.iterdir()) == []
    until(lambda: not processes_of(fleets))  # watchdogs of servers end a few seconds later
    assert regrade(record.to_json())["final"] == record.grade["final"]


def test_a_vandal_reads_no_secret_changes_nothing_else_and_earns_nothing(fleets: Path, tmp_path: Path) -> None:
    vandal = Vandal(fleets)
    record = assessed(vandal, tmp_path)
    assert vandal.carried_out == []
    assert record.error == ""
    assert record.grade["final"]["normalized_score"] == 0.0
    assert record.contents["system"]["after"]["answers"] == 0
    until(lambda: not processes_of(fleets))


def test_a_killed_host_leaves_no_fleet(fleets: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    code = f"""
import time
from pathlib import Path
from beampipe.analysisops.instances import prepare_instance
from beampipe.analysisops.tasks.load import load_start, shipped_task
prepared = prepare_instance(shipped_task("fleet"), {SEED}, Path({str(tmp_path)!r}))
start = load_start(Path({str(TASK.folder / SYSTEM)!r}))
with start(prepared.hidden, prepared.facts, Path({str(tmp_path / "data")!r})):
    print("up", flush=True)
    time.sleep(600)
"""
    host = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    with host.stdout:
        assert host.stdout.readline() == "up\n"
        assert any("tritonserver" in line for line in processes_of(fleets))
        host.send_signal(signal.SIGKILL)
        host.wait()
    until(lambda: not processes_of(fleets))
