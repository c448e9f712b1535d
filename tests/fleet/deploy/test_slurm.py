"""The generated scripts without a Slurm, and a job with programs in the place of Slurm's."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from beampipe.errors import ConfigError, ServiceError
from beampipe.fleet.deploy import slurm_job as job_module
from beampipe.fleet.deploy.slurm import slurm_notes, write_slurm
from beampipe.fleet.deploy.slurm_job import CurrentJob, JobSettings, JobSupervisor, node_address
from beampipe.fleet.registry import Record, read_records, write_record
from beampipe.fleet.run_folder import RunFolder
from beampipe.fleet.server import FleetServerSettings, read_settings
from beampipe.fleet.specification import Fleet, SlurmSettings, read_fleet
from beampipe.triton.server.launch import ServerSettings
from tests.fleet.conftest import until
from tests.triton.doublers import write_model

WHOLE = """
name = "trk"
repository = "models"
exit_timeout = 20
[servers.gpu]
count = 6
most = 12
device = "gpu"
cores = 8
memory = 16
[servers.cpu]
count = 1
[gateway]
host = "0.0.0.0"
tokens = "tokens"
[gateway.tls]
certificate = "tls.pem"
[slurm]
folder = "shared folder"
partition = "gpu"
account = "m1234"
servers = 4
time = "1-00:30:00"
renew = 900
prologue = ["module load python"]
directives = ["--qos=regular", "--constraint=gpu"]
"""


def made(folder: Path, text: str = WHOLE) -> tuple[Fleet, dict[str, str]]:
    """A fleet, and the texts of its scripts."""
    path = folder / "fleet.toml"
    path.write_text(text)
    if not (folder / "models").exists():
        write_model(folder / "models", "one")
    fleet = read_fleet(path)
    return fleet, {path.name: path.read_text() for path in write_slurm(fleet, path, folder / "jobs")}


def test_scripts_are_what_bash_reads_and_always_the_same(tmp_path: Path) -> None:
    _, first = made(tmp_path)
    assert set(first) == {"servers-gpu.sh", "servers-cpu.sh", "gateway.sh", "start.sh", "end.sh"}
    for name, text in first.items():
        path = tmp_path / "jobs" / name
        assert text.startswith("#!/bin/bash\n# Made by beampipe")
        assert os.access(path, os.X_OK)
        subprocess.run(["bash", "-n", str(path)], check=True, capture_output=True)
    assert made(tmp_path)[1] == first


def test_a_script_asks_for_what_the_specification_says(tmp_path: Path) -> None:
    _, scripts = made(tmp_path)
    request = [line.removeprefix("#SBATCH ") for line in scripts["servers-gpu.sh"].splitlines() if "#SBATCH" in line]
    assert request[:9] == [
        "--job-name=beampipe-trk-servers-gpu",
        "--array=0-1",  # six servers, four on each node
        "--nodes=1",
        "--ntasks=4",
        "--cpus-per-task=8",
        "--mem=65536M",
        "--gpus-per-task=1",
        "--requeue",
        "--signal=B:USR1@900",
    ]
    others = {"--partition=gpu", "--account=m1234", "--time=1-00:30:00", "--qos=regular", "--constraint=gpu"}
    assert others < set(request)
    assert "\nmodule load python\nexec " in scripts["servers-gpu.sh"]
    assert "gpu" not in scripts["servers-cpu.sh"].replace("--partition=gpu", "").replace("--constraint=gpu", "")
    job = read_settings(JobSettings, tmp_path / "shared folder" / "jobs" / "gpu.json")
    assert (job.count, job.servers, job.server.triton.exit_timeout) == (6, 4, 20)
    assert {"--exact", "--gpus-per-task=1", "--mem=16384M"} < set(job.step)
    assert "CUDA_VISIBLE_DEVICES" not in "".join(scripts.values())  # which GPU it is, is Slurm's choice


def test_the_shared_folder_is_for_its_user_alone(tmp_path: Path) -> None:
    made(tmp_path)
    shared = tmp_path / "shared folder"
    assert stat.S_IMODE(shared.stat().st_mode) == 0o700
    assert stat.S_IMODE((shared / "secret").stat().st_mode) == 0o600
    assert (tmp_path / "models" / "one" / "config.pbtxt").read_bytes() in [
        path.read_bytes() for path in (shared / "repositories").glob("*/one/config.pbtxt")
    ]
    secret = (shared / "secret").read_text()
    made(tmp_path)
    assert (shared / "secret").read_text() == secret, "servers that run would be locked out"


def test_a_shared_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shared folder").mkdir()
    (tmp_path / "shared folder").chmod(0o770)
    with pytest.raises(ConfigError, match="others may write"):
        made(tmp_path)


def test_what_a_specification_asks_for_in_vain_is_said(tmp_path: Path) -> None:
    scarce = WHOLE.replace("most = 12", "most = 6").replace('host = "0.0.0.0"', 'host = "127.0.0.1"')
    fleet, scripts = made(tmp_path, scarce + '[scaling]\ngroup = "gpu"\n')
    assert "gateway.sh" not in scripts
    notes = " ".join(slurm_notes(fleet))
    assert "servers.gpu.most" in notes
    assert "jobs do not scale" in notes
    assert "only programs beside the gateway" in notes


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"time": "four hours"}, "slurm.time"),
        ({"time": "00:10:00", "renew": 600}, "less than slurm.time"),
        ({"servers": 0}, "slurm.servers"),
        ({"directives": ("qos=debug",)}, "slurm.directives"),
        ({"directives": ("--qos=debug\nrm -r models",)}, "slurm.directives"),
    ],
)
def test_wishes_that_slurm_would_refuse_or_misread_are_refused(table: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SlurmSettings(**table)  # type: ignore[arg-type]


def test_a_node_says_at_which_address_others_reach_it() -> None:
    assert node_address("node7", "192.0.2.7") == "192.0.2.7"
    assert node_address("192.0.2", "{node}.8") == "192.0.2.8"
    with pytest.raises(ConfigError, match=r"only the node reaches itself.*slurm\.host"):
        node_address("localhost", None)
    with pytest.raises(ConfigError, match=r"no address for 'nowhere\.invalid'"):
        node_address("n1", "nowhere.invalid")


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
    refuse = f"if mkdir {tmp_path}/asked; then echo full >&2; exit 1; fi"
    program(tmp_path, "sbatch", f'{refuse}; echo "$@" > {tmp_path}/submitted; echo 99')
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
