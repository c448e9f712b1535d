"""Learn a whole tracker model: windows, networks and cuts of every stem, the card, and the validation report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Any, Final, Literal

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.tracking.beam_spot import ON_AXIS, BeamSpot
from beampipe.tracking.events import Event
from beampipe.tracking.fitting.chains import FIT_RECIPE
from beampipe.tracking.fitting.learning import train_fit_tables
from beampipe.tracking.loading import FIT
from beampipe.tracking.models import Layout, TrackerModel
from beampipe.tracking.models.layout import layers_of
from beampipe.tracking.models.model import Digest, Origin
from beampipe.tracking.models.writing import new_folder, versions, weights_of, write_model
from beampipe.tracking.training.recipe import recipe, train
from beampipe.tracking.training.samples import Degrading
from beampipe.tracking.training.tracker.damage import damaged
from beampipe.tracking.training.tracker.effort import EFFORTS, Effort, adapted_recipe, adapted_windows, seen_share
from beampipe.tracking.training.tracker.page import write_report
from beampipe.tracking.training.tracker.sample import SPLIT, TrainingSample, prepare
from beampipe.tracking.training.tracker.validation import validate
from beampipe.tracking.training.windows import WINDOW_RECIPES, learn_windows, write_windows
from beampipe.tracking.windows import load_windows

__all__ = ["PARTS", "Part", "Task", "learn_model"]

_TAUGHT: Final = (Degrading(0.0, 0.0, 0.0), Degrading(0.02, 0.01, 0.0), Degrading(0.05, 0.02, 0.0))
"""Losses of the events that windows are learned from, in turn: tracks with and without missing hits are learned."""


@dataclass(frozen=True)
class Part:
    """One stem of a tracker model and what it is learned with.

    Attributes:
        stem: stem of the weights; also the name of the recipe.
        kind: what it is: windows, networks, or the tables of the track fit.
        windows: stem of the windows that give networks their pair features, and the fit its layers; None for windows.
        soft: whether it is learned only if soft tracks are asked for.
        displaced: whether it is learned only if displaced tracks are asked for.
    """

    stem: str
    kind: Literal["windows", "networks", "fit"]
    windows: str | None = None
    soft: bool = False
    displaced: bool = False


PARTS: Final[Mapping[str, Part]] = MappingProxyType(
    {
        part.stem: part
        for part in (
            Part("module_map", "windows"),
            Part(FIT, "fit", windows="module_map"),
            Part("exatrkx", "networks", windows="module_map"),
            Part("module_map_displaced", "windows", displaced=True),
            Part("module_map_soft", "windows", soft=True),
            Part("exatrkx_soft", "networks", windows="module_map_soft", soft=True),
        )
    }
)
"""The parts of a model, in the order in which they are learned."""


@dataclass(frozen=True)
class Task:
    """What is to be learned.

    Attributes:
        name: name of the model.
        for_what: detector and events that it is for, in one line; made from the name if empty.
        effort: how much of the full training is done.
        soft: whether to learn the soft parts, too.
        displaced: whether to learn the windows of displaced tracks, too.
        only: stems that are learned, others are not; empty for all.
        command: command that was typed, for the card.
        inputs: digests of the files of events, for the card.
        beam_spot: beam line in the frame of the hits.
        field: magnetic field [T]; measured if None.
        log: file of JSON lines that metrics of the trainings are appended to, or None.
        min_layers: fewest layers of a reconstructable particle; told by the events if None.
        min_hits: fewest hits of a track that is scored in the report; as many as layers if None.

    Raises:
        UnknownNameError: `only` names no part.
        ConfigError: networks are asked for without their windows.
    """

    name: str
    for_what: str = ""
    effort: Effort = EFFORTS["normal"]
    soft: bool = False
    displaced: bool = False
    only: tuple[str, ...] = ()
    command: str = ""
    inputs: Mapping[str, Digest] = field(default_factory=dict)
    beam_spot: BeamSpot = ON_AXIS
    field: float | None = None
    log: Path | None = None
    min_layers: int | None = None
    min_hits: int | None = None

    def __post_init__(self) -> None:
        for stem in self.only:
            if stem not in PARTS:
                raise UnknownNameError("part of a tracker model", stem, PARTS)
        for part in self.parts:
            if part.windows is not None and PARTS[part.windows] not in self.parts:
                raise ConfigError(
                    f"--only: got {part.stem} without {part.windows}, expected both; its features need it"
                )

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that are learned."""
        if self.only:
            return tuple(part for part in PARTS.values() if part.stem in self.only)
        wanted = {"soft": self.soft, "displaced": self.displaced}
        return tuple(part for part in PARTS.values() if all(wanted[kind] or not getattr(part, kind) for kind in wanted))


