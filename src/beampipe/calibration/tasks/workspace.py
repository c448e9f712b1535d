"""Where a calibration keeps what it makes: the store of artifacts, the log, and the files for people."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Final

from beampipe.calibration.config.configuration import Configuration
from beampipe.errors import FileError
from beampipe.workflow import EventLog, Store

__all__ = ["FACTORS", "LOG", "REPORT", "Workspace", "to_read", "workspace_of"]

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
        digests: folder of digests of the ROOT files, so that none is read for it again.
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
    # What a power failure takes is seen by its digest, and made again: no worker waits for a disk.
    store = Store(output / "store", durable=False, log=log)
    return Workspace(store, log, output / "store" / ".files", output / FACTORS, output / REPORT)


@contextmanager
def to_read(space: Workspace) -> Iterator[Workspace]:
    """The same folders for who only reads: what may not be written there is kept apart, and forgotten with the block.

    Raises:
        FileError: something is missing or damaged, and the store may not be written to.
    """
    root = space.store.root
    if not root.exists() or os.access(root, os.W_OK):
        yield space
        return
    with TemporaryDirectory() as folder:
        digests = Path(folder) / space.digests.name
        if space.digests.is_dir():
            copytree(space.digests, digests)
        try:
            yield replace(space, store=Store(root), log=EventLog(Path(folder) / LOG), digests=digests)
        except FileError:
            raise
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            message = f"{root}: may not be written to ({error.strerror}), but lacks something, or it is damaged"
            raise FileError(f"{message}; run the calibration where it may", path=root) from error
