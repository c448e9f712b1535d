"""What a command does before it imports the calibration: the workers' server starts, and imports beside it.

This module imports next to nothing: it is there for what can begin before numpy is loaded.
"""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path
from typing import Final

from beampipe.calibration.config.defaults import OUTPUT
from beampipe.errors import FileError
from beampipe.settings import read_toml
from beampipe.workflow.server import prepare_processes

__all__ = ["WARM", "is_first_run", "prepare_workers"]

WARM: Final = "beampipe.calibration.tasks.warm"
"""Module that loads what workers need; never imported in the process that starts them."""


def prepare_workers(executor: str | Executor) -> None:
    """Let the server of the workers load what they need, beside whatever this process does next.

    Args:
        executor: where tasks will run; see `RunSettings`.
    """
    if executor == "processes":
        prepare_processes((WARM,))


def is_first_run(config: Path, output: Path | None = None) -> bool:
    """Whether nothing was made yet of a configuration, so that there is work for workers for certain.

    Args:
        config: TOML file of the calibration; False if it is none, of which reading it whole will tell.
        output: folder of the results, in place of the one in the file.
    """
    if output is None:
        try:
            output = config.parent / str(read_toml(config, "").get("output", OUTPUT))
        except FileError:
            return False
    return not output.exists()
