"""The files that catalogues list, and the data of a task on open data."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from beampipe.analysisops.ledger import Ledger
from beampipe.analysisops.opendata import OpenFile, Selection, atlas_catalogue, prepare_open_data
from beampipe.analysisops.tasks.load import Task, load_task
from beampipe.analysisops.tools.session import LocalTools, Session
from beampipe.errors import InputError, MissingExtraError, ServiceUnavailableError
from tests.analysisops.opendata.conftest import FileServer, Page
from tests.analysisops.tasks.folders import PUBLIC, written
from tests.analysisops.tools.conftest import write_events


class Listed:
    """A catalogue with files on a server, and what it was asked."""

    def __init__(self, files: Mapping[str, Sequence[OpenFile]]) -> None:
        self.files = files
        self.asked: list[Selection] = []

    def __call__(self, selection: Selection) -> Sequence[OpenFile]:
        self.asked.append(selection)
        return self.files.get(selection.dataset, ())


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return load_task(written(tmp_path / "task", PUBLIC))


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("made") / "a.root"
    write_events(path, 1, 500)
    return path.read_bytes()


@pytest.fixture
def catalogue(server: FileServer, content: bytes) -> Listed:
    def files(name: str, facts: Mapping[str, Any]) -> list[OpenFile]:
        names = [f"{name}_{number}.root" for number in range(4)]
        return [OpenFile(server.put(name, Page(content, cuts=[5000])), facts) for name in names]

    return Listed({"data": files("data", {"role": "data"}), "345": files("mc", {"role": "mc", "sum_of_weights": 7.0})})


def test_the_host_brings_as_many_files_as_the_task_allows(task: Task, catalogue: Listed, tmp_path: Path) -> None:
    folder = prepare_open_data(task, tmp_path / "data", catalogue=catalogue)
    assert catalogue.asked == [Selection("2025e-13tev-beta", "data", "2muons", "https")]
    tools = LocalTools(Session(folder, Ledger(tmp_path / "ledger", b"key")))
    listed = tools.call("list_local_root_files_tool")
    assert [file["name"] for file in listed["files"]] == ["data_0.root", "data_1.root"]
    assert listed["public"]["skim"] == "2muons"
    loaded = tools.call("load_kinematics_tool", file_path="data_0.root", tree_name="mini", branches={"pt": "lep_pt"})
    assert loaded["n_events"] == 500


def test_a_selection_without_files(task: Task, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got no files for release '2025e-13tev-beta'"):
        prepare_open_data(task, tmp_path / "data", catalogue=Listed({}))


class Stranger(types.ModuleType):
    """Stands for `atlasopenmagic`: the few calls that are made of it, as its version 1.10 has them."""

    def __init__(self, fault: Exception | None = None) -> None:
        super().__init__("atlasopenmagic")
        self.fault = fault
        self.metadata = types.SimpleNamespace(API_BASE_URL="https://catalogue")

    def set_verbosity(self, level: str) -> None:
        assert level == "error"

    def set_release(self, release: str) -> None:
        self.release = release

    def get_urls(self, key: str, skim: str, protocol: str, cache: bool | None) -> list[str]:
        if self.fault:
            raise self.fault
        before = "" if cache is False else "simplecache::"
        return [f"{before}{protocol}://opendata.cern.ch/eos/{self.release}/{key}.{skim}.root"]

    def get_metadata(self, key: str) -> dict[str, Any]:
        return {"cross_section_pb": 2.0, "genFiltEff": None, "sumOfWeights": 10.0, "description": "long"}


def test_the_catalogue_of_atlas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "atlasopenmagic", Stranger())
    (data,) = atlas_catalogue(Selection("2025e-13tev-beta", "data", "2muons"))
    assert data.url == "https://opendata.cern.ch/eos/2025e-13tev-beta/data.2muons.root"
    assert data.facts == {"role": "data", "dataset": "data"}
    (simulated,) = atlas_catalogue(Selection("2025e-13tev-beta", "345"))
    assert simulated.name == "345.noskim.root"
    assert simulated.facts == {"role": "mc", "dataset": "345", "cross_section_pb": 2.0, "sum_of_weights": 10.0}
    with pytest.raises(InputError, match="expected https"):
        atlas_catalogue(Selection("2025e-13tev-beta", protocol="root"))


def test_faults_of_the_catalogue(monkeypatch: pytest.MonkeyPatch, hide: Callable[[str], None]) -> None:
    monkeypatch.setitem(sys.modules, "atlasopenmagic", Stranger(ValueError("Skim 'x' not found.\n  Available: a")))
    with pytest.raises(InputError, match=r"Skim 'x' not found\. Available: a"):
        atlas_catalogue(Selection("2025e-13tev-beta"))
    monkeypatch.setitem(sys.modules, "atlasopenmagic", Stranger(ConnectionError("no route")))
    with pytest.raises(ServiceUnavailableError, match="no route"):
        atlas_catalogue(Selection("2025e-13tev-beta"))
    hide("atlasopenmagic")
    with pytest.raises(MissingExtraError, match=r"beampipe\[analysisops\]"):
        atlas_catalogue(Selection("2025e-13tev-beta"))


def test_the_real_package_against_a_server_of_its_kind(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("atlasopenmagic")
    listed = ["root://eospublic.cern.ch:1094//eos/opendata/atlas/a.root"]
    datasets = [
        {"dataset_number": "data", "physics_short": None, "file_list": [], "skims": [
            {"skim_type": "2muons", "file_list": listed}]},
        {"dataset_number": "345", "physics_short": "Zmumu", "file_list": listed, "skims": [], "sumOfWeights": 3.5},
    ]  # fmt: skip
    server.put("datasets", Page(json.dumps(datasets).encode()))
    server.put("count", Page(b'{"count": 2}'))
    monkeypatch.setattr(package.metadata, "API_BASE_URL", server.url("")[:-1])
    monkeypatch.setattr(package.metadata, "_metadata", {})
    try:
        (data,) = atlas_catalogue(Selection("2025e-13tev-beta", "data", "2muons"))
        (simulated,) = atlas_catalogue(Selection("2025e-13tev-beta", "345"))
        with pytest.raises(InputError, match="Available skims: 2muons"):
            atlas_catalogue(Selection("2025e-13tev-beta", "data", "GamGam"))
        with pytest.raises(InputError, match="Invalid release"):
            atlas_catalogue(Selection("2099"))
    finally:
        package.metadata.get_session().close()
    assert data.url == "https://opendata.cern.ch/eos/opendata/atlas/a.root"
    assert simulated.facts == {"role": "mc", "dataset": "345", "sum_of_weights": 3.5}
