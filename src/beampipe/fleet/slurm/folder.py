"""The folder of scripts of `beampipe fleet slurm`, and the shared folder in which the jobs meet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from beampipe.files import replacing
from beampipe.fleet.containers.generated import Files, write_files
from beampipe.fleet.running.folder import RunFolder, shared_folder
from beampipe.fleet.slurm import scripts
from beampipe.fleet.slurm.settings import JobSettings, job_text
from beampipe.fleet.snapshots import keep_snapshot
from beampipe.fleet.specification import Fleet, ServerGroup
from beampipe.triton.hosts import is_loopback
from beampipe.triton.server.preflight import check_repository

__all__ = ["COMMAND", "slurm_files", "slurm_notes", "write_slurm"]

COMMAND: Final = "beampipe fleet slurm"


def slurm_files(fleet: Fleet, specification: Path, folder: Path) -> Files:
    """The scripts, by name.

    Args:
        fleet: the specification.
        specification: its file.
        folder: folder in which the scripts will be.
    """
    shared = shared_folder(fleet)
    files = {
        scripts.script_name(group): scripts.servers_script(fleet, group, _settings_file(shared, group), shared / "logs")
        for group in _groups(fleet)
    }
    if not is_loopback(fleet.gateway.host):
        files[scripts.GATEWAY] = scripts.gateway_script(fleet, specification, shared, folder / scripts.GATEWAY)
    files[scripts.START] = scripts.start_script(fleet, folder, shared)
    files[scripts.END] = scripts.end_script(fleet, shared)
    return files


def write_slurm(fleet: Fleet, specification: Path, folder: Path) -> list[Path]:
    """Write the scripts, and make the shared folder ready: a copy of the models, the secret, what jobs are told.

    Args:
        fleet: the specification.
        specification: its file.
        folder: folder for the scripts, which all nodes see.

    Returns:
        The paths of the scripts.

    Raises:
        ConfigError: a model is not what a server can load, or the shared folder belongs to somebody else.
        FileError: a file cannot be written, or one of another origin is in its place.
    """
    folder, specification = folder.absolute(), specification.absolute()
    check_repository(fleet.repository, fleet.models)
    run = RunFolder(shared_folder(fleet), shared_folder(fleet))
    run.make()
    digest, models = keep_snapshot(fleet.repository, run.repositories)
    for group in _groups(fleet):
        script = folder / scripts.script_name(group)
        with replacing(_settings_file(run.path, group), parents=True) as part:
            part.write_text(job_text(_settings(fleet, group, script, run.path, models, digest)), encoding="utf-8")
    return write_files(folder, slurm_files(fleet, specification, folder), COMMAND)


def slurm_notes(fleet: Fleet) -> Iterator[str]:
    """What the specification asks for and these files do not do, a sentence each."""
    if fleet.scaling is not None:
        yield "scaling: jobs do not scale; the number of servers stays that of count"
    if is_loopback(fleet.gateway.host):
        yield (
            f"gateway.host: got {fleet.gateway.host}, where only programs beside the gateway reach it: run it where"
            " clients are; there is no script for a gateway in a job"
        )
    for group in _groups(fleet):
        if fleet.slurm.renew and group.places < 2 * group.count:
            yield (
                f"servers.{group.name}.most: got {group.places}, expected {2 * group.count}: when all jobs are renewed"
                " at once, servers of old and new ones need places in the gateway"
            )


def _groups(fleet: Fleet) -> list[ServerGroup]:
    return [group for group in fleet.servers.values() if group.count]


def _settings_file(shared: Path, group: ServerGroup) -> Path:
    return shared / "jobs" / f"{group.name}.json"


def _settings(
    fleet: Fleet, group: ServerGroup, script: Path, shared: Path, repository: Path, digest: str
) -> JobSettings:
    return JobSettings(
        group.name,
        group.count,
        fleet.slurm.servers,
        script,
        shared,
        repository,
        digest,
        scripts.step_options(group),
        models=fleet.models,
        host=fleet.slurm.host,
        threads=group.threads,
        start_timeout=fleet.start_timeout,
        exit_timeout=fleet.exit_timeout,
        patience=fleet.patience,
    )
