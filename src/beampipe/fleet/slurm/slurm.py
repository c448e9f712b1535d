"""Slurm as a job of it sees it: who it is, and how it submits the next one."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from beampipe.errors import ConfigError, ServiceError
from beampipe.triton.hosts import is_loopback

__all__ = ["ThisJob", "address_of", "submit", "this_job"]


@dataclass(frozen=True)
class ThisJob:
    """The job that this process runs in.

    Attributes:
        array: id of the array of jobs that it belongs to.
        index: its number in there.
        restarts: how often Slurm has put it back into its queue.
        node: name that Slurm has for its node.
        end: its time limit [s since 1970]; None if it has none, or Slurm does not say.
    """

    array: str
    index: int
    restarts: int
    node: str
    end: float | None = None


def this_job(environ: Mapping[str, str] = os.environ) -> ThisJob:
    """The job that this process runs in.

    Args:
        environ: variables of its environment.

    Raises:
        ConfigError: it does not run in a job that `beampipe fleet slurm` has made.
    """
    try:
        return ThisJob(
            environ["SLURM_ARRAY_JOB_ID"],
            int(environ["SLURM_ARRAY_TASK_ID"]),
            int(environ.get("SLURM_RESTART_COUNT") or 0),
            environ["SLURMD_NODENAME"],
            float(end) if (end := environ.get("SLURM_JOB_END_TIME")) else None,
        )
    except KeyError as error:
        raise ConfigError(f"{error}: got no such variable, expected a job of Slurm; do: start.sh") from error


def address_of(node: str, host: str | None) -> str:
    """The address at which other machines reach a node, as the node itself finds it.

    Args:
        node: name that Slurm has for it.
        host: host name or address, with ``{node}`` for that name; None for the name itself.

    Raises:
        ConfigError: there is none, or it is one that only the node itself reaches.
    """
    name = node if host is None else host.replace("{node}", node)
    do = "set slurm.host to the name or address of its network, with {node} for its name"
    try:
        found = [str(row[4][0]) for row in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except OSError as error:
        raise ConfigError(f"{node}: got no address for {name!r} ({error}), expected one; {do}") from error
    if host is None and is_loopback(found[0]):
        raise ConfigError(f"{node}: got {found[0]}, at which only the node reaches itself, expected another; {do}")
    return found[0]


def submit(script: Path, index: int, environ: Mapping[str, str] = os.environ) -> str:
    """Submit one job of an array once more.

    Args:
        script: the script of the array.
        index: number of the job in it.
        environ: variables of the environment; those that tell of this job are not handed on.

    Returns:
        The id of the new array.

    Raises:
        ServiceError: Slurm refuses it; the message has its reason.
    """
    given = {key: value for key, value in environ.items() if not key.startswith("SLURM_") or key == "SLURM_CONF"}
    command = ["sbatch", "--parsable", f"--array={index}", str(script)]
    try:
        done = subprocess.run(command, env=given, capture_output=True, text=True, check=False, timeout=60.0)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceError(f"sbatch: got {error}, expected the id of a job") from error
    job = done.stdout.strip().partition(";")[0]
    if done.returncode != 0 or not re.fullmatch(r"\d+", job):
        raise ServiceError(f"sbatch: got {(done.stderr or done.stdout).strip()!r}, expected the id of a job")
    return job
