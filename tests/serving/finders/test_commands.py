"""What users run: `beampipe track --url`, the examples, NVIDIA's own client."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from beampipe.errors import ConfigError, FileError, UnknownNameError
from beampipe.serving.finders import DirectTrackFinder, FallbackTrackFinder, TritonTrackFinder
from beampipe.serving.track_command import track as track_command
from beampipe.terminal.commands import Commands
from beampipe.tracking import cli as tracking
from beampipe.tracking.data import shipped_events, shipped_path
from beampipe.tracking.finder import TrackFinder
from beampipe.triton.server.server import TritonServer
from tests import in_process

ROOT = Path(__file__).parents[3]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What the command writes without a server."""
    output = tmp_path_factory.mktemp("local") / "tracks.parquet"
    assert in_process.run("track", shipped_path(0), "-o", output).returncode == 0
    return output.read_bytes()


def test_track_writes_the_same_file_via_servers(tracking_server: TritonServer, tmp_path: Path, local: bytes) -> None:
    output, token = tmp_path / "tracks.parquet", tmp_path / "token"
    token.write_text("anything\n")
    urls = ["--url", f"grpc://{tracking_server.grpc_url}", "--url", f"http://{tracking_server.http_url}"]
    done = in_process.run("track", shipped_path(0), "-o", output, *urls, "--token-file", token)
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == local


def test_the_fit_of_a_server_is_the_one_written_here(tracking_server: TritonServer, tmp_path: Path) -> None:
    written = []
    for name, options in {"here": [], "there": ["--url", f"grpc://{tracking_server.grpc_url}"]}.items():
        done = in_process.run(
            "track", shipped_path(0), "-o", tmp_path / f"{name}.parquet", "--parameters", "-p", "module_map", *options
        )
        assert done.returncode == 0, done.stderr
        assert "fitted)" in done.stdout
        written.append((tmp_path / f"{name}.parameters.parquet").read_bytes())
    assert len(written[0]) > 1000
    assert written[0] == written[1]


def test_track_goes_on_here_if_no_server_answers(tmp_path: Path, local: bytes) -> None:
    output = tmp_path / "tracks.parquet"
    via = ["--url", "http://127.0.0.1:1"]
    done = in_process.run("track", shipped_path(0), "-o", output, *via, "--timeout", "0.5")
    assert done.returncode == 2
    assert done.stderr.count("is a server running there?") == 2, "when it begins to wait, and when it gives up"
    assert "Retrying for up to 0.5 s" in done.stderr
    assert not output.exists()
    done = in_process.run("track", shipped_path(0), "-o", output, *via, "--fallback")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("going on here") == 1
    assert output.read_bytes() == local


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[TrackFinder]]:
    """The finders that `beampipe track` opens, in place of finding tracks."""
    finders: list[TrackFinder] = []

    def collect(
        files: object, output: object, finder: Callable[[], TrackFinder], *rest: object, **more: object
    ) -> None:
        finders.append(finder())

    monkeypatch.setattr(tracking, "track", collect)
    yield finders
    for finder in finders:
        finder.close()


def open_finder(*options: str | Path) -> None:
    command = Commands("")
    command.command()(track_command)
    CliRunner().invoke(command, ["events.csv", "-o", "tracks.csv", *map(str, options)], catch_exceptions=False)


def test_the_options_choose_the_finder(opened: list[TrackFinder]) -> None:
    open_finder()
    open_finder("--url", "a:1")
    open_finder("--url", "a:1", "-m", "exatrkx_ragged", "--fallback")
    assert [type(finder) for finder in opened] == [DirectTrackFinder, TritonTrackFinder, FallbackTrackFinder]


def test_options_that_do_not_fit_are_refused(opened: list[TrackFinder], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="without --url"):
        open_finder("--fallback")
    with pytest.raises(UnknownNameError, match="give --pipeline"):
        open_finder("--url", "a:1", "-m", "tagger", "--fallback")
    with pytest.raises(UnknownNameError, match="unknown pipeline"):
        open_finder("--url", "a:1", "-m", "tagger", "-p", "exatrk", "--fallback")
    with pytest.raises(ConfigError, match="servers have tracker models of their own"):
        open_finder("--url", "a:1", "--tracker-model", "generic")
    with pytest.raises(ConfigError, match="serve --beam-spot"):
        open_finder("--url", "a:1", "--force")
    with pytest.raises(FileError, match="expected a file with a token"):
        open_finder("--url", "a:1", "--token-file", tmp_path / "gone")
    (tmp_path / "token").write_text("two words")
    with pytest.raises(FileError, match="got 2 words"):
        open_finder("--url", "a:1", "--token-file", tmp_path / "token")
    assert opened == []


def test_the_example_asks_the_server(tracking_server: TritonServer) -> None:
    done = run(sys.executable, ROOT / "examples/ask_a_server.py", f"grpc://{tracking_server.grpc_url}")
    assert "20 answered by a server, 0 here" in done.stdout, done.stderr


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_the_client_in_cpp_gets_the_same_labels(tracking_server: TritonServer, tmp_path: Path) -> None:
    program, event = tmp_path / "find_tracks", tmp_path / "event.csv"
    compiler = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror"]
    built = run(*compiler, ROOT / "examples/cpp/find_tracks.cpp", "-o", program)
    assert built.returncode == 0, built.stderr
    hits = shipped_events(0)[0].hits
    np.savetxt(event, hits.position, fmt="%.9g", delimiter=",")
    host, port = tracking_server.http_url.split(":")
    done = run(program, host, port, "exatrkx", event)
    with DirectTrackFinder("exatrkx", threads=1) as finder:
        tracks = finder.find(hits)
    first, *labels = done.stdout.splitlines()
    assert first == f"{len(hits)} hits, {tracks.n_tracks} tracks"
    assert [int(label) for label in labels] == tracks.track_id.tolist()
    wrong = run(program, host, port, "exatrk", event)
    assert wrong.returncode == 1
    assert "'exatrk' is not found" in wrong.stderr
    event.write_text("")
    assert run(program, host, port, "exatrkx", event).stdout == "0 hits, 0 tracks\n"
    event.write_text("1,2\n")
    assert "expected r,phi,z" in run(program, host, port, "exatrkx", event).stderr


def test_the_stock_client_works_unchanged(tracking_server: TritonServer) -> None:
    import tritonclient.grpc as triton

    hits = shipped_events(0)[0].hits
    with triton.InferenceServerClient(tracking_server.grpc_url) as client:
        features = triton.InferInput("FEATURES", list(hits.position.shape), "FP32")
        features.set_data_from_numpy(hits.position)
        labels = client.infer("exatrkx", [features], client_timeout=30.0).as_numpy("LABELS")
    with DirectTrackFinder("exatrkx", threads=1) as finder:
        np.testing.assert_array_equal(labels, finder.find(hits).track_id)
