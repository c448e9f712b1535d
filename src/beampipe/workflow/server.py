"""The server that worker processes are forked from; a command can start it before it imports anything else."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing import forkserver

from beampipe.processes import holding_interrupts

__all__ = ["prepare_processes"]


def prepare_processes(preload: Sequence[str]) -> None:
    """Start the server that worker processes are forked from, without waiting for it.

    Args:
        preload: modules that the server imports first; they must start no thread. A server that runs already is not
            changed.
    """
    multiprocessing.set_forkserver_preload(list(preload))
    with holding_interrupts():
        forkserver.ensure_running()
