"""What the operator asked for is kept: over kills of the fleet's process, in another start, and on a full disk."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from beampipe import processes
from beampipe.errors import BeampipeError, ConfigError, FileError
from beampipe.fleet.cli import app
from beampipe.fleet.control import daemon, intent
from beampipe.fleet.control.control_socket import send_command
from beampipe.fleet.control.intent import Intent, Request, prepare, processes_of, read_intent
from beampipe.fleet.run_folder import RunFolder, lacks_space, make_snapshot
from beampipe.triton.engine import Engine
from beampipe.triton.server.launch import free_port
from tests.fleet.conftest import FLEET, Behind, Load, one_doubler, until
from tests.triton.doublers import DOUBLER


class Operated(Behind):
    """A fleet that an operator runs by commands, its process and its servers in the background."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(port)
        self.folder = folder

    @property
    def specification(self) -> Path:
        return self.folder / "fleet.toml"

    @property
    def run(self) -> RunFolder:
        return RunFolder(self.folder / "run")

    def write(self, count: int = 2) -> None:
        self.specification.write_text(FLEET.format(count=count, patience=3.0, port=self.port, gateway=""))

    def command(self, *words: str) -> Result:
        options = ["-f", str(self.specification), "--folder", str(self.run.path)]
        return CliRunner().invoke(app, [*words, *options])

    def obeyed(self, *words: str) -> str:
        done = self.command(*words)
        assert done.exit_code == 0, done.output
        return done.output

    def status(self) -> dict[str, Any]:
        """The status; empty while no process of the fleet answers."""
        with suppress(BeampipeError):
            return dict(send_command(self.run.socket, {"do": "status"}, 2.0))
        return {}

    def pids(self) -> dict[str, int]:
        """Process ids of the supervisors of all servers that run."""
        return {row["server"]: row["pid"] for row in self.status().get("servers", ())}

    def process(self) -> int:
        """Process id of the fleet's process."""
        pid = daemon.daemon_pid(self.run)
        assert pid is not None
        return pid

    def kill(self) -> None:
        """Kill the fleet's process, and wait until its successor has made the fleet whole."""
        pid = self.process()
        os.kill(pid, signal.SIGKILL)
        until(lambda: daemon.daemon_pid(self.run) not in (None, pid) and self.is_whole(), 15.0)

    def is_whole(self) -> bool:
        status = self.status()
        return bool(status) and bool(status["ready"]) and not status["changing"] and not status["left_over"]


@pytest.fixture(scope="module")
def operated(engine: Engine) -> Iterator[Operated]:
    """A fleet of two servers; each test leaves it as it finds it."""
    with TemporaryDirectory(prefix="fleet") as temporary:
        fleet = Operated(Path(temporary), free_port())
        one_doubler(fleet.folder / "models")
        fleet.write()
        try:
            fleet.obeyed("up")
            yield fleet
        finally:
            fleet.command("down")
        assert processes_of(fleet.run) == {}


def test_drains_and_numbers_of_servers_survive_the_process_that_was_told(operated: Operated) -> None:
    with Load(operated):
        operated.obeyed("drain", "cpu-0")
        operated.obeyed("scale", "3")
        pids = operated.pids()
        operated.kill()
    status = operated.status()
    assert {row["server"]: row["pid"] for row in status["servers"]} == pids
    assert [row["gateway"] for row in status["servers"]] == ["DRAIN", "UP", "UP"]
    assert len(status["asked"]) == 3
    printed = operated.obeyed("status")
    assert "asked: cpu-0 is drained (" in printed
    assert "asked: cpu has 3 server(s) (" in printed
    # So they do a restart of the drained server, and `up` with the same file.
    operated.obeyed("restart", "cpu-0")
    assert "kept: cpu-0 is drained" in operated.obeyed("up")
    assert [row["gateway"] for row in operated.status()["servers"]] == ["DRAIN", "UP", "UP"]
    operated.write(count=1)
    alone = operated.command("up")
    assert "discarded: cpu has 3 server(s)" in alone.output
    assert alone.exit_code == 1, "the only server is drained"
    assert list(operated.pids()) == ["cpu-0"]
    operated.write(count=2)
    operated.obeyed("up")
    operated.obeyed("resume", "cpu-0")
    assert operated.is_whole()
    assert len(operated.status()["asked"]) == 1


@pytest.mark.parametrize("words", [("restart",), ("scale", "3"), ("update",)], ids=" ".join)
def test_an_interrupted_command_goes_on(operated: Operated, words: tuple[str, ...]) -> None:
    until(operated.is_whole)
    before, model = operated.pids(), operated.folder / "models" / "one" / "1" / "model.py"
    if words == ("update",):
        model.write_text(DOUBLER + "# an update\n")
    with Load(operated):
        thread = threading.Thread(target=operated.command, args=words)
        thread.start()
        until(lambda: len((read_intent(operated.run) or Intent()).requests) > 0)
        operated.kill()
        thread.join()
    after = operated.pids()
    if words == ("scale", "3"):
        assert len(after) == 3
        operated.obeyed("scale", "2")
    else:
        assert set(after) == set(before)
        assert not set(after.values()) & set(before.values())
    status = operated.status()
    assert len(status["asked"]) == 1, "nothing is left to be done"
    assert len({row["digest"] for row in status["servers"]}) == 1


