"""One file over HTTP: cuts, wrong lengths, changes, refusals."""

from __future__ import annotations

import hashlib
import resource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beampipe.analysisops.opendata import OpenFile, download
from beampipe.errors import BeampipeError, FileError, ServiceError, ServiceUnavailableError

from .conftest import FileServer, Page, root_file


def get(url: str, folder: Path, recorded: str = "") -> str:
    return download(OpenFile(url), folder, recorded)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_whole(server: FileServer, tmp_path: Path) -> None:
    content = root_file()
    sha256 = get(server.put("a.root", Page(content)), tmp_path)
    assert (tmp_path / "a.root").read_bytes() == content
    assert sha256 == hashlib.sha256(content).hexdigest()
    assert left(tmp_path) == ["a.root"]


def test_a_file_that_changes_meanwhile_is_not_mixed(server: FileServer, tmp_path: Path) -> None:
    new = root_file(9000, b"zyxwvu")

    def change(page: Page) -> None:
        page.content = new

    get(server.put("a.root", Page(root_file(5000), cuts=[4000], after=change)), tmp_path)
    assert (tmp_path / "a.root").read_bytes() == new


@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_that_ends_early_is_noticed_by_what_it_says_itself(
    server: FileServer, tmp_path: Path, chunked: bool
) -> None:
    with pytest.raises(FileError, match="4000 bytes of a file that says it has 5000"):
        get(server.put("a.root", Page(root_file(5000)[:4000], chunked=chunked)), tmp_path)
    assert left(tmp_path) == []


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><p>log in", b"PK\x03\x04 a zip file"])
def test_what_is_no_root_file_is_refused(server: FileServer, tmp_path: Path, content: bytes) -> None:
    with pytest.raises(FileError, match=r"got 1000[0-9]{2} bytes that are no ROOT file.*in a browser"):
        get(server.put("a.root", Page(content + bytes(100_000))), tmp_path)
    assert left(tmp_path) == []
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_not_asked_again(server: FileServer, tmp_path: Path, status: int) -> None:
    url = server.put("a.root", Page(root_file(), statuses=[status]))
    with pytest.raises(ServiceError, match=f"status {status}") as caught:
        get(url, tmp_path)
    assert caught.value.url == url
    assert len(server.asked) == 1


def test_a_server_that_is_busy_is_asked_again(server: FileServer, tmp_path: Path) -> None:
    get(server.put("a.root", Page(root_file(), statuses=[503, 429])), tmp_path)
    assert len(server.asked) == 3
    server.pages["b.root"] = Page(root_file(), statuses=[500] * 5)
    with pytest.raises(ServiceUnavailableError, match="status 500 in 5 attempts"):
        get(server.url("b.root"), tmp_path)


def test_a_disk_that_is_full_meanwhile(server: FileServer, tmp_path: Path) -> None:
    url = server.put("a.root", Page(root_file(50_000)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # a file of more bytes cannot be written
    try:
        with pytest.raises(FileError, match="cannot be written"):
            get(url, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert left(tmp_path) == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(24, 3000),
    cuts=st.lists(st.integers(0, 3000), max_size=5),
    chunked=st.booleans(),
)
def test_whatever_is_cut_a_file_is_whole_or_not_there(
    server: FileServer, tmp_path: Path, size: int, cuts: list[int], chunked: bool
) -> None:
    content = root_file(size)
    (tmp_path / "a.root").unlink(missing_ok=True)
    url = server.put("a.root", Page(content, cuts=cuts, chunked=chunked))
    try:
        get(url, tmp_path)
    except BeampipeError:
        assert not (tmp_path / "a.root").exists()
    else:
        assert (tmp_path / "a.root").read_bytes() == content


@pytest.mark.parametrize(
    "url", ["root://eospublic.cern.ch//a.root", "https:///a.root", "https://a/..", "https://a/", "https://a/.hidden",
            "https://a/manifest.json", "https://a/b%2F..%2F..%2Fetc%2Fpasswd%20", "file:///etc/passwd"]
)  # fmt: skip
def test_addresses_that_lead_elsewhere(url: str) -> None:
    with pytest.raises(BeampipeError, match="open data: got"):
        OpenFile(url)


def test_a_length_that_is_too_long_is_no_file(server: FileServer, tmp_path: Path) -> None:
    url = server.put("a.root", Page(root_file(5000), claimed=6000))
    with pytest.raises(ServiceUnavailableError, match="expected the file"):
        get(url, tmp_path)
    assert not (tmp_path / "a.root").exists()


def test_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("beampipe.analysisops.opendata._PAUSE", 0.0)
    with pytest.raises(ServiceUnavailableError, match="ConnectError"):
        get("http://127.0.0.1:9/a.root", tmp_path)
