"""A real Slurm for the tests: its own munge, one controller, two nodes on this machine; all of it children of ours."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from beampipe.triton.server.launch import free_port

_CONFIGURATION = """\
ClusterName=tests
SlurmctldHost=localhost
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait={kill_wait}
SlurmctldPort={controller}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
SchedulerParameters=sched_min_interval=20000,bf_interval=1
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={first} CPUs={cpus} RealMemory=8000 State=UNKNOWN
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={second} CPUs={cpus} RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE LLN=YES State=UP
"""


@contextmanager
def running_slurm(folder: Path, cpus: int = 1, kill_wait: int = 2) -> Iterator[Path]:
    """Start it, wait for both nodes, point `SLURM_CONF` to it; stop what was started afterwards.

    Args:
        folder: folder for all its files.
        cpus: number of processors that each node claims to have.
        kill_wait: time [s] that a job gets to end.
    """
    for name in ("state", "spool-n1", "spool-n2"):
        (folder / name).mkdir()
    controller = free_port()
    first = free_port(taken=[controller])
    second = free_port(taken=[controller, first])
    configuration = folder / "slurm.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            folder=folder, controller=controller, first=first, second=second, cpus=cpus, kill_wait=kill_wait
        ),
        encoding="utf-8",
    )
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(configuration)
    # --force: a folder for tests is not as private as munge wants its own to be.
    files = {"key-file": key.name, "socket": "munge.socket", "pid-file": "munge.pid"}
    files |= {"log-file": "munge.log", "seed-file": "munge.seed"}
    munge = [f"--{option}={folder / name}" for option, name in files.items()]
    started: list[subprocess.Popen[bytes]] = []
    log = (folder / "output.log").open("wb")
    try:
        for command in (
            ["munged", "--foreground", "--force", *munge],
            ["slurmctld", "-D", "-c"],
            ["slurmd", "-D", "-N", "n1"],
            ["slurmd", "-D", "-N", "n2"],
        ):
            path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
            started.append(subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PATH": path}))
            if command[0] == "munged":
                _wait_for(lambda: (folder / "munge.socket").exists(), "munged", folder)
        _wait_for(lambda: _answer("sinfo", "-h", "-t", "idle", "-o", "%D") == "2", "two idle nodes", folder)
        yield folder
    finally:
        # A job that ends needs its node, which needs the controller, which needs munge.
        with suppress(TimeoutError):
            subprocess.run(["scancel", "-u", "root"], check=False, capture_output=True)
            _wait_for(lambda: not jobs(), "empty queue", folder)
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        log.close()
        if before is None:
            del os.environ["SLURM_CONF"]
        else:
            os.environ["SLURM_CONF"] = before


def jobs() -> list[str]:
    """Ids of the jobs that wait, run or are about to end."""
    return (_answer("squeue", "-h", "-o", "%i") or "").split()


def _answer(*command: str) -> str | None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def _wait_for(condition: object, what: str, folder: Path, seconds: float = 120.0) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"no {what} within {seconds} s: {(folder / 'output.log').read_text()[-2000:]}")
        time.sleep(0.05)
