from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from beampipe.errors import BeampipeError, FileError
from beampipe.serving.cli import app, serve_command
from beampipe.triton.engine import Engine
from beampipe.triton.server.cleanup import processes_of, shared_memory_of
from beampipe.triton.server.server import TritonServer
from tests.triton.doublers import ask

PROGRAM = """
import sys, typer
from beampipe.errors import BeampipeError
from beampipe.serving.cli import serve_command

try:
    typer.run(serve_command)
except BeampipeError as error:
    print(error)
    sys.exit(2)
"""
FREE = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in a process of its own, and its summary."""
    command = [sys.executable, "-c", PROGRAM, *FREE, *arguments]
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ) as started:
        try:
            assert started.stdout is not None
            lines = []
            for line in started.stdout:
                lines.append(line)
                if line.startswith("to stop"):
                    break
            yield started, "".join(lines)
        finally:
            started.kill()


def part(summary: str, pattern: str) -> str:
    match = re.search(pattern, summary)
    assert match is not None, summary
    return match.group(1)


def prefix_of(server: int) -> str:
    """The prefix of the server with that process id, from its command line."""
    arguments = Path(f"/proc/{server}/cmdline").read_text()
    return part(arguments, r"shm-region-prefix-name=(\w+)")


def test_a_signal_ends_it_cleanly(engine: Engine, doublers: Path) -> None:
    with serving("--repository", str(doublers), "--models", "one", "--triton", str(engine.folder)) as (
        started,
        summary,
    ):
        url = part(summary, r"http://(\S+:\d+)\s")
        assert "one (1 instance)" in summary
        assert ask(url, "one", 0.0) == (200, [0.0])
        prefix = prefix_of(int(part(summary, r"process (\d+)")))
        idle = http.client.HTTPConnection(url, timeout=20)
        idle.request("GET", "/v2/health/ready")
        idle.getresponse().read()
        started.terminate()
        assert started.stdout is not None
        assert started.stdout.read().splitlines()[-1] == "stopped"
        assert started.wait(20) == 0
        idle.close()
        assert not processes_of(prefix)
        assert not shared_memory_of(prefix)


def run(*arguments: str) -> str:
    """Output of `beampipe serving ...`."""
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_top_once(doubler_server: TritonServer) -> None:
    said = run("top", "--once", "--interval", "0.1", "--url", doubler_server.metrics_url)
    assert doubler_server.metrics_url in said
    assert "requests/s" in said
    with pytest.raises(BeampipeError, match="metrics port"):
        run("top", "--once", "--interval", "0.1", "--url", "127.0.0.1:1")


def test_serve_refuses_what_it_cannot_do(doublers: Path, tmp_path: Path) -> None:
    one = typer.Typer()
    one.command()(serve_command)
    with pytest.raises(FileError, match="no such folder, expected a repository"):
        CliRunner().invoke(one, ["--repository", str(tmp_path / "no")], catch_exceptions=False)
    with pytest.raises(BeampipeError, match="--repository: got it with --instances or --device"):
        CliRunner().invoke(one, ["--repository", str(doublers), "--instances", "2"], catch_exceptions=False)
