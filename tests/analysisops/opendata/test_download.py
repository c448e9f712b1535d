"""A folder of data that is brought: manifest, what is there already, several at once."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from beampipe.analysisops.opendata import OpenFile, download_files
from beampipe.analysisops.tools.data_folder import DataFolder
from beampipe.errors import FileError, InputError, ServiceError, ServiceUnavailableError
from tests.analysisops.opendata.conftest import FileServer, Page, root_file


def manifest(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "manifest.json").read_text()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def bring(wanted: Sequence[OpenFile], folder: Path, *, reuse: bool = True) -> None:
    download_files(wanted, folder, {"skim": "2muons"}, reuse=reuse)


def files(server: FileServer, number: int = 3) -> list[OpenFile]:
    return [OpenFile(server.put(f"f{n}.root", Page(root_file(2000 + n)))) for n in range(number)]


def test_files_and_manifest_are_what_tools_read(server: FileServer, folder: Path) -> None:
    wanted = [*files(server), OpenFile(server.put("mc.root", Page(root_file())), {"role": "mc", "k_factor": 1.5})]
    bring(wanted, folder)
    listed = {file.name: file.to_json() for file in DataFolder(folder).files()}
    assert {name: item["bytes"] for name, item in listed.items()} == {
        "f0.root": 2000,
        "f1.root": 2001,
        "f2.root": 2002,
        "mc.root": 5000,
    }
    assert listed["mc.root"]["k_factor"] == 1.5
    assert listed["f0.root"]["role"] == "data"
    assert DataFolder(folder).public == {"skim": "2muons"}
    recorded = {item["name"]: item["sha256"] for item in manifest(folder)["files"]}
    assert recorded["f1.root"] == hashlib.sha256(root_file(2001)).hexdigest()


def test_what_is_there_is_not_brought_again(server: FileServer, folder: Path) -> None:
    wanted = files(server)
    bring(wanted[:2], folder)
    bring(wanted, folder)
    assert sorted(server.asked) == ["f0.root", "f1.root", "f2.root"]
    bring(wanted[:1], folder, reuse=False)
    assert server.asked.count("f0.root") == 2


@pytest.mark.parametrize("damage", ["gone", "shorter", "other"])
def test_what_was_damaged_here_is_brought_again(server: FileServer, folder: Path, damage: str) -> None:
    wanted = files(server, 1)
    bring(wanted, folder)
    path, content = folder / "f0.root", root_file(2000)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:1500] if damage == "shorter" else content[:-1] + b"!")
    bring(wanted, folder)
    assert path.read_bytes() == content


def test_what_changed_at_its_source_is_an_error(server: FileServer, folder: Path) -> None:
    wanted = files(server, 1)
    bring(wanted, folder)
    before = manifest(folder)
    server.put("f0.root", Page(root_file(2000, b"other")))
    (folder / "f0.root").unlink()
    with pytest.raises(FileError, match="which it had when it was first downloaded"):
        bring(wanted, folder)
    assert manifest(folder) == before
    assert not (folder / "f0.root").exists()


def test_one_name_is_one_file(server: FileServer, folder: Path) -> None:
    url = server.put("f0.root", Page(root_file()))
    with pytest.raises(InputError, match=r"several files named f0\.root"):
        bring([OpenFile(url), OpenFile(url)], folder)
    bring([OpenFile(url)], folder)
    with pytest.raises(FileError, match="take another folder"):
        bring([OpenFile(url.replace("/files/", "/others/"))], folder)


def test_an_error_names_its_file_and_the_others_stay(server: FileServer, folder: Path) -> None:
    wanted = files(server)
    del server.pages["f2.root"]
    with pytest.raises(ServiceError, match=r"f2\.root.*404"):
        bring(wanted, folder)
    assert [file.name for file in DataFolder(folder).files()] == ["f0.root", "f1.root"]


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot make the folder"):
        bring([], tmp_path / "file" / "data")
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(FileError, match="expected JSON with a list"):
        bring([], tmp_path)


def _bring_one(url: str, folder: Path) -> None:
    bring([OpenFile(url)], folder)


def test_processes_share_a_folder(server: FileServer, folder: Path) -> None:
    url = server.put("f0.root", Page(root_file(200_000)))
    processes = [multiprocessing.get_context("fork").Process(target=_bring_one, args=(url, folder)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (folder / "f0.root").read_bytes() == root_file(200_000)
    assert len(server.asked) == 1


@pytest.mark.parametrize("number", [1, 4])
def test_wherever_it_is_cut_a_manifest_lists_only_whole_files(server: FileServer, folder: Path, number: int) -> None:
    wanted = files(server, 5)
    for place, file in enumerate(wanted):
        if place >= number:
            server.pages[file.name].statuses = [500] * 5
    try:
        bring(wanted, folder)
    except ServiceUnavailableError:
        assert number < 5
    for here in DataFolder(folder).files():
        assert here.path.read_bytes() == server.pages[here.name].content
    for page in server.pages.values():
        page.statuses = []
    bring(wanted, folder)
    assert len(DataFolder(folder).files()) == 5
