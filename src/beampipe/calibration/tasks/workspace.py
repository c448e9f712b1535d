"""Where a calibration keeps what it makes: the store of artifacts, the log, and the files for people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from beampipe.calibration.config.configuration import Configuration
from beampipe.workflow import EventLog, Store

__all__ = ["FACTORS", "LOG", "REPORT", "Workspace", "workspace_of"]

FACTORS: Final = "factors.json"
"""Name of the file of scale factors in the folder `output`."""

LOG: Final = "log.jsonl"
"""Name of the log of a run in the folder `output`."""

REPORT: Final = "report"
"""Name of the report's folder in the folder `output`."""


@dataclass(frozen=True)
class Workspace:
    """Folders and files of one calibration.

    Attributes:
        store: the artifacts of all stages.
        log: what happened, one line of JSON per event.
        digests: file of digests of the ROOT files, so that none is read for it again.
        factors: file of the scale factors.
        report: folder of the report.
    """

    store: Store
    log: EventLog
    digests: Path
    factors: Path
    report: Path


def workspace_of(configuration: Configuration) -> Workspace:
    """The folders and files of a configuration; nothing is made yet."""
    output = configuration.output
    log = EventLog(output / LOG)
    store = Store(output / "store", log=log)
    return Workspace(store, log, output / "store" / "files.json", output / FACTORS, output / REPORT)
