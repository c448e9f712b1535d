"""What looks wrong in files of others is one error that says what to set; files elsewhere are read like those here."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import fsspec.config
import pytest
from typer.testing import CliRunner

from beampipe.calibration.cli import app
from beampipe.calibration.config import load_configuration
from beampipe.calibration.ntuple.file_checks import inspect_file
from beampipe.errors import ConfigError, FileError, UnknownNameError
from tests.calibration.campaign import Toys
from tests.calibration.layout.servers import serving
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


def test_inspect_writes_a_configuration_of_simulation_and_data(
    toys: Toys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toys.folder)
    given = {name: toys.files(name)[:2] for name in ("data", "nominal")}
    names = [str(path.relative_to(toys.folder)) for paths in given.values() for path in paths]
    result = CliRunner().invoke(app, ["inspect", *names, "-o", str(tmp_path / "dijets.toml")])
    assert result.exit_code == 0, result.output
    samples = load_configuration(tmp_path / "dijets.toml").samples
    assert {name: sample.kind for name, sample in samples.items()} == {"nominal": "simulation", "data": "data"}
    assert {name: tuple(path.resolve() for path in samples[name].files) for name in given} == given


def test_a_file_elsewhere_is_read_like_one_here(toys: Toys) -> None:
    path = toys.files("nominal")[0]
    with serving(toys.folder) as url:
        assert inspect_file(Path(f"{url}/nominal/{path.name}")) == inspect_file(path)
        with pytest.raises(FileError, match="is not there; expected a ROOT file"):
            inspect_file(Path(f"{url}/nominal/none.root"))


def test_a_bucket_is_read_like_a_folder(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs", reason="pip install s3fs")
    path = toys.files("nominal")[0]
    with serving(toys.folder) as url:
        monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": url, "anon": True, "skip_instance_cache": True})
        assert inspect_file(Path(f"s3://nominal/{path.name}")) == inspect_file(path)
        with pytest.raises(FileError, match=r"s3://nominal/none\.root: is not there"):
            inspect_file(Path("s3://nominal/none.root"))


def test_a_server_that_breaks_off_is_no_damaged_file(toys: Toys) -> None:
    path = toys.files("nominal")[0]
    with serving(toys.folder, broken_after=3) as url, pytest.raises(FileError, match=r"cannot be reached .* try again"):
        inspect_file(Path(f"{url}/nominal/{path.name}"))


@pytest.mark.parametrize(("url", "package"), [("root://host//a.root", "fsspec-xrootd"), ("s3://host/a.root", "s3fs")])
def test_a_protocol_without_its_package_names_it(url: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("s3fs", "fsspec_xrootd"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(FileError, match=f"pip install {package}"):
        inspect_file(Path(url))
