"""What a stage costs: wall time, processor time, bytes read and written, and memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from beampipe.chain.telemetry import note, span
from beampipe.errors import ConfigError
from beampipe.settings import build, read_toml
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
    """Make an artifact in a span, and keep its cost beside it; arguments as of `Store.write` and `measured_cost`."""
    notes: dict[str, object] = {}

    def measured(path: Path) -> None:
        with measured_cost(notes, events, inputs):
            make(path)

    with span(recipe.stage, artifact=recipe.label):
        path = store.write(recipe, suffix, measured, notes=notes).path
        note(**notes)
    return path


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


@dataclass(frozen=True)
class Nodes:
    """Nodes of one kind.

    Attributes:
        count: number of nodes.
        cores: number of cores of a node.
        memory_gb: memory of a node [10^9 bytes].
        speed: speed of a core, over that of a core of the machine that ran the chain.
    """

    count: int
    cores: int
    memory_gb: float
    speed: float = 1.0

    def __post_init__(self) -> None:
        if not (self.count > 0 and self.cores > 0 and self.memory_gb > 0 and self.speed > 0):
            raise ConfigError(f"nodes: got {self}, expected numbers above 0")


@dataclass(frozen=True)
class Facility:
    """Where a chain could run.

    Attributes:
        nodes: its nodes, by name of their kind.
    """

    nodes: Mapping[str, Nodes]

    def __post_init__(self) -> None:
        if not self.nodes:
            raise ConfigError("facility: got no nodes, expected a table [nodes.NAME] with count, cores and memory_gb")

    def core_seconds(self, peak: int) -> float:
        """Processor time that all cores give in a second, in those of this machine, if each task needs `peak` bytes."""
        total = 0.0
        for nodes in self.nodes.values():
            total += nodes.count * min(nodes.cores, int(nodes.memory_gb * 1e9 // max(peak, 1))) * nodes.speed
        return total


def read_facility(path: Path) -> Facility:
    """Read the nodes of a facility.

    Raises:
        FileError: the file cannot be read, or is no TOML.
        ConfigError: a key is unknown or missing, or a value is impossible.
    """
    return build(Facility, read_toml(path, "the TOML file of a facility"), str(path), path.parent)


@dataclass(frozen=True)
class Projection:
    """Cost of many events in one stage.

    Attributes:
        stage: name of the stage.
        core_hours: processor time on this machine [h].
        written: bytes written.
        hours: time on all nodes of a facility [h]; infinite if its memory is too small, None without a facility.
    """

    stage: str
    core_hours: float
    written: float
    hours: float | None


def projections(
    costs: Sequence[StageCost], stages: Sequence[str], events: float, facility: Facility | None = None
) -> tuple[Projection, ...]:
    """Costs of that many events, in proportion to those that were measured, and their sum at the end.

    Args:
        costs: measured costs.
        stages: names of the stages whose cost grows with the number of events.
        events: number of events.
        facility: where they would be made.
    """
    rows = []
    for cost in costs:
        if cost.stage in stages and cost.events:
            core_hours, needed = events / cost.events * cost.cpu / 3600, None
            if facility is not None:
                speed = facility.core_seconds(cost.peak)
                needed = core_hours / speed if speed else float("inf")
            rows.append(Projection(cost.stage, core_hours, events / cost.events * cost.written, needed))
    hours = None if facility is None else sum(row.hours or 0.0 for row in rows)
    return (*rows, Projection("all", sum(row.core_hours for row in rows), sum(row.written for row in rows), hours))
