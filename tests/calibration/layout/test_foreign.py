"""What looks wrong in files of others is one error that says what to set; files elsewhere are read like those here."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from beampipe.calibration.cli import app
from beampipe.calibration.config.configuration import load_configuration
from beampipe.calibration.ntuple.constituents import observables
from beampipe.calibration.ntuple.reading import inspect_file
from beampipe.calibration.simulation.jets import features_reference
from beampipe.errors import ConfigError, FileError, UnknownNameError
from tests.calibration.campaign import Toys
from tests.calibration.rootfiles import small_events, write_odd


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": {"jet_label": -1}}, r"got signed labels: .*set layout\.labels\.signed = true"),
        ({"scale": {"jet_pt": 1000.0}}, r"looks like MeV.*set layout\.energy_unit = 'MeV'"),
        ({"types": {"jet_label": "int32"}, "scale": {"jet_label": 100}}, r"labels that are no parton.* at most 5 %"),
        ({"without": ["jet_width", "jet_c1"]}, r"(?s)'jet_width'.*'jet_c1'"),
    ],
)
def test_what_looks_wrong_is_said_before_events_are_read(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write_odd(tmp_path / "odd.root", small_events(), **change)
    with pytest.raises(FileError, match=message):
        inspect_file(path)


@pytest.mark.parametrize(
    ("lines", "error", "message"),
    [
        ("preset = 'nanoad'", UnknownNameError, "did you mean 'nanoaod'"),
        ("tre = 'x'", ConfigError, "layout: unknown key 'tre'.* did you mean 'tree'"),
        ("[layout.branches]\npts = 'x'", ConfigError, "unknown key 'pts'.* did you mean 'pt'"),
        ("energy_unit = 'keV'", ConfigError, "got energy_unit 'keV', expected GeV, MeV"),
    ],
)
def test_a_line_that_is_none_is_refused(
    toys: Toys, tmp_path: Path, lines: str, error: type[Exception], message: str
) -> None:
    samples = "\n".join(f"[samples.{name}]\nfiles = '{toys.folder}/{name}/*.root'" for name in ("nominal", "data"))
    (tmp_path / "a.toml").write_text(f"{samples}\nkind = 'data'\n[layout]\n{lines}\n")
    with pytest.raises(error, match=message):
        load_configuration(tmp_path / "a.toml")


def test_inspect_shows_a_file_and_writes_a_configuration(toys: Toys, tmp_path: Path) -> None:
    path, to = toys.files("nominal")[0], tmp_path / "dijets.toml"
    result = CliRunner().invoke(app, ["inspect", str(path), "-o", str(to)])
    assert result.exit_code == 0, result.output
    assert "preset beampipe" in result.output
    assert re.search(r"jet_pt +jet_pt +float\[\]", result.output)
    assert 'preset = "beampipe"' in to.read_text()


def test_derived_observables_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 12, 40)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    n = int(offsets[-1])
    pt, eta, phi = rng.exponential(5, n), rng.normal(0, 1, n), rng.uniform(-np.pi, np.pi, n)
    axis, around = rng.normal(0, 1, 40), rng.uniform(-np.pi, np.pi, 40)
    got = observables(offsets, pt, eta, phi, axis, around, 0.2)
    with np.errstate(invalid="ignore"):
        expected = features_reference(offsets, pt, eta, phi, axis, around)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one[counts > 0], other[counts > 0], rtol=1e-9)


@pytest.fixture
def server(toys: Toys) -> Iterator[str]:
    """The folder of the toys over HTTP, with ranges of bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            content = (toys.folder / self.path.lstrip("/")).read_bytes()
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            part = content[int(asked[1]) : int(asked[2] or len(content)) + 1] if asked else content
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(part)))
            self.send_header("Accept-Ranges", "bytes")
            if asked:
                first = int(asked[1])
                self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(content)}")
            self.end_headers()
            if body:
                self.wfile.write(part)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_a_file_elsewhere_is_read_like_one_here(toys: Toys, server: str) -> None:
    path = toys.files("nominal")[0]
    assert inspect_file(Path(f"{server}/nominal/{path.name}")) == inspect_file(path)