def test_a_stopped_server_without_a_record_is_found_by_another_process(operated: Operated) -> None:
    until(operated.is_whole)
    operated.obeyed("scale", "3")
    third = operated.pids()["cpu-2"]
    os.kill(third, signal.SIGSTOP)
    (operated.run.registry / "cpu-2.json").unlink()
    operated.kill()
    assert not processes.is_alive(third), "it is replaced"
    assert list(operated.pids()) == ["cpu-0", "cpu-1", "cpu-2"]
    operated.obeyed("scale", "2")


def test_what_nothing_manages_is_ended(operated: Operated) -> None:
    """A process of a server that the fleet's process does not know of."""
    until(operated.is_whole)
    environment = {**os.environ, intent.VARIABLE: str(operated.run.path)}
    with subprocess.Popen(["sleep", "600"], env=environment) as unknown:
        until(lambda: any("sleep, process" in text for text in operated.status()["left_over"]), 10.0)
        unknown.send_signal(signal.SIGSTOP)
        assert unknown.wait(10.0) == -signal.SIGKILL
    until(operated.is_whole)


def test_what_is_left_of_a_fleet_is_named_by_status_and_ended_by_down(operated: Operated) -> None:
    until(operated.is_whole)
    pid, supervisors = operated.process(), operated.pids()
    parent = processes.parent(pid)
    assert parent is not None
    os.kill(supervisors["cpu-1"], signal.SIGSTOP)
    for number in (parent, pid):
        os.kill(number, signal.SIGKILL)
    failed = operated.command("status")
    assert failed.exit_code != 0
    assert "supervisor of cpu-1" in str(failed.exception)
    assert "stopped by a signal" in str(failed.exception)
    assert "beampipe fleet down" in str(failed.exception)
    assert "an earlier one had left" in operated.obeyed("down")
    assert processes_of(operated.run) == {}
    operated.obeyed("up")
    assert operated.is_whole()


def test_a_fleet_is_not_replaced_by_another_of_the_same_name(operated: Operated, tmp_path: Path) -> None:
    until(operated.is_whole)
    other, pids = tmp_path / "fleet.toml", operated.pids()
    other.write_text(operated.specification.read_text().replace('"models"', f'"{operated.folder}/models"'))
    options = "-f", str(other), "--folder", str(operated.run.path)
    for words in (("up",), ("down",), ("drain", "cpu-0"), ("status",)):
        failed = CliRunner().invoke(app, [*words, *options])
        assert isinstance(failed.exception, ConfigError), failed.output
        assert f"got the specification {other}, expected {operated.specification}" in str(failed.exception)
    assert operated.pids() == pids
    done = CliRunner().invoke(app, ["up", "--take-over", *options])
    assert done.exit_code == 0, done.output
    assert operated.status()["specification"] == str(other)
    operated.obeyed("up", "--take-over")


def test_a_command_on_a_full_disk_changes_nothing_and_says_so(
    operated: Operated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path / "run")
    run.make()
    before, _ = prepare(run, operated.specification)

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(json, "dump", full)
    with pytest.raises(FileError, match=f"{run.intent}.*(full|No space)"):
        before.having(Request("drain", "cpu-0")).write(run)
    monkeypatch.undo()
    assert read_intent(run) == before
    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(
        FileError, match=r"cannot be copied to .* are free there, and the copy needs [1-9][0-9]*\.[0-9] kB"
    ):
        make_snapshot(operated.folder / "models", tmp_path)


def test_a_folder_that_gets_full_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(total=10**12, free=10**7))
    assert lacks_space(tmp_path).startswith(f"{tmp_path}: got 10.0 MB free, expected 268.4 MB or more")


def test_a_damaged_intent_is_named(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.make()
    assert read_intent(run) is None
    for text in ("", "{", json.dumps({"requests": [{"do": "dance"}]})):
        run.intent.write_text(text)
        with pytest.raises(BeampipeError, match=r"intent\.json"):
            read_intent(run)


SPECIFICATION = 'repository = "models"\n[servers.cpu]\ncount = 2\n'


@pytest.mark.parametrize(
    ("request_before", "after", "keeps"),
    [
        (Request("scale", "cpu", 3), SPECIFICATION, True),
        (Request("scale", "cpu", 3), SPECIFICATION.replace("2", "1"), False),
        (Request("drain", "cpu-0"), SPECIFICATION.replace("2", "1"), True),
        (Request("drain", "cpu-0"), SPECIFICATION.replace("cpu", "gpu"), False),
        (Request("restart", "cpu-0"), SPECIFICATION, False),
    ],
    ids=str,
)
def test_another_specification_says_what_it_keeps(
    tmp_path: Path, request_before: Request, after: str, keeps: bool
) -> None:
    run, file = RunFolder(tmp_path / "run"), tmp_path / "fleet.toml"
    run.make()
    file.write_text(SPECIFICATION)
    prepare(run, file)[0].having(request_before).write(run)
    file.write_text(after)
    kept, notes = prepare(run, file)
    assert kept == read_intent(run)
    assert kept.requests == ((request_before,) if keeps else ())
    assert notes == [f"{'kept' if keeps else 'discarded'}: {request_before}"]
    kept.having(Request("drain", "cpu-0"), Request("down")).write(run)
    assert prepare(run, file)[0].requests == (), "`down` ends all that was asked for"
