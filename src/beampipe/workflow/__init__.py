"""Workflows in stages: artifacts in a store, tasks in a pool. A run may be killed at any time and resumed.

This package contains no physics. A stage writes a `Recipe` for each artifact. The key of a recipe is a digest of the
stage's code, its parameters and the keys of its inputs. `run` runs the tasks of a stage in a `Pool`, a few at a time.
Each task commits its own artifact to the `Store` and returns a small value. A committed artifact is not made again, and
a repeated run gives the same bytes::

    store = Store(Path("store"), log=EventLog(Path("store/events.jsonl")))
    with open_pool("processes", workers=8) as pool:
        paths = run([Task(recipe.label, make_one, (store, recipe)) for recipe in recipes], pool)

digests    a cache of the digests of large files
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
    from beampipe.identity import FileStamp as FileStamp
    from beampipe.identity import canonical as canonical
    from beampipe.identity import code_digest as code_digest
    from beampipe.identity import content_digest as content_digest
    from beampipe.identity import digest_of as digest_of
    from beampipe.identity import file_digest as file_digest
    from beampipe.identity import installed_version as installed_version
    from beampipe.identity import remembering_code as remembering_code
    from beampipe.workflow.digests import FileDigests as FileDigests
    from beampipe.workflow.leases import leased as leased
    from beampipe.workflow.pools import POOLS as POOLS
    from beampipe.workflow.pools import Pool as Pool
    from beampipe.workflow.pools import SlurmOptions as SlurmOptions
    from beampipe.workflow.pools import fork_processes as fork_processes
    from beampipe.workflow.pools import installed as installed
    from beampipe.workflow.pools import open_pool as open_pool
    from beampipe.workflow.pools import prepare_processes as prepare_processes
    from beampipe.workflow.running import Task as Task
    from beampipe.workflow.running import run as run
    from beampipe.workflow.store import Artifact as Artifact
    from beampipe.workflow.store import EventLog as EventLog
    from beampipe.workflow.store import Input as Input
    from beampipe.workflow.store import Provenance as Provenance
    from beampipe.workflow.store import Recipe as Recipe
    from beampipe.workflow.store import Store as Store

__getattr__, __dir__, __all__ = loader(__name__)
