"""Slurm scripts of a fleet: one per group of servers, one for the gateway, and two that start and end all jobs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from beampipe.fleet.specification import Fleet, ServerGroup

__all__ = [
    "END",
    "GATEWAY",
    "START",
    "end_script",
    "gateway_script",
    "job_name",
    "script_name",
    "servers_script",
    "start_script",
    "step_options",
]

START: Final = "start.sh"
"""Name of the script that submits the servers."""
END: Final = "end.sh"
"""Name of the script that ends all jobs of the fleet."""
GATEWAY: Final = "gateway.sh"
"""Name of the script of the gateway."""
_END_TIMEOUT: Final = 60
"""Time [s] in which jobs that are told to end should have ended."""
_GATEWAY_CORES: Final = 2
_GATEWAY_MEMORY: Final = 2.0


def step_options(group: ServerGroup) -> tuple[str, ...]:
    """Options of srun for one server of a group.

    Args:
        group: the group.
    """
    # --exact: what it asks for, and not all that the job has, so that several servers fit.
    given = [
        "--nodes=1",
        "--ntasks=1",
        "--exact",
        f"--cpus-per-task={group.cores}",
        f"--mem={_megabytes(group.memory)}",
    ]
    return (*given, *_gpus(group))


def servers_script(fleet: Fleet, group: ServerGroup, settings: Path, logs: Path) -> str:
    """The script of a group's jobs: an array with one job for each node.

    Args:
        fleet: the specification.
        group: the group.
        settings: file with what the jobs are told.
        logs: folder of their output.
    """
    slurm = fleet.slurm
    jobs = -(-group.count // slurm.servers)
    options = [
        f"--array=0-{jobs - 1}",
        "--nodes=1",
        f"--ntasks={min(slurm.servers, group.count)}",
        f"--cpus-per-task={group.cores}",
        f"--mem={_megabytes(group.memory * min(slurm.servers, group.count))}",
        *_gpus(group),
        # A node that fails takes its job along; Slurm runs the job again on another.
        "--requeue",
        *_warning(fleet),
    ]
    lines = [
        *_head(fleet, job_name(fleet, group.name), options, logs / "%x-%A_%a.out"),
        f"exec {_python(fleet)} -m beampipe fleet job {_quoted(settings)}",
    ]
    return "\n".join(lines) + "\n"


def gateway_script(fleet: Fleet, specification: Path, shared: Path, script: Path) -> str:
    """The script of a job that is the gateway, and that submits its successor before its time is up.

    Args:
        fleet: the specification.
        specification: its file.
        shared: folder that all nodes see.
        script: where this script will be.
    """
    cores, memory = _GATEWAY_CORES, _megabytes(_GATEWAY_MEMORY)
    options = ["--nodes=1", "--ntasks=1", f"--cpus-per-task={cores}", f"--mem={memory}", "--requeue", *_warning(fleet)]
    command = f"{_python(fleet)} -m beampipe fleet gateway {_quoted(specification)} --registry {_quoted(shared)}"
    lines = _head(fleet, job_name(fleet), options, shared / "logs" / "%x-%j.out")
    lines += [
        'folder="${TMPDIR:-/tmp}/beampipe-gateway-$SLURM_JOB_ID"',
        "# Two gateways would have two addresses: the next one starts when this one has ended.",
        f"renew() {{ [ -e {_quoted(shared / 'ended')} ] ||"
        f' sbatch --dependency="afterany:$SLURM_JOB_ID" {_quoted(script)}; }}',
        "trap renew USR1",
        f'{command} --folder "$folder" &',
        "gateway=$!",
        "trap 'kill -TERM \"$gateway\"' TERM",
        "# A signal ends the waiting, not what is waited for.",
        'while kill -0 "$gateway" 2>/dev/null; do wait "$gateway"; done',
        'rm -rf "$folder"',
    ]
    return "\n".join(lines) + "\n"


def start_script(fleet: Fleet, folder: Path, shared: Path) -> str:
    """The script that submits the servers.

    Args:
        fleet: the specification.
        folder: folder of the scripts.
        shared: folder that all nodes see.
    """
    groups = [group for group in fleet.servers.values() if group.count]
    lines = [
        "#!/bin/bash",
        "set -eu",
        f'if [ -n "$({_jobs(fleet)})" ]; then',
        f'  echo "{fleet.name}: has jobs already; end them by {END}" >&2',
        "  exit 1",
        "fi",
        f"rm -f {_quoted(shared / 'ended')}",
        *(f"sbatch {_quoted(folder / script_name(group))}" for group in groups),
    ]
    return "\n".join(lines) + "\n"


def end_script(fleet: Fleet, shared: Path) -> str:
    """The script that ends all jobs of a fleet, and waits until they are gone.

    Args:
        fleet: the specification.
        shared: folder that all nodes see.
    """
    lines = [
        "#!/bin/bash",
        "set -eu",
        "# A job whose time is nearly up submits no other from now on.",
        f"touch {_quoted(shared / 'ended')}",
        *(line for name in _names(fleet) for line in _cancel_gently(name)),
        f"for second in $(seq {_END_TIMEOUT}); do",
        f'  [ -n "$({_jobs(fleet)})" ] || exit 0',
        "  sleep 1",
        "done",
        *(f'scancel --user="$(id -un)" --name={name}' for name in _names(fleet)),
        f'while [ -n "$({_jobs(fleet)})" ]; do sleep 1; done',
    ]
    return "\n".join(lines) + "\n"


def script_name(group: ServerGroup) -> str:
    """Name of the script of a group's jobs."""
    return f"servers-{group.name}.sh"