def learn_model(
    events: Iterable[Event],
    folder: Path,
    task: Task,
    *,
    soft_events: Iterable[Event] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> TrackerModel:
    """Learn a model and write its folder, which appears when it is complete.

    Args:
        events: clean events with truth.
        folder: folder to write; a new one, or an empty one.
        task: what is to be learned.
        soft_events: events that the soft parts are learned from, in place of `events`.
        say: told in a line what was done.

    Returns:
        The model, with what was measured of it.

    Raises:
        ConfigError: events are too few, tell no layers or another field, or windows cannot be learned.
        InputError: an event has no truth.
        FileError: there is something in the folder already, or it cannot be written.
    """
    with new_folder(folder) as building:
        sample = prepare(events, task.beam_spot, task.field, task.min_layers)
        say(_seen(sample))
        soft = sample
        if soft_events is not None:
            soft = prepare(soft_events, task.beam_spot, task.field, task.min_layers)
        floors = {}
        for part in task.parts:
            start = perf_counter()
            floors[part.stem], told = _learn(part, building, task, soft if part.soft else sample)
            say(f"{part.stem}: {told}; {perf_counter() - start:.0f} s")
        model = _card(building, task, sample, floors)
        write_model(model)
        scored = sample.scored[: task.effort.scored]
        start = perf_counter()
        about = f"{len(scored)} events that were not learned from"
        validation = validate(model, scored, about, min_hits=task.min_hits, has_modules=sample.layers.has_modules)
        model = replace(model, performance=validation.performance())
        write_model(model)
        write_report(model, validation, building)
        say(f"validation: {len(scored)} events, {len(model.performance)} pipelines; {perf_counter() - start:.0f} s")
    return replace(model, path=folder)


def _seen(sample: TrainingSample) -> str:
    layers = sample.layers
    told = f"{len(layers.events)} events, {sample.hits:.0f} hits each; {sample.field:.3g} T"
    told += f"; {layers.n_layers} layers, told by {layers.source}"
    if not layers.has_modules:
        told += "; no modules are known, so none are switched off in training"
    return f"{told}; {sample.crossing}"


def _learn(part: Part, folder: Path, task: Task, sample: TrainingSample) -> tuple[float, str]:
    """Learn one part; its lowest pT, and what came out in words."""
    out = folder / f"{part.stem}.safetensors"
    about = {"command": task.command, "data": list(task.inputs), "effort": task.effort.name, "split": SPLIT}
    if part.windows is None:
        return _learn_windows(part.stem, out, about, sample)
    if part.kind == "fit":
        layers = load_windows(folder / f"{part.windows}.safetensors").layers
        tables = train_fit_tables(sample.taught, layers, out, about, sample.field)
        return FIT_RECIPE.pt_min, f"resolution and scattering of {len(tables.layers)} layers"
    config = adapted_recipe(recipe(part.stem), task.effort, sample)
    chooses = sample.chooses[: task.effort.chooses * config.overlay]
    windows = load_windows(folder / f"{part.windows}.safetensors")
    metrics = train(config, sample.taught, chooses, windows, out, log=task.log, about=about)
    if task.log is not None:
        task.log.with_suffix(".embedding.safetensors").unlink(missing_ok=True)
    chosen: Any = metrics["tracks"]["chosen"]
    told = f"efficiency {chosen['efficiency']:.4f}, fakes {chosen['fake_rate']:.4f} by components at {chosen['cut']:g}"
    return config.gnn.pt_min, told


def _learn_windows(stem: str, out: Path, about: Mapping[str, Any], sample: TrainingSample) -> tuple[float, str]:
    config = adapted_windows(WINDOW_RECIPES[stem], sample)
    levels = [level if sample.layers.has_modules else replace(level, dead_modules=0.0) for level in _TAUGHT]
    # Of many events each is seen at one level, of few at all: tracks with missing hits are as many as that allows.
    turns = range(1 if seen_share(sample) == 1 else len(levels))
    events = [
        damaged(event, levels[(k + turn) % len(levels)], seed=len(levels) * k + turn)
        for k, event in enumerate(sample.taught)
        for turn in turns
    ]
    made = write_windows(out, learn_windows(events, config), config, {"events": len(sample.taught), **about})
    if not made["triples"]:
        raise ConfigError(f"{stem}: got no triple of layers that enough tracks cross, expected some; use more events")
    return config.pt_min, ", ".join(f"{number} {what}" for what, number in made.items())


def _card(folder: Path, task: Task, sample: TrainingSample, floors: Mapping[str, float]) -> TrackerModel:
    windows = next(part.stem for part in task.parts if part.kind == "windows")
    layout = Layout(layers_of(load_windows(folder / f"{windows}.safetensors").layers), sample.field, task.beam_spot)
    networks = [recipe(part.stem) for part in task.parts if part.kind == "networks"]
    seeds = sorted({seed for one in networks for seed in (one.embedding.seed, one.edge_filter.seed, one.gnn.seed)})
    origin = Origin(
        command=task.command,
        versions=versions(torch=bool(networks)),
        seeds=tuple(seeds),
        events=len(sample.taught),
        validation_events=len(sample.chooses) + len(sample.scored),
        inputs=task.inputs,
    )
    from_what = ", ".join(task.inputs) or "events"
    for_what = task.for_what or f"{sample.layers.n_layers} layers in {sample.field:.3g} T, learned from {from_what}"
    weights = weights_of(folder, floors)
    return TrackerModel(folder, task.name, for_what, layout, weights, origin, crossing=sample.crossing)
