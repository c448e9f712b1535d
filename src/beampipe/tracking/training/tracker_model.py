"""Learn a complete tracker model: windows, networks and cuts of every part, its card, and its validation page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from math import ceil
from pathlib import Path
from shutil import copyfile
from time import perf_counter
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from beampipe.errors import ConfigError, FileError
from beampipe.events import Event
from beampipe.simulation.detector import modules_of_layout, read_layout
from beampipe.terminal import bar, overall_bar
from beampipe.tracking.models import Origin, TrackerGeometry, TrackerModel, name_layers, weight_file
from beampipe.tracking.models.card import new_folder, verdict, versions, weights_of, write_model
from beampipe.tracking.strips import STRIPS, save_strips
from beampipe.tracking.training.detector import (
    AGREEMENT,
    SPLIT,
    EventsOfFiles,
    TrainingSample,
    about_beam_spot,
    inspect_events,
    measured_field,
    prepare,
    require_field,
)
from beampipe.tracking.training.fit_tables import FIT_RECIPE, train_fit_tables
from beampipe.tracking.training.recipe import TrainingRecipe, recipe, train
from beampipe.tracking.training.samples import KinematicWindows, TrainingDegradation, degraded_event
from beampipe.tracking.training.task import Part, Task, TrainingBudget
from beampipe.tracking.training.validation import validate, write_report
from beampipe.tracking.training.windows import WINDOW_RECIPES, WindowConfig, learn_windows, write_windows
from beampipe.tracking.truth import Selection, select_particles
from beampipe.tracking.windows import load_windows

_FIELD: Final = 2.0
"""Field [T] that the recipes are tuned for."""

_HITS: Final = 90_000
"""Hits per event that the recipe of the networks for hard tracks is tuned for."""

_MANY_HITS: Final = 1_500_000
"""Hits in all events from which on the full `min_triplets` of a recipe is required."""

_FEWEST_TRIPLETS: Final = 5
"""Lower limit of `min_triplets`, however few events there are."""

FEWEST_PARTICLES: Final = 1000
"""Reconstructable particles in all events from which on a usable model is likely."""

_FULL_TURN: Final = 6.3
"""Width of a wedge [rad] that is the whole event."""


def adapted_windows(config: WindowConfig, sample: TrainingSample) -> WindowConfig:
    """The windows for another field and luminous region, and for fewer hits: fewer triplets are then enough."""
    fewest = min(config.min_triplets, max(_FEWEST_TRIPLETS, round(seen_share(sample) * config.min_triplets)))
    return replace(
        config,
        kappa_max=config.kappa_max * sample.field / _FIELD,
        vertex_z_max=max(config.vertex_z_max, float(round(1.05 * sample.z_reach))),
        min_triplets=fewest,
    )


def require_enough(sample: TrainingSample) -> None:
    """Refuse events from which no usable model can be learned.

    Args:
        sample: the events.

    Raises:
        ConfigError: they have fewer than `FEWEST_PARTICLES` reconstructable particles.
    """
    events = sample.layers.events
    counted = Selection(min_layers=sample.crossing.min_layers)
    particles = sum(int(select_particles(event, counted).sum()) for event in events)
    if particles >= FEWEST_PARTICLES:
        return
    missing = ceil((FEWEST_PARTICLES - particles) * len(events) / max(particles, 1))
    raise ConfigError(
        f"training: got {particles} particles to find in {len(events)} events ({counted}), expected {FEWEST_PARTICLES}"
        f" or more; add about {missing} events like these, or take events with more pile-up;"
        " --force learns a poor model from what there is"
    )


def seen_share(sample: TrainingSample) -> float:
    """Number of training hits relative to that for which recipes are tuned, at most 1."""
    return min(1.0, len(sample.taught) * sample.hits / _MANY_HITS)


def adapted_recipe(recipe: TrainingRecipe, effort: TrainingBudget, sample: TrainingSample) -> TrainingRecipe:
    """A recipe for another field, density and luminous region, and for less time.

    Wedges hold about as many hits as those of the recipe; small events are laid over each other.
    """
    embedding, edge_filter, gnn = recipe.embedding, recipe.edge_filter, recipe.gnn
    bend, density = sample.field / _FIELD, max(sample.hits, 1.0) / _HITS
    overlay = _overlay(sample)
    windows = KinematicWindows(
        embedding.windows.kappa_max * bend, max(embedding.windows.z0_max, round(sample.z_reach) + 20.0)
    )
    laid_over = sample.hits * overlay
    sector = float(np.clip(2 * np.pi * effort.queries / laid_over, 0.15, 1.3))
    degrading = _possible(embedding.degrading, sample)
    wedge = float(np.clip(gnn.wedge / (density * overlay), 0.5, _FULL_TURN))

    def fewer(steps: int) -> int:
        return max(20, round(effort.share * steps))

    return replace(
        recipe,
        embedding=replace(
            embedding,
            steps=fewer(embedding.steps),
            windows=windows,
            sector=sector,
            border=embedding.border * bend,
            degrading=degrading,
        ),
        edge_filter=replace(
            edge_filter,
            steps=fewer(edge_filter.steps),
            events=min(edge_filter.events, effort.graph_events),
            degrading=degrading,
        ),
        gnn=replace(gnn, steps=fewer(gnn.steps), wedge=wedge),
        graph_events=min(recipe.graph_events, effort.graph_events * overlay),
        overlay=overlay,
        validation=_possible(recipe.validation, sample),
        selection=replace(recipe.selection, min_layers=sample.crossing.min_layers),
        min_hits=sample.crossing.min_layers,
    )


def _overlay(sample: TrainingSample) -> int:
    """How many small events take the place of one."""
    return max(1, round(17_000 / max(sample.hits, 1.0)))


def _possible(degrading: TrainingDegradation, sample: TrainingSample) -> TrainingDegradation:
    """The degradation, without dead modules where the modules of the detector are unknown."""
    return degrading if sample.layers.has_modules else replace(degrading, dead_modules=0.0)


_TAUGHT: Final = (
    TrainingDegradation(0.0, 0.0, 0.0),
    TrainingDegradation(0.02, 0.01, 0.0),
    TrainingDegradation(0.05, 0.02, 0.0),
)
"""Losses that training events of windows get in turn, so that there are tracks with and without missing hits."""


_SECONDS: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {
        "windows": {"windows": 1.0},
        "fit": {"fit": 1.0},
        "networks": {
            "exatrkx, 1 of 4: embedding": 35.0,
            "exatrkx, 2 of 4: filter": 10.0,
            "exatrkx, 3 of 4: graphs": 1.0,
            "exatrkx, 4 of 4: interaction network": 25.0,
        },
        "validation": {"validation": 3.0},
    }
)
"""Kind of a part -> name of each of its progress bars -> time of a quick training [s], for the overall bar."""


def learn_model(
    events: EventsOfFiles,
    folder: Path,
    task: Task,
    *,
    soft_events: EventsOfFiles | None = None,
    jets: Iterable[Event] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> TrackerModel:
    """Learn a model and write its folder, which appears when it is complete.

    Args:
        events: clean events with truth, or those of each file by its name; of one field.
        folder: folder to write; a new one, or an empty one.
        task: what is to be learned.
        soft_events: events that the soft parts are learned from, in place of `events`.
        jets: events with hard jets, for the efficiency in their cores; nothing is learned from them.
        say: called with a line of text about each step.

    Returns:
        The model, with its measured performance.

    Raises:
        ConfigError: events or their particles are too few, have no layers or another field, or windows cannot be
            learned.
        InputError: an event has no truth.
        FileError: there is something in the folder already, it cannot be written, or the map of the field is missing.
    """
    layout = None if task.detector is None else read_layout(task.detector)
    if layout is not None and layout.field_map is not None and not layout.field_map.file.is_file():
        raise FileError(
            f"{task.detector}: field_map: got no file {layout.field_map.file}, expected the map of the field"
        )
    with new_folder(folder) as building:
        sample = prepare(events, task.beam_spot, task.field, task.min_layers, keep_identifiers=layout is not None)
        if layout is not None:  # before hours of training
            require_field(sample.field, layout.field_T, f"{task.detector} says")
            modules = [event.hits.geometry_id for event in sample.scored if event.hits.geometry_id is not None]
            modules_of_layout(layout).rows(np.concatenate([*modules, np.empty(0, np.uint64)]))
        layers = sample.layers
        summary = (
            f"{len(layers.events)} events, {sample.hits:.0f} hits each; {sample.field:.3g} T;"
            f" {layers.n_layers} layers, from {layers.source}"
        )
        if not layers.has_modules:
            summary += "; no modules are known, so none are switched off in training"
        say(f"{summary}; {sample.crossing}")
        if not task.force:
            require_enough(sample)
        has_networks = any(part.kind == "networks" for part in task.parts)
        say(f"training: takes about {task.effort.duration if has_networks else 'a minute'} on two idle cores")
        soft = sample if soft_events is None else prepare(soft_events, task.beam_spot, task.field, task.min_layers)
        require_field(soft.field, sample.field, "the other events show", AGREEMENT)
        hard_jets: Sequence[Event] = list(islice(jets or (), task.effort.jets))
        if hard_jets:
            of_jets = measured_field([about_beam_spot(event, task.beam_spot) for event in hard_jets])
            require_field(of_jets, sample.field, "the other events show")
        if hard_jets and layout is None:
            hard_jets = inspect_events(hard_jets, task.beam_spot).layers.events
        kinds = *(part.kind for part in task.parts), "validation"
        with overall_bar("training", [each for kind in kinds for each in _SECONDS[kind].items()]):
            model = _learn_parts(building, task, sample, soft, hard_jets, say)
    return replace(model, path=folder)


def _learn_parts(
    folder: Path,
    task: Task,
    sample: TrainingSample,
    soft: TrainingSample,
    jets: Sequence[Event],
    say: Callable[[str], None],
) -> TrackerModel:
    """Learn all parts, measure them, and write card and report."""
    floors, needed = {}, {part.windows for part in task.parts}
    for part in task.parts:
        start = perf_counter()
        try:
            floors[part.stem], result = _learn(part, folder, task, soft if part.soft else sample)
        except ConfigError as error:
            if task.only or part.kind != "windows" or part.stem in needed:
                raise
            result = f"not learned, as {str(error).removeprefix(f'{part.stem}: ')}"
        say(f"{part.stem}: {result}; {perf_counter() - start:.0f} s")
    model = _card(folder, task, sample, floors)
    write_model(model)
    scored = sample.scored[: task.effort.scored * _overlay(sample)]
    start = perf_counter()
    with bar("validation"):
        validation = validate(
            model,
            scored,
            "events that were not learned from",
            jets=jets,
            min_hits=task.min_hits,
            has_modules=sample.layers.has_modules,
            modules=None if (layout := model.detector_layout) is None else modules_of_layout(layout),
        )
    model = validation.written_to(model)
    model = replace(model, default_pipeline=verdict(model).pipeline)
    write_model(model)
    write_report(model, validation, folder)
    say(f"validation: {len(scored)} events, {len(model.performance)} pipelines; {perf_counter() - start:.0f} s")
    return model


def _learn(part: Part, folder: Path, task: Task, sample: TrainingSample) -> tuple[float, str]:
    """Learn one part; returns its lowest pT, and a summary in words."""
    out = folder / f"{part.stem}.safetensors"
    about = {"command": task.command, "data": list(task.inputs), "effort": task.effort.name, "split": SPLIT}
    if part.windows is None:
        with bar("windows"):
            return _learn_windows(part.stem, out, about, sample)
    if part.kind == "fit":
        layers = load_windows(folder / f"{part.windows}.safetensors").layers
        with bar("fit"):
            tables = train_fit_tables(sample.taught, layers, out, about, sample.field)
        return FIT_RECIPE.pt_min, f"resolution and scattering of {len(tables.layers)} layers"
    config = adapted_recipe(recipe(part.stem), task.effort, sample)
    chooses = sample.chooses[: task.effort.chooses * config.overlay]
    windows = load_windows(folder / f"{part.windows}.safetensors")
    metrics = train(config, sample.taught, chooses, windows, out, log=task.log, about=about)
    chosen: Any = metrics["tracks"]["chosen"]
    rates = f"efficiency {chosen['efficiency']:.4f}, fakes {chosen['fake_rate']:.4f}"
    summary = f"{rates} by components at {chosen['cut']:g}"
    return config.gnn.pt_min, summary


def _learn_windows(stem: str, out: Path, about: Mapping[str, Any], sample: TrainingSample) -> tuple[float, str]:
    config = adapted_windows(WINDOW_RECIPES[stem], sample)
    levels = [level if sample.layers.has_modules else replace(level, dead_modules=0.0) for level in _TAUGHT]
    # Many events get one level of losses each; few events are used at every level, to have enough missing hits.
    turns = range(1 if seen_share(sample) == 1 else len(levels))
    events = [
        degraded_event(event, levels[(k + turn) % len(levels)], seed=len(levels) * k + turn)
        for k, event in enumerate(sample.taught)
        for turn in turns
    ]
    windows = learn_windows(events, config)
    if not (windows.triplet_windows[..., 0] > 0).any():
        raise ConfigError(f"{stem}: got no triple of layers that enough tracks cross, expected some; use more events")
    counts = write_windows(out, windows, config, {"events": len(sample.taught), **about})
    return config.pt_min, ", ".join(f"{number} {what}" for what, number in counts.items())


def _card(folder: Path, task: Task, sample: TrainingSample, floors: Mapping[str, float]) -> TrackerModel:
    windows = next(part.stem for part in task.parts if part.kind == "windows")
    layout = TrackerGeometry(
        name_layers(load_windows(folder / f"{windows}.safetensors").layers), sample.field, task.beam_spot
    )
    networks = [recipe(part.stem) for part in task.parts if part.kind == "networks"]
    seeds = sorted(
        {seed for config in networks for seed in (config.embedding.seed, config.edge_filter.seed, config.gnn.seed)}
    )
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
    detector = ""
    if task.detector is not None:
        detector, kept = str(task.detector), read_layout(task.detector)
        if task.detector.is_file():
            detector = "detector.toml"
            copyfile(task.detector, folder / detector)
            if kept.field_map is not None:
                copyfile(kept.field_map.file, folder / kept.field_map.file.name)
        if (modules := modules_of_layout(kept)).stereo is not None:
            save_strips(modules, weight_file(folder, STRIPS))
    return TrackerModel(
        folder, task.name, for_what, layout, weights, origin, crossing=sample.crossing, detector=detector
    )
