"""Workflows in stages: artifacts in a store, tasks in a pool. A run may be killed at any time and resumed.

This package contains no physics. A stage writes a `Recipe` for each artifact. The key of a recipe is a digest of the
stage's code, its parameters and the keys of its inputs. `run` runs the tasks of a stage in a `Pool`, a few at a time.
Each task commits its own artifact to the `Store` and returns a small value. A committed artifact is not made again, and
a repeated run gives the same bytes::

    store = Store(Path("store"), log=EventLog(Path("store/events.jsonl")))
    with open_pool("processes", workers=8) as pool:
        paths = run([Task(recipe.label, make_one, (store, recipe)) for recipe in recipes], pool)

digests    digests of values, files and code, from which keys are computed
store      recipes, artifacts on disk (written atomically, verified when read) and the event log
leases     at most one process does a piece of work; a lease ends when its holder dies
pools      where tasks run: this process, worker processes, dask, Slurm or any executor
running    runs many tasks in a pool: retries, lost workers, errors

Most of the code handles failures: a full disk, a truncated file, a killed worker or driver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.workflow.digests import (
        FileDigests,
        FileStamp,
        canonical,
        code_digest,
        content_digest,
        digest_of,
        file_digest,
        remembering_code,
    )
    from beampipe.workflow.leases import leased
    from beampipe.workflow.pools import (
        POOLS,
        Pool,
        SlurmOptions,
        fork_processes,
        installed,
        installed_version,
        open_pool,
        prepare_processes,
    )
    from beampipe.workflow.running import Task, run
    from beampipe.workflow.store import Artifact, EventLog, Input, Provenance, Recipe, Store

__all__ = [
    "POOLS",
    "Artifact",
    "EventLog",
    "FileDigests",
    "FileStamp",
    "Input",
    "Pool",
    "Provenance",
    "Recipe",
    "SlurmOptions",
    "Store",
    "Task",
    "canonical",
    "code_digest",
    "content_digest",
    "digest_of",
    "file_digest",
    "fork_processes",
    "installed",
    "installed_version",
    "leased",
    "open_pool",
    "prepare_processes",
    "remembering_code",
    "run",
]

__getattr__, __dir__ = loader(
    __name__,
    {
        "digests": [
            "FileDigests",
            "FileStamp",
            "canonical",
            "code_digest",
            "content_digest",
            "digest_of",
            "file_digest",
            "remembering_code",
        ],
        "leases": ["leased"],
        "pools": [
            "POOLS",
            "Pool",
            "SlurmOptions",
            "fork_processes",
            "installed",
            "installed_version",
            "open_pool",
            "prepare_processes",
        ],
        "running": ["Task", "run"],
        "store": ["Artifact", "EventLog", "Input", "Provenance", "Recipe", "Store"],
    },
)
