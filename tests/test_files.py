"""Files that appear whole or not at all: killed writers, two writers at once, folders that are not there."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import beampipe.files
from beampipe import processes
from beampipe.errors import FileError
from beampipe.files import built, check_output, replacing, shorten_log, sweep, unfinished, write_whole
from beampipe.tracking.kernels import native

KILLED = """
import sys, time
from pathlib import Path
from beampipe.files import replacing, unfinished

path = Path(sys.argv[1])
with replacing(path) as part, unfinished(path.parent, ".npz") as other:
    part.write_bytes(b"half")
    other.write_bytes(b"half")
    print("half", flush=True)
    time.sleep(600)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of writing ``kept.json``, which was there before."""
    (tmp_path / "kept.json").write_bytes(b"whole")
    command = [sys.executable, "-c", KILLED, str(tmp_path / "kept.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        yield process
        process.kill()


def test_a_file_takes_the_place_of_the_old_one_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(str(path)) as part:
        part.write_text("new")
        assert (part.parent, part.suffix, part.name[0]) == (tmp_path, ".part", ".")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_a_block_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as part:  # noqa: PT012 - it must fail in the middle
        part.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_killed_writer_leaves_the_old_file_and_parts_that_are_swept(
    tmp_path: Path, writer: subprocess.Popen[str]
) -> None:
    assert len(names(tmp_path)) == 3
    assert sweep(tmp_path) == 0, "the writer lives"
    writer.kill()
    writer.wait()
    assert (tmp_path / "kept.json").read_bytes() == b"whole"
    assert len(names(tmp_path)) == 3
    assert sweep(tmp_path.parent) == 0, "only the folder itself"
    assert sweep(tmp_path.parent, deep=True) == 2
    assert names(tmp_path) == ["kept.json"]


def test_two_writers_at_once_never_mix(tmp_path: Path) -> None:
    path, together, texts = tmp_path / "a.txt", threading.Barrier(2), ("1" * 9999, "2" * 9999)

    def write(text: str) -> None:
        for _ in range(50):
            with replacing(path) as part:
                together.wait()
                part.write_text(text)
                together.wait()
            assert path.read_text() in texts

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts
    assert names(tmp_path) == ["a.txt"]


def test_a_part_whose_writers_id_is_used_again_is_swept(tmp_path: Path) -> None:
    own = processes.start_time(os.getpid())
    assert own is not None
    for started in (own, own - 1):
        (tmp_path / f".a.{processes.pid_scope()}-{os.getpid()}-{started}-0.part").touch()
    assert sweep(tmp_path) == 1
    assert names(tmp_path) == [f".a.{processes.pid_scope()}-{os.getpid()}-{own}-0.part"]


def test_a_part_of_another_machine_is_swept_after_a_week(tmp_path: Path) -> None:
    part = tmp_path / "00000000.1-12-34-0.bin"
    part.touch()
    assert sweep(tmp_path) == 0
    os.utime(part, (0, 0))
    assert sweep(tmp_path) == 1


@pytest.mark.parametrize("name", ["a.part", "x.00000000.1-2-3-4.part", "1.2-3-4-5.txt", "00000000.1-2-3.bin"])
def test_what_is_no_part_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    os.utime(tmp_path / name, (0, 0))
    assert sweep(tmp_path, deep=True) == 0
    assert names(tmp_path) == [name]
    assert sweep(tmp_path / "none") == 0


def test_a_folder_is_made_only_if_that_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "a/b/c.txt"
    with pytest.raises(FileError, match=r"a/b/c\.txt: no folder .*a/b; make it first"), replacing(path):
        raise AssertionError("nothing is to be written")
    assert write_whole(path, lambda part: part.write_text("x")) == path
    assert path.read_text() == "x"
    with pytest.raises(FileError, match=r"cannot make the folder .*c\.txt"):
        write_whole(path / "d.txt", lambda part: part.write_text("x"))


def test_a_folder_that_may_not_be_written_to_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse: Callable[[object, int], bool] = lambda path, mode: False  # noqa: E731
    monkeypatch.setattr("os.access", refuse)  # root may write everywhere
    with pytest.raises(FileError, match=r"may not write in .*; choose another place"), replacing(tmp_path / "a"):
        raise AssertionError("nothing is to be written")


def test_a_long_name_has_a_part(tmp_path: Path) -> None:
    path = tmp_path / ("µ" * 120)  # 240 bytes
    write_whole(path, lambda part: part.write_text("x"))
    assert names(tmp_path) == [path.name]


def test_an_unfinished_file_keeps_its_suffix(tmp_path: Path) -> None:
    with unfinished(tmp_path, ".npz") as first, unfinished(tmp_path, ".npz") as second:
        first.touch()
        assert first != second
        assert (first.parent, first.suffix) == (tmp_path, ".npz")
    assert names(tmp_path) == []


def test_what_a_build_has_made_is_found_and_nothing_else() -> None:
    kernels = native()
    library = built("beampipe.triton.server", "libbeampipe_arguments.so")
    assert (library is None) == (kernels is None)
    assert library is None or library.is_file()
    assert (
        built("beampipe.triton.server", "http.cfg") == Path(beampipe.files.__file__).parent / "triton/server/http.cfg"
    )
    assert built("beampipe.triton.server", "nothing.so") is None


@pytest.fixture
def read(tmp_path: Path) -> Path:
    """An input, and other ways to it."""
    path = tmp_path / "events.parquet"
    path.write_text("events")
    (tmp_path / "soft.parquet").symlink_to(path)
    (tmp_path / "hard.parquet").hardlink_to(path)
    (tmp_path / "folder").symlink_to(tmp_path)
    (tmp_path / "inner").mkdir()
    return path


@pytest.mark.parametrize(
    "name", ["events.parquet", "soft.parquet", "hard.parquet", "inner/../events.parquet", "folder/events.parquet"]
)
def test_an_output_that_is_an_input_is_refused_by_whatever_path(
    tmp_path: Path, read: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileError, match="got an output that is the input"):
        check_output(tmp_path / name, inputs=[read])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileError, match="got an output that is the input"):
        check_output(name, inputs=[tmp_path / "gone", read])
    with pytest.raises(FileError, match="got an output that is the input"):
        check_output(read, inputs=[Path(name)])


def test_other_outputs_are_none(tmp_path: Path, read: Path) -> None:
    (tmp_path / "copy.parquet").write_text("events")
    check_output(tmp_path / "copy.parquet", inputs=[read])
    check_output(tmp_path / "new.parquet", inputs=[read])
    check_output(tmp_path / "new" / "folder" / "new.json", inputs=[read], parents=True)
    assert read.read_text() == "events"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "parents", "message"),
    [
        ("inner", False, "got a folder, expected a file"),
        ("no/file.csv", False, "no folder .*no; make it first"),
        ("events.parquet/file.csv", True, "no folder .*events.parquet; make it first"),
        ("x" * 300 + ".csv", False, r"cannot be written \(File name too long\)"),
        ("no/" + "x" * 300 + ".csv", True, r"cannot be written \(File name too long\)"),
    ],
)
def test_a_place_that_no_file_can_take_is_told_before(
    tmp_path: Path, read: Path, name: str, parents: bool, message: str
) -> None:
    with pytest.raises(FileError, match=message):
        check_output(tmp_path / name, parents=parents)
    if not parents:
        with pytest.raises(FileError, match=message), replacing(tmp_path / name):
            pytest.fail("there is no such place")


def test_a_closed_folder_is_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write everywhere, so the system's answer is put in its place.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(FileError, match="may not write in"):
        check_output(tmp_path / "file.csv")


FULL = """
import resource, sys
from pathlib import Path
from beampipe.errors import FileError
from beampipe.files import replacing

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
path = Path(sys.argv[1])
try:
    with replacing(path) as part:
        part.write_bytes(bytes(2000))
except FileError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True)
    assert "file.csv: cannot be written whole (File too large)" in done.stdout
    assert f"MB are free in {tmp_path}, and it needs at least" in done.stdout
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.csv"]


def test_a_large_log_begins_anew_for_who_appends_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beampipe.files, "LOG_SIZE", 100)
    log = tmp_path / "server.log"
    with log.open("a", buffering=1) as stream:
        stream.write("a short one\n")
        shorten_log(log)
        assert names(tmp_path) == ["server.log"]
        for number in range(2):
            stream.write(f"{number}" * 100 + "\n")
            shorten_log(log)
            assert log.stat().st_size == 0
        stream.write("later\n")
    assert log.read_text() == "later\n"
    assert (tmp_path / "server.log.1").read_text() == 100 * "1" + "\n"


def test_a_log_begins_anew_even_if_nothing_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beampipe.files, "LOG_SIZE", 100)
    log = tmp_path / "server.log"
    log.write_text(101 * "x")
    (tmp_path / "server.log.1").mkdir()
    shorten_log(log)
    assert log.read_text() == ""
