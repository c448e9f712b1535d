"""What a stage costs: wall time, processor time, bytes read and written, and memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from beampipe.workflow import Recipe, Store

_STATUS: Final = Path("/proc/self/status")
_CLEAR: Final = Path("/proc/self/clear_refs")


@contextmanager
def measured_cost(notes: dict[str, object], events: int, inputs: Sequence[Path]) -> Iterator[None]:
    """Measure a block, and put its cost into `notes`: seconds, processor seconds, bytes read, peak memory, events.

    The peak memory is that of the process during the block: what was loaded before counts.

    Args:
        notes: mapping that is filled when the block ends.
        events: number of events that the block handles.
        inputs: files that it reads.
    """
    with suppress(OSError):  # without it the peak is that of the whole life of the process
        _CLEAR.write_text("5")
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    notes |= {
        "wall": round(time.perf_counter() - wall, 6),
        "cpu": round(time.process_time() - cpu, 6),
        "read": sum(path.stat().st_size for path in inputs),
        "peak": _peak_memory(),
        "events": events,
    }


def measured_artifact(
    store: Store, recipe: Recipe, suffix: str, make: Callable[[Path], None], events: int, inputs: Sequence[Path] = ()
) -> Path:
    """Make an artifact and keep its cost beside it; arguments as of `Store.write` and `measured_cost`."""
    notes: dict[str, object] = {}

    def measured(path: Path) -> None:
        with measured_cost(notes, events, inputs):
            make(path)

    return store.write(recipe, suffix, measured, notes=notes).path


def _peak_memory() -> int:
    """Largest resident memory of this process since the last reset [bytes]."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


@dataclass(frozen=True)
class StageCost:
    """Cost of one stage, summed over its artifacts.

    Attributes:
        stage: name of the stage.
        artifacts: number of artifacts.
        events: number of events.
        wall: wall time [s].
        cpu: processor time [s].
        read: bytes read.
        written: bytes written.
        peak: largest memory of a process while it worked on the stage [bytes].
    """

    stage: str
    artifacts: int
    events: int
    wall: float
    cpu: float
    read: int
    written: int
    peak: int


def stage_costs(store: Store, recipes: Sequence[Recipe]) -> tuple[StageCost, ...]:
    """Costs of the stages of some artifacts, in the order in which the stages first appear.

    The costs are those of the run that made an artifact, whether it is this one or an earlier one.
    """
    by_stage: dict[str, list[dict[str, Any]]] = {}
    for recipe in {recipe.key: recipe for recipe in recipes}.values():
        if store.find(recipe) is not None:
            about = store.about(recipe.key)
            by_stage.setdefault(recipe.stage, []).append({**about["notes"], "written": about["size"]})
    return tuple(
        StageCost(
            stage,
            len(notes),
            sum(note.get("events", 0) for note in notes),
            sum(note.get("wall", 0.0) for note in notes),
            sum(note.get("cpu", 0.0) for note in notes),
            sum(note.get("read", 0) for note in notes),
            sum(note["written"] for note in notes),
            max(note.get("peak", 0) for note in notes),
        )
        for stage, notes in by_stage.items()
    )
