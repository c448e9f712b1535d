"""One file over HTTP: cuts, lies, changes, refusals."""

from __future__ import annotations

import hashlib
import resource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beampipe.analysisops.opendata import OpenFile, TransferLimits, download
from beampipe.errors import BeampipeError, FileError, ServiceError, ServiceUnavailableError

from .conftest import FileServer, Page, root_file

QUICK = TransferLimits(attempts=3, pause=0.0, timeout=5.0)


def get(url: str, folder: Path, limits: TransferLimits = QUICK, recorded: str = "") -> str:
    return download(OpenFile(url), folder, recorded, limits)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_whole(server: FileServer, tmp_path: Path) -> None:
    content = root_file()
    sha256 = get(server.put("a.root", Page(content)), tmp_path)
    assert (tmp_path / "a.root").read_bytes() == content
    assert sha256 == hashlib.sha256(content).hexdigest()
    assert left(tmp_path) == ["a.root"]


def test_what_was_recorded_is_compared(server: FileServer, tmp_path: Path) -> None:
    content = root_file()
    right = hashlib.sha256(content).hexdigest()
    url = server.put("a.root", Page(content))
    get(url, tmp_path, recorded=right)
    with pytest.raises(FileError, match=f"sha256 {right} instead of {'0' * 64}"):
        get(url, tmp_path, recorded="0" * 64)
    assert (tmp_path / "a.root").read_bytes() == content
    assert left(tmp_path) == ["a.root"]


def test_after_cuts_only_the_rest_is_asked_for(server: FileServer, tmp_path: Path) -> None:
    content = root_file(5000)
    get(server.put("a.root", Page(content, cuts=[1000, 500, 700])), tmp_path)
    assert (tmp_path / "a.root").read_bytes() == content
    assert server.ranges("a.root") == ["", "bytes=1000-", "bytes=1500-", "bytes=2200-"]


@pytest.mark.parametrize("tag", ["", 'W/"weak"'])
def test_without_a_tag_that_can_be_trusted_it_begins_again(server: FileServer, tmp_path: Path, tag: str) -> None:
    content = root_file()
    get(server.put("a.root", Page(content, tag=tag, cuts=[3000])), tmp_path)
    assert (tmp_path / "a.root").read_bytes() == content
    assert server.ranges("a.root") == ["", ""]


def test_a_server_without_ranges_gives_all_of_it_again(server: FileServer, tmp_path: Path) -> None:
    content = root_file()
    get(server.put("a.root", Page(content, ranges=False, cuts=[3000])), tmp_path)
    assert (tmp_path / "a.root").read_bytes() == content


@pytest.mark.parametrize("size", [2000, 4000, 9000])
def test_a_file_that_changes_meanwhile_is_not_mixed(server: FileServer, tmp_path: Path, size: int) -> None:
    new = root_file(size, b"zyxwvu")

    def change(page: Page) -> None:
        page.content, page.tag = new, '"two"'

    get(server.put("a.root", Page(root_file(5000), cuts=[4000], after=change)), tmp_path)
    assert (tmp_path / "a.root").read_bytes() == new


def test_a_part_of_another_file_is_not_taken(server: FileServer, tmp_path: Path) -> None:
    new = root_file(5000, b"zyxwvu")

    def change(page: Page) -> None:
        page.content, page.headers = new, {"ETag": '"two"'}  # beside the old tag, which the condition is about
        page.tag = '"one"' if len(server.asked) == 1 else ""

    get(server.put("a.root", Page(root_file(5000), cuts=[4000], after=change)), tmp_path)
    assert (tmp_path / "a.root").read_bytes() == new


def test_a_server_that_ignores_the_condition_is_caught_by_the_size(server: FileServer, tmp_path: Path) -> None:
    new = root_file(6000, b"zyxwvu")

    def change(page: Page) -> None:
        page.content = new  # the tag stays the same

    get(server.put("a.root", Page(root_file(5000), cuts=[4000], after=change)), tmp_path)
    assert (tmp_path / "a.root").read_bytes() == new


def test_a_length_that_is_too_long_is_no_file(server: FileServer, tmp_path: Path) -> None:
    url = server.put("a.root", Page(root_file(5000), claimed=6000, ranges=False))
    with pytest.raises(ServiceUnavailableError, match="expected the file"):
        get(url, tmp_path)
    assert not (tmp_path / "a.root").exists()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_that_ends_early_is_noticed_by_what_it_says_itself(
    server: FileServer, tmp_path: Path, chunked: bool
) -> None:
    with pytest.raises(FileError, match="4000 bytes of a file that says it has 5000"):
        get(server.put("a.root", Page(root_file(5000)[:4000], chunked=chunked)), tmp_path)
    assert left(tmp_path) == []


def test_a_file_without_a_length_comes(server: FileServer, tmp_path: Path) -> None:
    get(server.put("a.root", Page(root_file(), chunked=True)), tmp_path)
    assert (tmp_path / "a.root").read_bytes() == root_file()


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><p>log in", b"\n <html>", b"PK\x03\x04 a zip file"])
def test_what_is_no_root_file_is_refused_at_its_first_bytes(server: FileServer, tmp_path: Path, content: bytes) -> None:
    with pytest.raises(FileError, match=r"got (an HTML page|something that begins with b'PK)"):
        get(server.put("a.root", Page(content + bytes(100_000))), tmp_path)
    assert not (tmp_path / "a.root").exists()
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_not_asked_again(server: FileServer, tmp_path: Path, status: int) -> None:
    url = server.put("a.root", Page(root_file(), statuses=[status]))
    with pytest.raises(ServiceError, match=f"status {status}") as caught:
        get(url, tmp_path)
    assert caught.value.url == url
    assert len(server.asked) == 1


def test_a_server_that_is_busy_is_asked_again(server: FileServer, tmp_path: Path) -> None:
    url = server.put("a.root", Page(root_file(), statuses=[503, 429], headers={"Retry-After": "0"}))
    get(url, tmp_path, TransferLimits(attempts=3, pause=100.0))
    assert len(server.asked) == 3
    server.pages["b.root"] = Page(root_file(), statuses=[500] * 3)
    with pytest.raises(ServiceUnavailableError, match="status 500"):
        get(server.url("b.root"), tmp_path)


def test_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(ServiceUnavailableError, match="ConnectError"):
        get("http://127.0.0.1:9/a.root", tmp_path)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_that_is_too_large(server: FileServer, tmp_path: Path, chunked: bool) -> None:
    url = server.put("a.root", Page(root_file(5000), chunked=chunked))
    with pytest.raises(FileError, match="got more than 4000 bytes"):
        get(url, tmp_path, TransferLimits(largest=4000))
    assert left(tmp_path) == []


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
    ranges=st.booleans(),
    chunked=st.booleans(),
    tag=st.sampled_from(['"one"', "", 'W/"one"']),
)
def test_whatever_is_cut_a_file_is_whole_or_not_there(
    server: FileServer, tmp_path: Path, size: int, cuts: list[int], ranges: bool, chunked: bool, tag: str
) -> None:
    content = root_file(size)
    (tmp_path / "a.root").unlink(missing_ok=True)
    url = server.put("a.root", Page(content, tag=tag, ranges=ranges, cuts=cuts, chunked=chunked))
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
