"""Work in stages: artifacts in a store, tasks in a pool. It may be killed at any time, and gives the same bytes again.

This room knows no physics. A stage writes a `Recipe` for each artifact, whose key is made of the stage's code, its
parameters and the keys of its inputs. `run` runs the stage's tasks in a `Pool`, a few at a time. Each task commits its
own artifact to the `Store` and returns something small. What is committed is never made again, and never lost::

    store = Store(Path("store"), log=EventLog(Path("store/events.jsonl")))
    with open_pool("processes", workers=8) as pool:
        paths = run([Task(recipe.label, make_one, (store, recipe)) for recipe in recipes], pool)

digest     digests of settings and files, which keys are made of
code       digests of code, which keys are made of, too
recipe     what determines an artifact, and its key
store      artifacts on disk: written whole or not at all, checked when read
leases     of many processes one does a piece of work, and whatever kills it ends its lease
events     a log of what happened
pool       where tasks run: here, in processes, or in any executor
clusters   the same in dask and Slurm
alike      workers elsewhere compute with the same code and packages, or not at all
running    many tasks in a pool: which are tried again, and which are at fault

Most of the lines deal with what goes wrong: a full disk, a torn file, a killed worker or driver.
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
