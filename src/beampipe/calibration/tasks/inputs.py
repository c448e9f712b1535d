"""The digests of the input files, made in the workers, and the chunks that can start with each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from beampipe.calibration.config.configuration import Configuration
from beampipe.calibration.ntuple.bookkeeping import Bookkeeping
from beampipe.calibration.tasks.chunks import chunk_task
from beampipe.calibration.tasks.inspection import InspectedFile
from beampipe.calibration.tasks.plan import chunks_of, models_of, ranges_of, refuse_same_dataset, settings_of
from beampipe.calibration.tasks.workers import Workers
from beampipe.calibration.tasks.workspace import Workspace
from beampipe.workflow import FileDigests, Looks, Task

__all__ = ["digest_files"]


def digest_files(
    configuration: Configuration,
    files: Mapping[Path, InspectedFile],
    books: Mapping[str, Bookkeeping],
    space: Workspace,
    workers: Workers,
    until: str = "",
) -> dict[Path, InspectedFile]:
    """The files with the digests of all contents, which the keys of chunks are made of.

    A content that was never read is read by a worker. As soon as the digest of a file is known its chunks follow, while
    other files are still read: no chunk waits for all files.

    Args:
        configuration: what the chunks depend on.
        files: the files, of which some have no digest yet.
        books: bookkeeping of the samples that they are of.
        space: memory of digests, and store of the artifacts.
        workers: where the tasks run.
        until: last stage of the chunks that follow: select, predict or fill; empty for none.

    Raises:
        WorkflowError: files changed or chunks failed; all others are done and kept.
        UnknownNameError: a pattern of a systematic matches no weight or variation.
        FileError: simulation and data have the same name of a dataset.
    """
    refuse_same_dataset(books, configuration)
    samples = {path: name for name in books for path in configuration.samples[name].files}
    settings = {name: settings_of(configuration, configuration.samples[name], kept) for name, kept in books.items()}
    new = {str(path): file for path, file in files.items() if not file.digest}
    models = models_of(configuration)
    found = dict(files)

    def follow(task: Task[Any], digest: str | None) -> Iterable[Task[Any]]:
        file = new.get(task.label)
        if file is None or digest is None:
            return []
        found[file.path] = file = replace(file, digest=digest)
        if not until:
            return []
        chunks = chunks_of(configuration, file, settings[samples[file.path]], models)
        return [chunk_task(space.store, chunk, until) for chunk in chunks if chunk.lacks(until, space.store)]

    digests = FileDigests(space.digests)
    tasks = [Task(label, _digest, (digests, file.path, file.looks)) for label, file in new.items()]
    n_chunks = sum(len(ranges_of(file, configuration.chunk_events)) for file in new.values()) if until else 0
    workers.run(f"reading files, {until}" if until else "reading files", tasks, follow=follow, more=n_chunks)
    return found


def _digest(digests: FileDigests, path: Path, looks: Looks | None) -> str:
    """The task that reads one file."""
    return digests.of(path, looks)
