"""A toy workflow: artifacts made of numbers, then their sum. Its functions run in workers."""

from __future__ import annotations

import os
import signal
import sys
import time
import weakref
from functools import partial
from pathlib import Path

from beampipe.errors import ColumnError, UnknownNameError
from beampipe.workflow import EventLog, Input, Pool, Recipe, Store, Task, open_pool, run

SLOW = 0.03


def square(number: int) -> int:
    return number * number


def square_slowly(number: int) -> int:
    time.sleep(SLOW)
    return number * number


def who_am_i(_: int) -> int:
    time.sleep(SLOW)
    return os.getpid()


def node_name(_: int) -> str:
    time.sleep(SLOW)
    return os.environ["SLURMD_NODENAME"]


class Ring:
    """An object that refers to itself: only the collector of garbage ends it."""

    def __init__(self) -> None:
        self.ring = self


RINGS: list[weakref.ref[Ring]] = []


def leave_a_ring(_: int) -> int:
    """The number of rings that earlier tasks of this worker have left."""
    left = sum(ring() is not None for ring in RINGS)
    RINGS.append(weakref.ref(Ring()))
    return left


def refuse(number: int) -> int:
    raise ColumnError(f"column {number} is missing")


def refuse_name(name: str) -> int:
    raise UnknownNameError("sample", name, ["dijet"])


def fail_by_mistake(number: int) -> int:
    raise ZeroDivisionError(f"mistake {number}")


def fail_until(folder: Path, times: int) -> int:
    """An OSError the first few times, as a disk that is busy gives."""
    seen = len(list(folder.iterdir()))
    (folder / str(seen)).touch()
    if seen < times:
        raise OSError(5, "busy")
    return seen


def die(_: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def _write(number: int, slow: float, path: Path) -> None:
    half = bytes([number % 251]) * 5000
    with path.open("wb") as stream:
        stream.write(half)
        stream.flush()
        time.sleep(slow)
        stream.write(half)


def make_part(store: Store, recipe: Recipe, slow: float = SLOW) -> str:
    number = recipe.parameters
    assert isinstance(number, int)
    return store.get(recipe, ".bin", partial(_write, number, slow)).name


def make_sum(store: Store, recipe: Recipe, parts: list[Recipe]) -> str:
    def write(path: Path) -> None:
        path.write_text(str(sum(sum(store.require(part).read_bytes()) for part in parts)))

    return store.get(recipe, ".txt", write).read_text()


def recipes(count: int) -> tuple[list[Recipe], Recipe]:
    parts = [Recipe("part", "1", number, label=f"part {number}") for number in range(count)]
    inputs = tuple(Input("part", part.key, part.label) for part in parts)
    return parts, Recipe("sum", "1", None, inputs, label="sum")


def run_toy(store: Store, pool: Pool, count: int, slow: float = SLOW) -> str:
    parts, total = recipes(count)
    run([Task(part.label, make_part, (store, part, slow)) for part in parts], pool, log=store.log, pause=0.01)
    return run([Task("sum", make_sum, (store, total, parts))], pool, log=store.log, pause=0.01)[0]


def open_store(folder: Path) -> Store:
    return Store(folder / "store", log=EventLog(folder / "events.jsonl"))


if __name__ == "__main__":
    store = open_store(Path(sys.argv[1]))
    store.sweep()
    with open_pool("processes", 2) as processes:
        print(run_toy(store, processes, int(sys.argv[2])))


def pretend_other_versions() -> None:
    """Let this process, a worker, take itself for one with other packages."""
    import importlib.metadata

    from beampipe.workflow import pools

    importlib.metadata.version = lambda distribution_name: "0.0.1"
    pools.cached_environment.cache_clear()


def whose_child(_: int) -> tuple[int, bool]:
    """The parent of this process, and whether it has loaded a module that nobody here uses."""
    time.sleep(SLOW)
    return os.getppid(), "colorsys" in sys.modules


def die_once(mark: str) -> int:
    """Kills this process, unless one was killed before; gives its parent."""
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return os.getppid()
    os.kill(os.getpid(), signal.SIGKILL)
    return 0
