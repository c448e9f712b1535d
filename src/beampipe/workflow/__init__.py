"""Machinery for work in stages: artifacts in a store, tasks in a pool; safe to kill, the same bytes again.

It knows nothing of physics. A stage has a `Recipe` for each artifact, whose key is made of the stage's code, its
parameters and the keys of its inputs. `run` runs the stage's tasks in a `Pool`, a few at a time; each commits its own
artifact to the `Store` and returns something small. What is committed is never made again, and never lost::

    store = Store(Path("store"), log=EventLog(Path("store/events.jsonl")))
    with open_pool("processes", workers=8) as pool:
        paths = run([Task(recipe.label, make_one, (store, recipe)) for recipe in recipes], pool)

digest: keys. events: what happened. store: artifacts. pool, clusters: workers. run: tasks. More lines than that
sounds like: a third are contracts in docstrings, and most of the others deal with what goes wrong: a full disk, a torn
file, a killed worker or driver.
"""

from beampipe.workflow.clusters import SlurmOptions
from beampipe.workflow.digest import FileDigests, canonical, code_digest, digest_of, file_digest
from beampipe.workflow.events import EventLog
from beampipe.workflow.pool import POOLS, Pool, open_pool, prepare_processes
from beampipe.workflow.run import Task, run
from beampipe.workflow.store import Artifact, Input, Provenance, Recipe, Store

__all__ = [
    "POOLS",
    "Artifact",
    "EventLog",
    "FileDigests",
    "Input",
    "Pool",
    "Provenance",
    "Recipe",
    "SlurmOptions",
    "Store",
    "Task",
    "canonical",
    "code_digest",
    "digest_of",
    "file_digest",
    "open_pool",
    "prepare_processes",
    "run",
]
