"""A command replaces only files that beampipe wrote, by their marks; `--force` replaces any."""

from __future__ import annotations

from pathlib import Path

import pytest

from beampipe.cli import app
from beampipe.errors import FileError
from beampipe.files import require_ours
from beampipe.terminal.exit import exit_code
from beampipe.tracking.data import shipped_path

EVENTS = str(shipped_path(0))

NO_EVENT = ["-n", "0", "--mu", "0"]

WRITING = {
    "tracking example FILE.parquet": True,
    "tracking simulate -n 0 --mu 0 -o FILE.parquet": True,
    "track EVENTS -o FILE.parquet": True,
    "track EVENTS -o FILE.csv": True,
    "track EVENTS --as lists -o FILE.parquet": True,
    "track EVENTS --as lists -o FILE.jsonl": True,
    "tracking evaluate EVENTS -n 1 -o FILE.json": True,
    "tracking display EVENTS -o FILE.png": True,
    "tracking display EVENTS -o FILE.svg": True,
    "tracking display EVENTS -o FILE.pdf": True,
    "tracking display EVENTS -o FILE.html": True,
    "tracking display EVENTS -o FILE.json": True,
    "calibration init FILE.toml": False,
}
"""Commands that write a file, and whether they may write it again without `--force`: users edit configurations."""


def run(command: str, *more: str) -> int:
    words = [EVENTS if word == "EVENTS" else word.replace("FILE", "file") for word in command.split()]
    return exit_code(lambda **options: app([*words, *more], **options), "beampipe")


@pytest.mark.parametrize(("command", "again"), WRITING.items())
def test_a_file_of_somebody_else_stays(
    command: str, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(next(word for word in command.split() if word.startswith("FILE")).replace("FILE", "file"))
    path.write_text("years of work, as beampipe would not have written them")
    assert run(command) == 2
    assert "got a file that beampipe did not write" in capsys.readouterr().err
    assert path.read_text().startswith("years of work")
    assert run(command, "--force") == 0
    assert not path.read_bytes().startswith(b"years of work")
    assert (run(command) == 0) == again


@pytest.mark.parametrize("name", ["evaluation.json", "event.png", "event.html"])
def test_files_in_the_folder_of_a_demo_stay(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_text("mine")
    assert run(f"tracking demo --mu 0 -p module_map -o {tmp_path}") == 2
    assert "did not write" in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_an_empty_file_is_replaced_and_a_device_never_is(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    require_ours(tmp_path / "empty")
    require_ours(tmp_path / "new")
    for force in (False, True):
        with pytest.raises(FileError, match="got a device or a pipe"):
            require_ours("/dev/null", force=force)


def test_a_mark_may_be_at_either_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for text in ("written by beampipe" + 200_000 * "x", 200_000 * "x" + "written by beampipe", "a,b\n" + 200_000 * "x"):
        path.write_text(text)
        require_ours(path, marks=["a,b\n"])
    with pytest.raises(FileError, match="replace it by --force"):
        require_ours(path)
