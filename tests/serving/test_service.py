"""`beampipe serve` and `unit`, and a server for a program or a notebook."""

from __future__ import annotations

import http.client
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from beampipe.errors import BeampipeError, FileError, ServiceUnavailableError, UnknownNameError
from beampipe.serving import DirectTrackFinder, FallbackTrackFinder, TritonTrackFinder, serve
from beampipe.serving.cli import app, serve_command
from beampipe.serving.models import ServingSettings
from beampipe.serving.server import generated_repository
from beampipe.tracking import shipped_events
from beampipe.triton import FakeTransport
from beampipe.triton.engine import Engine
from beampipe.triton.server.cleanup import folders_of, processes_of, shared_memory_of
from tests.triton.doublers import ask
from tests.triton.foreground import in_foreground, part, prefix_of

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
def serving(*arguments: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`beampipe serve` in a process of its own, and its summary."""
    with in_foreground(PROGRAM, *FREE, *arguments) as both:
        yield both


def test_a_signal_ends_it_cleanly(engine: Engine, doublers: Path) -> None:
    with serving("--repository", str(doublers), "--model", "one", "--triton", str(engine.folder)) as (started, summary):
        url = part(summary, r"http://(\S+:\d+)\s")
        assert "one (1 instance)" in summary
        assert ask(url, "one", 0.0) == (200, [0.0])
        prefix = prefix_of(int(part(summary, r"process (\d+)")))
        idle = http.client.HTTPConnection(url, timeout=60)
        idle.request("GET", "/v2/health/ready")
        idle.getresponse().read()
        started.terminate()
        assert started.stdout is not None
        assert started.stdout.read().splitlines()[-1] == "stopped"
        assert started.wait(60) == 0
        idle.close()
        assert not processes_of(prefix)
        assert not shared_memory_of(prefix)


def test_without_a_repository_one_is_made_and_removed(engine: Engine) -> None:
    with serving("--model", "module_map", "--instances", "2", "--triton", engine.folder) as (started, summary):
        assert "module_map (2 instances)" in summary
        prefix = prefix_of(int(part(summary, r"process (\d+)")))
        assert len(folders_of(prefix.rpartition("_")[0].rpartition("_")[0])) == 2, "of the repository and of the server"
        started.terminate()
        assert started.wait(60) == 0
        assert not folders_of(prefix.rpartition("_")[0].rpartition("_")[0])


def run(*arguments: str) -> str:
    """Output of `beampipe serving ...`."""
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_serve_refuses_what_it_cannot_do(doublers: Path, tmp_path: Path) -> None:
    one = typer.Typer()
    one.command()(serve_command)
    with pytest.raises(FileError, match="no such folder, expected a repository"):
        CliRunner().invoke(one, ["--repository", str(tmp_path / "no")], catch_exceptions=False)
    own = "--instances, --device, --scale, --name, --backend, --tracker-model, --beam-spot or --force"
    with pytest.raises(BeampipeError, match=f"got it with {own}"):
        CliRunner().invoke(one, ["--repository", str(doublers), "--instances", "2"], catch_exceptions=False)


def test_the_unit_runs_serve_with_the_options_that_follow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BEAMPIPE_ENGINE", "/opt/engine")
    output = run("unit", "--user", "--memory", "4G", "--", "-m", "exatrkx", "--host", "0.0.0.0")
    assert f"ExecStart={sys.executable} -m beampipe serve -m exatrkx --host 0.0.0.0\n" in output
    assert f"WorkingDirectory={tmp_path}\n" in output
    assert "Environment=BEAMPIPE_ENGINE=/opt/engine\n" in output
    assert "MemoryMax=4G\n" in output
    refused = CliRunner().invoke(app, ["unit", "--", "--moodels", "exatrkx"])
    assert refused.exit_code == 2
    assert "--moodels" in refused.output


def test_a_generated_repository_is_for_this_user_alone() -> None:
    with generated_repository(ServingSettings(("module_map",), name="ActsExaTrkX", scale="acts")) as (
        repository,
        models,
    ):
        assert models == ("ActsExaTrkX",)
        assert (repository / "ActsExaTrkX" / "config.pbtxt").is_file()
        assert stat.S_IMODE(repository.parent.stat().st_mode) == 0o700
    assert not repository.parent.exists()


HITS = [event.hits for event in shipped_events(0)][-1]


def test_it_serves_for_as_long_as_the_block_runs(engine: Engine) -> None:
    server = serve("module_map", "exatrkx")
    with server as running:
        assert running is server
        assert running.start() is server  # it runs already
        assert server.models == ("module_map", "exatrkx")
        finder = server.finder(parameters=True)
        tracks = finder.find(HITS)
        np.testing.assert_array_equal(tracks.track_id, DirectTrackFinder("module_map").find(HITS).track_id)
        assert tracks.n_tracks > 0
        assert tracks.parameters is not None
        assert server.finder("exatrkx", stages=True).find(HITS).seconds
        with TritonTrackFinder(server.http_url, "exatrkx") as other:
            assert other.find(HITS).n_tracks > 0
        assert f"gRPC: {server.url}" in repr(server)
        assert server.metrics_url in server._repr_html_()
        assert max(len(repr(server)), len(repr(finder))) <= 200
        with pytest.raises(UnknownNameError, match="did you mean 'module_map'"):
            server.finder("module_maps")
    server.stop()
    assert repr(server) == "TrackingServer(models: module_map, exatrkx, state: not running)"
    with pytest.raises(ServiceUnavailableError, match="with serve"):
        server.finder()


def test_names_are_checked_at_the_start() -> None:
    with pytest.raises(UnknownNameError, match="unknown model: got 'exatrx'"):
        serve("exatrx").start()


def test_finders_are_said_in_a_line() -> None:
    direct = DirectTrackFinder("module_map", parameters=True)
    request = TritonTrackFinder(
        [f"grpc://host{n}.example:8001" for n in range(50)], transport=FakeTransport(lambda arrays: arrays)
    )
    with FallbackTrackFinder(request, direct) as both:
        for finder in (direct, request, both):
            assert len(repr(finder)) <= 300
            assert len(finder._repr_html_()) <= 2000
        assert repr(direct).startswith("DirectTrackFinder(runs: Pipeline(name: module_map, steps: ")
        assert repr(request).startswith("TritonTrackFinder(model: module_map, servers: grpc://host0.example:8001, ")
        assert "answered: 0, 0" in repr(both)
