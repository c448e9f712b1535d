"""Foreign files on the command line: one line that says what is wrong, and a line that says what was used."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32
from beampipe.tracking.data import shipped_path
from tests.in_process import run

from .table import columns, noise, usual


def written(path: Path, hits: Float32[ndarray, "n 3"]) -> Path:
    np.savetxt(path, hits, fmt="%.9g", delimiter=",")
    return path


def test_the_share_of_hits_on_tracks_is_printed(tmp_path: Path) -> None:
    done = run("track", shipped_path(60), "-o", tmp_path / "tracks.parquet")
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 events, 103640 hits (13." in done.stdout
    assert re.search(r"% on tracks\), 12\d\d tracks -> ", done.stdout)


def test_another_scale_is_one_error_and_no_file(tmp_path: Path) -> None:
    event = written(tmp_path / "e.csv", columns(usual()[:, 0] / 3000, usual()[:, 1] / np.pi, usual()[:, 2] / 400))
    done = run("track", event, "-o", tmp_path / "tracks.csv")
    assert done.returncode == 2
    assert "all radii are below 1: is this --scale exatrkx?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "tracks.csv").exists()
    done = run("track", event, "-o", tmp_path / "tracks.csv", "--scale", "exatrkx")
    assert (done.returncode, done.stderr) == (0, "")


def test_force_goes_on_and_says_what_was_used(tmp_path: Path) -> None:
    event = written(tmp_path / "e.csv", usual() * np.float32(1.1))
    done = run("track", event, "-o", tmp_path / "tracks.csv", "--force")
    assert (done.returncode, done.stderr) == (0, "")
    assert "of them on no layer" in done.stdout
    assert (tmp_path / "tracks.csv").exists()


def test_a_warning_is_one_line_and_code_0(tmp_path: Path) -> None:
    events = [written(tmp_path / f"{name}.csv", noise(usual(), 2000)) for name in "ab"]
    done = run("track", *events, "-o", tmp_path / "out")
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("beampipe: warning: 0 of 2000 hits (0.0%) are on tracks")
    assert done.stdout.count("2000 hits (0.0% on tracks)") == 2


def test_servers_are_not_forced(tmp_path: Path) -> None:
    done = run("track", shipped_path(0), "-o", tmp_path / "tracks.parquet", "--url", "http://127.0.0.1:1", "--force")
    assert done.returncode == 2
    assert "beampipe serve --force" in done.stderr