def job_name(fleet: Fleet, group: str | None = None) -> str:
    """Name of the jobs of a group, or of the gateway, as `squeue` shows it."""
    return f"beampipe-{fleet.name}-" + ("gateway" if group is None else f"servers-{group}")


def _names(fleet: Fleet) -> list[str]:
    return [*(job_name(fleet, group) for group in fleet.servers), job_name(fleet)]


def _jobs(fleet: Fleet) -> str:
    """The command that lists the ids of all jobs of a fleet."""
    return f'squeue --noheader --user="$(id -un)" --name={",".join(_names(fleet))} --format=%i'


def _cancel_gently(name: str) -> Iterator[str]:
    """Commands that end waiting jobs, and tell running ones to end their servers in order."""
    yield f'scancel --user="$(id -un)" --name={name} --state=PENDING'
    # The script alone: it tells its servers. Else Slurm would end their processes in the middle of requests.
    yield f'scancel --user="$(id -un)" --name={name} --state=RUNNING --batch --signal=TERM'


def _head(fleet: Fleet, name: str, options: list[str], output: Path) -> list[str]:
    slurm = fleet.slurm
    given = {"--partition": slurm.partition, "--account": slurm.account}
    every = [
        f"--job-name={name}",
        *options,
        f"--time={slurm.time}",
        *(f"{option}={value}" for option, value in given.items() if value is not None),
        f'--output="{output}"',
        "--open-mode=append",
        *slurm.directives,
    ]
    return ["#!/bin/bash", *(f"#SBATCH {option}" for option in every), *slurm.prologue]


def _warning(fleet: Fleet) -> Iterator[str]:
    if fleet.slurm.renew:  # to the script alone (B:), which sees to the next job
        yield f"--signal=B:USR1@{fleet.slurm.renew}"


def _gpus(group: ServerGroup) -> Iterator[str]:
    if group.device == "gpu":  # which ones a server sees is Slurm's choice: it sets CUDA_VISIBLE_DEVICES
        yield "--gpus-per-task=1"


def _python(fleet: Fleet) -> str:
    return _quoted(fleet.slurm.python or Path(sys.executable))


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _megabytes(memory: float) -> str:
    return f"{round(1024 * memory)}M"
