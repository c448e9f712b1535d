"""What a job of Slurm is told."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from beampipe.errors import FileError
from beampipe.settings import build

__all__ = ["JobSettings", "job_text", "read_job"]


@dataclass(frozen=True)
class JobSettings:
    """The jobs of one group of servers.

    Attributes:
        group: name of the group.
        count: number of its servers.
        servers: number of servers of each job.
        script: script that is submitted once more before a job's time is up.
        shared: folder that all nodes see: registry, secret, logs.
        repository: folder of the models.
        digest: digest of the repository.
        step: options of srun for each server.
        models: names of the models to serve; all of the repository if there are none.
        host: host name or address of a node, with ``{node}`` for its name; None for its name.
        threads: number of threads of the math libraries in each instance; None for what the models say.
        start_timeout: time [s] that a server may take until it answers.
        exit_timeout: time [s] that work in progress may take at its end.
        patience: time [s] without an answer and without work after which a server hangs.
    """

    group: str
    count: int
    servers: int
    script: Path
    shared: Path
    repository: Path
    digest: str
    step: tuple[str, ...]
    models: tuple[str, ...] = ()
    host: str | None = None
    threads: int | None = None
    start_timeout: float = 120.0
    exit_timeout: int = 5
    patience: float = 3.0

    @property
    def ended(self) -> Path:
        """A file that is there once the fleet is to end: no job is submitted any more."""
        return self.shared / "ended"


def job_text(settings: JobSettings) -> str:
    """Settings as the text of a JSON file."""
    return json.dumps(asdict(settings), default=str, indent=1) + "\n"


def read_job(path: Path) -> JobSettings:
    """The settings of a group's jobs.

    Raises:
        FileError: the file cannot be read, or is no JSON.
        ConfigError: it is of another version.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: got {error}, expected the settings of a job, of beampipe fleet slurm") from error
    return build(JobSettings, table, str(path), path.parent)
