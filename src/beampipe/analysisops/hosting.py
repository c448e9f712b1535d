"""The host as it stands for assessments: which tasks, which instances, where records are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from beampipe.analysisops.choosing import judge_choice
from beampipe.analysisops.evaluating import Conditions, host_assess, task_folder
from beampipe.analysisops.host.messages import HostSettings
from beampipe.analysisops.host.server import Address, serve_host
from beampipe.analysisops.runs import Seeds
from beampipe.analysisops.tasks.load import load_task, shipped_tasks
from beampipe.analysisops.tools.server import LOOPBACK

__all__ = ["serve_green"]


def serve_green(
    address: Address,
    tasks: Sequence[str],
    instances: int,
    secret: Path | None,
    folder: Path,
    *,
    judge: str = "offline",
    tools_host: str = LOOPBACK,
) -> None:
    """Serve the host until the process is told to stop.

    Args:
        address: where it listens, and under which address clients reach it.
        tasks: names or folders of tasks; all that are shipped if there are none.
        instances: number of instances of each task, where a request names none.
        secret: file of the secret that their seeds are made of; None for development seeds.
        folder: for instances and records; no agent may read it.
        judge: who looks at the words: ``offline``, ``none``, or the TOML file of a model.
        tools_host: name or address of this machine at which agents elsewhere reach their tools.

    Raises:
        UnknownNameError: there is no such task or judge.
        FileError: the secret cannot be used.
    """
    names = [load_task(task_folder(name)).id for name in tasks or shipped_tasks()]
    seeds = tuple(seed.value for seed in Seeds.first(instances, secret).of("host"))
    # As text alone: the public platform counts a part of text and one of data as two results.
    settings = HostSettings(tuple(names), seeds, results="text")
    conditions = Conditions(folder / "instances", judge_choice(judge), tools_host)
    assess = host_assess(tasks or tuple(shipped_tasks()), folder / "records", conditions=conditions)
    serve_host(assess, settings, address)
