"""The end of a fleet, also of one whose keeper was killed."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from beampipe import processes
from beampipe.errors import ServiceError, ServiceUnavailableError
from beampipe.fleet.gateway.process import gateway_pids
from beampipe.fleet.registry import read_records
from beampipe.fleet.running.folder import RunFolder, folder_of
from beampipe.fleet.running.line import give_order
from beampipe.fleet.running.starting import keeper_of
from beampipe.fleet.specification import read_fleet
from beampipe.fleet.watching.prometheus import prometheus_pids

__all__ = ["end_fleet"]

_LOOK: Final = 0.1
_LONGEST: Final = 60.0


def end_fleet(specification: Path, folder: Path | None = None) -> str:
    """End a fleet and wait until it has ended.

    Args:
        specification: the TOML file.
        folder: its run folder; None for the usual one.

    Returns:
        What was done, in words.

    Raises:
        ServiceError: it does not end.
    """
    fleet = read_fleet(specification)
    run = folder_of(fleet.name, folder)
    if (keeper := keeper_of(run)) is not None:
        try:
            give_order(run.socket, {"do": "down"})
        except ServiceUnavailableError:  # it takes no orders yet, or ends already
            with suppress(ProcessLookupError):
                os.kill(keeper, signal.SIGTERM)
        deadline = time.monotonic() + _LONGEST + fleet.exit_timeout
        while processes.is_alive(keeper):
            if time.monotonic() > deadline:
                raise ServiceError(f"{run.path}: got a fleet that does not end; its log is {run.logs / 'keeper.log'}")
            time.sleep(_LOOK)
        return f"{fleet.name}: ended"
    ended = _end_remains(run)
    return f"{fleet.name}: did not run" + (f"; ended {ended} process(es) that an earlier one had left" if ended else "")


def _end_remains(run: RunFolder) -> int:
    """End servers and gateway whose keeper is gone."""
    pids = {record.pid for record in read_records(run.registry).values() if record.lives()}
    pids |= gateway_pids(run.path) | prometheus_pids(run.prometheus)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _LONGEST
    while any(processes.is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(_LOOK)
    return len(pids)
