"""What a run says when the machine, not the physics, is at fault."""

from __future__ import annotations

import errno
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from typer.testing import CliRunner

from beampipe.calibration.cli import app
from beampipe.calibration.config import Configuration, load_configuration
from beampipe.calibration.explanation import explain
from beampipe.calibration.run import DEMO_CONFIGURATION, plan_calibration, run_calibration
from beampipe.calibration.tasks.runtime import run_with_worker_errors, workspace_of
from beampipe.errors import FileError, MissingExtraError, TooLargeError, WorkflowError
from beampipe.terminal import progress_lines
from beampipe.workflow import Store
from tests.calibration.campaign import INLINE, Toys, configuration_of


def damaged(cause: Exception) -> NoReturn:
    """What a reader of ROOT files makes of whatever happens to it."""
    try:
        raise cause
    except Exception as error:
        raise FileError("a.root: cannot be read; the file is truncated or damaged", path="a.root") from error


@pytest.mark.parametrize(
    ("cause", "kind", "message"),
    [
        (MemoryError("Unable to allocate 2 GiB"), TooLargeError, "not enough memory .*smaller chunk_events"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), TooLargeError, "not enough memory"),
        (PermissionError(errno.EACCES, "Permission denied"), FileError, "no permission .*grant it"),
        (OSError(errno.EIO, "Input/output error"), OSError, "the disk or the network failed.* run again"),
        (ModuleNotFoundError("No module named 'snappy'", name="snappy"), FileError, "without snappy"),
        (ModuleNotFoundError("No module named 'zstandard'", name="zstandard"), MissingExtraError, "needs zstandard"),
        (ValueError("negative length"), FileError, "truncated or damaged"),
    ],
)
def test_faults_say_what_they_are(cause: Exception, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        run_with_worker_errors("fill a.root", damaged, cause)
    assert ("damaged" in str(caught.value)) == isinstance(cause, ValueError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value), "it comes from another process"


def test_a_run_without_memory_says_so(toys: Toys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object, **__: object) -> NoReturn:
        raise MemoryError("Unable to allocate 12.0 GiB for an array")

    monkeypatch.setattr("beampipe.calibration.tasks.plan.select", no_memory)
    with pytest.raises(WorkflowError, match=r"not enough memory .*12\.0 GiB") as caught:
        run_calibration(configuration_of(toys, tmp_path), INLINE)
    assert "damaged" not in str(caught.value)


@pytest.fixture
def closed(base: Configuration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configuration:
    """A store that may not be written to, whoever tries: root may write where permissions forbid it."""
    root = workspace_of(base).store.root
    real = os.access

    def refused(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "access", lambda path, mode: real(path, mode) and not Path(path).is_relative_to(root))
    monkeypatch.setattr(Store, "write", refused)
    monkeypatch.setattr(Path, "replace", refused)
    return base


def test_explain_reads_a_store_that_it_may_not_write(closed: Configuration) -> None:
    digests = workspace_of(closed).digests
    known = {path: path.read_bytes() for path in digests.rglob("*") if path.is_file()}
    lines = list(explain(plan_calibration(closed), "SF_q", pt=700.0).lines())
    assert lines[0].startswith("SF_q(n_trk, 50%, 500-800 GeV) = ")
    assert {path: path.read_bytes() for path in digests.rglob("*") if path.is_file()} == known


def test_what_a_closed_store_lacks_is_one_error(closed: Configuration) -> None:
    """Another luminosity needs bookkeeping that the store does not have."""
    sample = replace(closed.samples["nominal"], luminosity=123.0)
    other = replace(closed, samples={**closed.samples, "nominal": sample})
    with pytest.raises(FileError, match=r"may not be written to \(Read-only file system\).*run the calibration"):
        plan_calibration(other)


def test_a_run_in_a_closed_store_is_one_error_before_any_work(closed: Configuration) -> None:
    with pytest.raises(FileError, match=r"may not write in .*store; choose another place"):
        run_calibration(replace(closed, working_points=(0.55,)), INLINE)


def test_without_a_terminal_progress_is_lines() -> None:
    """One when it starts, one in each 30 s, one at the end."""
    lines: list[str] = []
    now = [0.0]
    with progress_lines(lines.append, clock=lambda: now[0])("fill", 4) as step:
        for _ in range(4):
            now[0] += 20.0
            step()
    assert lines == ["fill: 0 of 4, 0 s", "fill: 2 of 4, 40 s", "fill: 4 of 4, 80 s"]


def test_commands_write_these_lines_to_standard_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["select", str(DEMO_CONFIGURATION), "-o", str(tmp_path), "--executor", "inline"])
    assert done.exit_code == 0, done.output
    assert "inspecting files: 3 of 3" in done.stderr
    assert "reading files, select: 0 of 6, 0 s" in done.stderr, "three files, a chunk of each"
    assert "inspecting" not in done.stdout


def test_a_missing_package_is_not_the_fault_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MissingExtraError("uproot", "calibration", "reading ROOT files")

    monkeypatch.setattr("beampipe.calibration.tasks.inspection.inspect_file", refuse)
    configuration = load_configuration(DEMO_CONFIGURATION, output=tmp_path)
    with pytest.raises(MissingExtraError, match=r"pip install 'beampipe\[calibration\]'"):
        run_calibration(configuration, INLINE, until="select")
