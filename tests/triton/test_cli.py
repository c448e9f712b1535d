"""The commands about Triton that areas take among their own, and a server in the foreground."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from beampipe.errors import BeampipeError
from beampipe.triton.cli import engine_commands, load_command, unload_command
from beampipe.triton.engine import Engine
from beampipe.triton.server.server import TritonServer
from tests.triton.doublers import ask
from tests.triton.foreground import part, prefix_of, serving
from tests.triton.waiting import assert_nothing_left


def run(*arguments: str) -> str:
    """Output of a command."""
    commands = typer.Typer()
    commands.add_typer(engine_commands, name="engine")
    commands.command("load")(load_command)
    commands.command("unload")(unload_command)
    result = CliRunner().invoke(commands, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_load_and_unload(engine: Engine, doublers: Path) -> None:
    from beampipe.triton.server.launch import ServerSettings

    with TritonServer(ServerSettings(doublers, models=("one",), triton=engine.folder)) as server:
        assert run("load", "two", "--url", server.http_url) == f"{server.http_url}: two is loaded\n"
        assert ask(server.http_url, "two", 0.0) == (200, [0.0])
        assert run("unload", "two", "--url", server.http_url) == f"{server.http_url}: two is unavailable\n"
        with pytest.raises(BeampipeError, match=r"unknown loaded model of .*: got 'nosuch', expected one of one, two"):
            run("unload", "nosuch", "--url", server.http_url)
        with pytest.raises(BeampipeError, match="failed to load 'three'"):
            run("load", "three", "--url", server.http_url)
        server.kill()
    with pytest.raises(BeampipeError, match="expected a Triton there"):
        run("load", "two", "--url", server.http_url)


def test_the_engine_is_shown(engine: Engine) -> None:
    output = run("engine", "show", "--triton", str(engine.folder))
    assert "usable" in output
    assert str(engine.binary) in output
    message = json.loads(run("engine", "show", "--triton", str(engine.folder), "--json"))
    assert message["server"] == str(engine.binary)


def test_what_happens_is_printed_and_the_second_signal_does_not_wait(engine: Engine, doublers: Path) -> None:
    with serving(doublers, engine, "two") as (started, summary):
        first = int(part(summary, r"process (\d+)"))
        prefix = prefix_of(first)
        os.kill(first, signal.SIGKILL)
        assert started.stdout is not None
        assert "server died: the server died; starting it again with two" in started.stdout.readline()
        assert "server back" in started.stdout.readline()
        started.send_signal(signal.SIGTERM)
        assert started.stdout.readline().startswith("stopping")
        started.send_signal(signal.SIGTERM)
        assert started.wait(60) == 0
        assert_nothing_left(prefix)
