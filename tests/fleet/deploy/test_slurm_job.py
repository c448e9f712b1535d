"""A job with programs in the place of Slurm's: what it does when servers do not start, or a successor is refused."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from beampipe.errors import ServiceError
from beampipe.fleet.deploy import slurm_job as job_module
from beampipe.fleet.deploy.slurm_job import CurrentJob, JobSettings, JobSupervisor
from beampipe.fleet.registry import Record, read_records, write_record
from beampipe.fleet.run_folder import RunFolder
from beampipe.fleet.server import FleetServerSettings
from beampipe.triton.server.launch import ServerSettings
from tests.fleet.conftest import until


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The signals of a job are those of the tests again afterwards."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def make_job(folder: Path, monkeypatch: pytest.MonkeyPatch, end: float | None = None) -> JobSupervisor:
    """The job number 1 of array 17, with two of three servers in the first one."""
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    RunFolder(folder / "shared", folder / "shared").make()
    shared = folder / "shared"
    triton = ServerSettings(folder / "models", log=shared / "logs")
    server = FleetServerSettings("", "cpu", shared / "registry", shared / "secret", triton, digest="digest")
    settings = JobSettings(server, 3, 2, folder / "servers.sh", shared, (), host="127.0.0.1")
    return JobSupervisor(settings, CurrentJob("17", 1, 0, "n1", end))


def warn() -> None:
    """Warn the job of this process, once it listens."""
    until(lambda: callable(signal.getsignal(signal.SIGUSR1)))
    os.kill(os.getpid(), signal.SIGUSR1)


def say_ready(folder: Path, name: str) -> None:
    write_record(folder / "shared" / "registry", Record(name, "cpu", "127.0.0.1", 1, 2, 3, 0, "ready"))


def test_servers_that_never_start_do_not_use_up_the_time_of_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "srun", f"echo started >> {tmp_path}/starts; exit 1")
    monkeypatch.setattr(job_module, "_INTERVAL", 0.05)
    with pytest.raises(ServiceError, match=r"cpu-2-17: got a server that ended 5 times.*cpu-2-17\.log"):
        make_job(tmp_path, monkeypatch).run()
    assert (tmp_path / "starts").read_text().count("started") == 5


def test_a_job_ends_when_all_servers_of_the_next_one_are_ready_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program(tmp_path, "srun", "exec sleep 60")
    # Refused first, as where a user has too many jobs.
    program(
        tmp_path,
        "sbatch",
        f'if mkdir {tmp_path}/asked; then echo full >&2; exit 1; fi; echo "$@" > {tmp_path}/submitted; echo 99',
    )
    for name, value in (("_INTERVAL", 0.05), ("_RESUBMIT_AFTER", 0.2)):
        monkeypatch.setattr(job_module, name, value)
    job = make_job(tmp_path, monkeypatch)
    ready = []

    def next_job() -> None:
        warn()
        until((tmp_path / "submitted").exists)
        say_ready(tmp_path, "cpu-0-99")  # of another job of the array
        time.sleep(0.3)
        ready.append(time.monotonic())
        say_ready(tmp_path, "cpu-2-99r1")  # of a node that has failed meanwhile

    waiting = threading.Thread(target=next_job)
    waiting.start()
    job.run()
    waiting.join()
    assert time.monotonic() > ready[0]
    assert (tmp_path / "submitted").read_text().split() == ["--parsable", "--array=1", str(tmp_path / "servers.sh")]
    output = capsys.readouterr().out
    assert "successor: sbatch: got 'full'" in output
    assert "job 99 serves; this one ends" in output
    assert set(read_records(tmp_path / "shared" / "registry")) == {"cpu-0-99", "cpu-2-99r1"}


def test_a_job_that_is_told_to_end_with_all_others_submits_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "srun", "exec sleep 60")
    program(tmp_path, "sbatch", f"touch {tmp_path}/submitted; echo 99")
    monkeypatch.setattr(job_module, "_INTERVAL", 0.05)
    job = make_job(tmp_path, monkeypatch, end=time.time() + 26.5)  # 10 s, 3 s and twice 5 s remain for the end
    (tmp_path / "shared" / "ended").touch()
    warning = threading.Thread(target=warn)
    warning.start()
    job.run()
    warning.join()
    assert not (tmp_path / "submitted").exists()
