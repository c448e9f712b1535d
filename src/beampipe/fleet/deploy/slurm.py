"""Slurm scripts of a fleet: one per group of servers, one for the gateway, and two that start and end all jobs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from beampipe.fleet.deploy.slurm_job import JobSettings
from beampipe.fleet.generated_files import Files, render, write_files
from beampipe.fleet.run_folder import RunFolder, make_snapshot, shared_folder
from beampipe.fleet.server import fleet_server_settings, write_settings
from beampipe.fleet.specification import Fleet, ServerGroup
from beampipe.triton.client.endpoint import is_loopback
from beampipe.triton.server.launch import check_repository

START: Final = "start.sh"
"""Name of the script that submits the servers."""
END: Final = "end.sh"
"""Name of the script that ends all jobs of the fleet."""
GATEWAY: Final = "gateway.sh"
"""Name of the script of the gateway."""


def slurm_files(fleet: Fleet, specification: Path, folder: Path) -> Files:
    """The scripts, by name.

    Args:
        fleet: the specification.
        specification: its file.
        folder: folder to which the scripts will be written.
    """
    shared, groups = shared_folder(fleet), _groups(fleet)
    gateway = f"beampipe-{fleet.name}-gateway"
    names = [*(f"beampipe-{fleet.name}-servers-{group}" for group in fleet.servers), gateway]

    def script(template: str, **values: Any) -> str:
        return render(
            f"deploy/templates/slurm-{template}.sh.j2",
            fleet=fleet,
            slurm=fleet.slurm,
            python=fleet.slurm.python or sys.executable,
            ended=shared / "ended",
            names=names,
            **values,
        )

    files = {}
    for group in groups:
        servers = min(fleet.slurm.servers, group.count)
        files[script_name(group)] = script(
            "servers",
            name=f"beampipe-{fleet.name}-servers-{group.name}",
            group=group,
            jobs=-(-group.count // fleet.slurm.servers),
            servers=servers,
            memory=_megabytes(group.memory * servers),
            output=shared / "logs" / "%x-%A_%a.out",
            settings=_settings_file(shared, group),
        )
    if not is_loopback(fleet.gateway.host):
        files[GATEWAY] = script(
            "gateway",
            name=gateway,
            output=shared / "logs" / "%x-%j.out",
            script=folder / GATEWAY,
            specification=specification,
            shared=shared,
        )
    files[START] = script("start", end=END, scripts=[folder / script_name(group) for group in groups])
    files[END] = script("end")
    return files


def write_slurm(fleet: Fleet, specification: Path, folder: Path) -> list[Path]:
    """Write the scripts, and prepare the shared folder: a copy of the models, the secret, settings of the jobs.

    Args:
        fleet: the specification.
        specification: its file.
        folder: folder for the scripts, which all nodes see.

    Returns:
        The paths of the scripts.

    Raises:
        ConfigError: a server cannot load a model, or the shared folder belongs to another user.
        FileError: a file cannot be written, or its path is taken by a file of another origin.
    """
    folder, specification = folder.absolute(), specification.absolute()
    check_repository(fleet.repository, fleet.models)
    run = RunFolder(shared_folder(fleet), shared_folder(fleet))
    run.make()
    models = make_snapshot(fleet.repository, run.repositories)
    for group in _groups(fleet):
        settings = JobSettings(
            fleet_server_settings(fleet, group, run, models),
            count=group.count,
            servers=fleet.slurm.servers,
            script=folder / script_name(group),
            shared=run.path,
            step=step_options(group),
            host=fleet.slurm.host,
        )
        write_settings(_settings_file(run.path, group), settings)
    return write_files(folder, slurm_files(fleet, specification, folder), "beampipe fleet slurm")


def step_options(group: ServerGroup) -> tuple[str, ...]:
    """Options of srun for one server of a group."""
    options = [
        "--nodes=1",
        "--ntasks=1",
        "--exact",  # only the requested resources, not all of the job: several servers share it
        f"--cpus-per-task={group.cores}",
        f"--mem={_megabytes(group.memory)}",
    ]
    return (*options, "--gpus-per-task=1") if group.device == "gpu" else tuple(options)


def slurm_notes(fleet: Fleet) -> Iterator[str]:
    """Settings that these files do not implement, in a sentence each."""
    if fleet.scaling is not None:
        yield "scaling: jobs do not scale; the number of servers stays that of count"
    if is_loopback(fleet.gateway.host):
        yield (
            f"gateway.host: got {fleet.gateway.host}, where only programs beside the gateway reach it: run it where"
            " clients are; there is no script for a gateway in a job"
        )
    if 0 < fleet.slurm.renew < fleet.start_timeout:
        yield (
            f"slurm.renew: got {fleet.slurm.renew} s, less than start_timeout, {fleet.start_timeout:g} s: servers of"
            " the next job may not answer yet when the old ones end"
        )
    for group in _groups(fleet):
        if fleet.slurm.renew and group.slots < 2 * group.count:
            yield (
                f"servers.{group.name}.most: got {group.slots}, expected {2 * group.count}: when all jobs are renewed"
                " at once, servers of old and new ones need places in the gateway"
            )


def script_name(group: ServerGroup) -> str:
    """Name of the script of a group's jobs."""
    return f"servers-{group.name}.sh"


def _groups(fleet: Fleet) -> list[ServerGroup]:
    return [group for group in fleet.servers.values() if group.count]


def _settings_file(shared: Path, group: ServerGroup) -> Path:
    return shared / "jobs" / f"{group.name}.json"


def _megabytes(memory: float) -> str:
    """An amount of memory [GiB] in the syntax of Slurm."""
    return f"{round(1024 * memory)}M"
