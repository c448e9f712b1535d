"""Run a calibration: each stage makes what the store lacks, in parallel where there is much of it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from beampipe.calibration.config import Configuration, InputSample
from beampipe.calibration.histograms.sums import read_filled
from beampipe.calibration.histograms.templates import Templates, templates_of
from beampipe.calibration.method.cases import Cases, cases_of, simulation_of
from beampipe.calibration.method.efficiencies import Efficiencies, measure_efficiencies, read_arrays, write_arrays
from beampipe.calibration.method.reweight import Reweighting, measure_reweighting
from beampipe.calibration.method.scale_factors import factors_of
from beampipe.calibration.ntuple.bookkeeping import Bookkeeping, keep_books
from beampipe.calibration.ntuple.columns import EVENT_BRANCHES
from beampipe.calibration.ntuple.reading import Facts, inspect_file, open_event_tree, read_flat
from beampipe.calibration.report import write_report
from beampipe.calibration.tasks.chunks import Chunk, merge_chunks, run_chunk
from beampipe.calibration.tasks.plan import (
    CALIBRATION_STAGES,
    Plan,
    SamplePlan,
    inspect_recipe,
    make_plan,
    stage_code,
    used_samples,
)
from beampipe.errors import FileError, UnknownNameError, WorkflowError
from beampipe.files import write_whole
from beampipe.terminal import Progress
from beampipe.workflow import (
    EventLog,
    FileDigests,
    Input,
    Pool,
    Recipe,
    SlurmOptions,
    Store,
    Task,
    open_pool,
    prepare_processes,
    run,
)

__all__ = [
    "FACTORS",
    "LOG",
    "REPORT",
    "RunSettings",
    "Workspace",
    "plan_calibration",
    "prepare",
    "run_calibration",
    "workspace_of",
]

FACTORS: Final = "factors.json"
"""Name of the result in the folder `output`."""

WARM: Final = "beampipe.calibration.tasks.warm"
"""Module that loads what workers need; never imported here."""

LOG: Final = "log.jsonl"

REPORT: Final = "report"
"""Folder of the report in `output`."""


@dataclass(frozen=True)
class RunSettings:
    """How to run; nothing here changes a result.

    Attributes:
        executor: see `beampipe.workflow.open_pool`.
        workers: how many tasks at once.
        slurm: what to ask Slurm for.
    """

    executor: str | Executor = "processes"
    workers: int = 1
    slurm: SlurmOptions | None = None


@dataclass(frozen=True)
class Workspace:
    """Where a calibration keeps what it makes."""

    store: Store
    log: EventLog
    digests: Path


class _Pool:
    """A pool that is opened when the first task comes: a run with nothing to do starts no worker."""

    def __init__(self, settings: RunSettings, log: EventLog, progress: Progress) -> None:
        self._settings, self._log, self._progress = settings, log, progress
        self._opened: AbstractContextManager[Pool] | None = None
        self._pool: Pool | None = None

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._opened is not None:
            self._opened.__exit__(*exception)  # type: ignore[arg-type]

    def expect_work(self) -> None:
        """Let the server of the workers load what they need while this process does something else."""
        if self._settings.executor == "processes":
            prepare_processes((WARM,))

    def run(self, what: str, tasks: Sequence[Task[None]]) -> None:
        """Run tasks, if there are any."""
        if not tasks:
            return
        if self._pool is None:
            settings = self._settings
            self._opened = open_pool(settings.executor, settings.workers, slurm=settings.slurm, preload=(WARM,))
            self._pool = self._opened.__enter__()
        with self._progress(what, len(tasks)) as step:
            run(tasks, self._pool, log=self._log, progress=lambda _: step())


def workspace_of(configuration: Configuration) -> Workspace:
    """The folders of a configuration."""
    log = EventLog(configuration.output / LOG)
    return Workspace(Store(configuration.output / "store", log=log), log, configuration.output / "store" / "files.json")


def run_calibration(
    configuration: Configuration,
    settings: RunSettings = RunSettings(),
    *,
    until: str = "factors",
    progress: Progress = lambda what, total: nullcontext(lambda: None),
) -> Plan:
    """Run all stages up to one; each does only what is not yet in the store.

    Args:
        configuration: what to do.
        settings: with how many workers, and where.
        until: name of the last stage, one of `CALIBRATION_STAGES`.
        progress: shows a bar.

    Returns:
        The plan, whose recipes find everything in the store.

    Raises:
        UnknownNameError: there is no such stage.
        WorkflowError: files or chunks failed; all others are done and kept.
        FileError: files of a slice are missing, or events are in two files.
    """
    if until not in CALIBRATION_STAGES:
        raise UnknownNameError("stage", until, CALIBRATION_STAGES)
    space = workspace_of(configuration)
    space.store.sweep()
    with _Pool(settings, space.log, progress) as pool:
        plan = prepare(configuration, space, pool)
        store = space.store
        if until in ("select", "predict"):
            _run_chunks(store, pool, plan.chunks, until)
        else:
            _merge(store, pool, plan)
        for stage, make in (("reweight", _reweight), ("extract", _extract), ("factors", _publish)):
            if CALIBRATION_STAGES.index(until) >= CALIBRATION_STAGES.index(stage):
                make(store, plan)
        if until == "report":
            write_report(plan, store, configuration.output / REPORT, spread=pool.run)
    return plan


def plan_calibration(configuration: Configuration) -> Plan:
    """The plan of a calibration, without running more of it than a look at files that were never looked at.

    Raises:
        WorkflowError: files cannot be used.
        FileError: files of a slice are missing.
    """
    space = workspace_of(configuration)
    with _Pool(RunSettings("inline"), space.log, lambda what, total: nullcontext(lambda: None)) as pool:
        return prepare(configuration, space, pool)


def prepare(configuration: Configuration, space: Workspace, pool: _Pool) -> Plan:
    """Look at all files, and work out what there is to do."""
    samples = [configuration.samples[name] for name in used_samples(configuration)]
    paths = sorted({path for sample in samples for path in sample.files})
    if not space.digests.exists():
        pool.expect_work()
    with FileDigests(space.digests) as digests:
        by_path = dict(zip(paths, digests.of_all(paths), strict=True))
    recipes = {path: inspect_recipe(path, digest) for path, digest in by_path.items()}
    missing = [path for path in paths if space.store.find(recipes[path]) is None]
    pool.run("looking at files", [Task(str(path), _inspect, (space.store, recipes[path], path)) for path in missing])
    facts = {path: Facts.of(json.loads(space.store.require(recipes[path]).read_text())) for path in paths}
    books = {sample.name: _books(space.store, sample, recipes, facts) for sample in samples}
    return make_plan(configuration, by_path, facts, books)


def templates(store: Store, part: SamplePlan) -> Templates:
    """Numbers of jets of a sample."""
    by_slice = {number: read_filled(store.require(recipe)) for number, recipe in part.merged.items()}
    return templates_of(by_slice, part.bookkeeping, part.sample.weight_bits)


def all_cases(store: Store, plan: Plan) -> dict[str, Cases]:
    """The cases of each tagger."""
    configuration = plan.configuration
    nominal, data = (templates(store, plan.samples[name]) for name in (configuration.nominal, configuration.data))
    others = {name: templates(store, plan.samples[name]) for name in plan.others()}
    return {tagger: cases_of(tagger, nominal, data, others) for tagger in configuration.tagger_names}


def _inspect(store: Store, recipe: Recipe, path: Path) -> None:
    facts = inspect_file(path)
    store.write(recipe, ".json", lambda to: to.write_text(json.dumps(facts.plain())))


def _books(
    store: Store, sample: InputSample, inspected: Mapping[Path, Recipe], facts: Mapping[Path, Facts]
) -> tuple[Recipe, Bookkeeping]:
    """The bookkeeping of a sample: checked every time, as it is quick, and stored for `explain`."""
    of_sample = {path: facts[path] for path in sample.files}
    books = keep_books(sample, of_sample)
    order = sorted(sample.files, key=lambda path: (facts[path].slice, facts[path].file_number))
    inputs = tuple(Input("facts", inspected[path].key, str(path)) for path in order)
    parameters = {"kind": sample.kind, "luminosity": sample.luminosity}
    recipe = Recipe("bookkeeping", stage_code("bookkeeping"), parameters, inputs, sample.name)
    if store.find(recipe) is None:
        store.write(recipe, ".json", lambda path: path.write_text(json.dumps(books.plain())))
    return recipe, books


def _run_chunks(store: Store, pool: _Pool, chunks: Iterable[Chunk], until: str) -> None:
    number = CALIBRATION_STAGES.index(until)
    missing = [chunk for chunk in chunks if _wanted(chunk, number, store)]
    pool.run(until, [Task(chunk.label, run_chunk, (store, chunk, until)) for chunk in missing])


def _wanted(chunk: Chunk, number: int, store: Store) -> bool:
    recipe = chunk.recipes[number]
    return store.find(chunk.recipes[0] if recipe is None else recipe) is None


def _merge(store: Store, pool: _Pool, plan: Plan) -> None:
    """Stage 3: fill all chunks of the slices that are not merged yet, then merge."""
    merged = [recipe for sample in plan.samples.values() for recipe in sample.merged.values()]
    if all(store.find(recipe) is not None for recipe in (*merged, plan.reweight, plan.extract, plan.factors)):
        return  # nothing will be read, so nothing need be verified
    open_slices = [
        (sample, number)
        for sample in plan.samples.values()
        for number, recipe in sample.merged.items()
        if store.load(recipe) is None
    ]
    wanted = {part.key for sample, number in open_slices for part in sample.parts[number]}
    chunks = [chunk for chunk in plan.chunks if chunk.recipes[2].key in wanted]
    _run_chunks(store, pool, chunks, "fill")
    for name in dict.fromkeys(sample.sample.name for sample, _ in open_slices):
        _refuse_shared_events(store, plan.samples[name])
    tasks = [
        Task(sample.merged[number].label, merge_chunks, (store, sample.merged[number], sample.parts[number]))
        for sample, number in open_slices
    ]
    while True:
        try:
            pool.run("merge", tasks)
            return
        except WorkflowError:
            # A damaged histogram is moved aside by whoever reads it, and is then missing.
            if not any(_wanted(chunk, 2, store) for chunk in chunks):
                raise
            _run_chunks(store, pool, chunks, "fill")


def _refuse_shared_events(store: Store, sample: SamplePlan) -> None:
    """No event may be in two chunks. Ranges of event numbers tell most of them apart; the others are read again."""
    spans: dict[int, list[tuple[int, int, Chunk]]] = defaultdict(list)
    for chunk in sample.chunks:
        for run_number, low, high in store.about(chunk.recipes[2].key)["notes"]["ranges"]:
            spans[run_number].append((low, high, chunk))
    suspects: dict[tuple[Path, int], Chunk] = {}
    for members in spans.values():
        members.sort(key=lambda member: member[:2])
        reach, before = -1, None
        for low, high, chunk in members:
            if low <= reach and before is not None:
                suspects |= {(one.path, one.start): one for one in (before, chunk)}
            if high > reach:
                reach, before = high, chunk
    if len(suspects) > 1:
        _compare_events(list(suspects.values()))


def _compare_events(chunks: Sequence[Chunk]) -> None:
    numbers = np.dtype([("run", "u8"), ("event", "u8")])
    parts = []
    for chunk in chunks:
        part = np.empty(chunk.stop - chunk.start, numbers)
        with open_event_tree(chunk.path) as tree:
            for name in ("run", "event"):
                part[name] = read_flat(chunk.path, tree, name, EVENT_BRANCHES[name], chunk.start, chunk.stop)
        parts.append(part)
    every = np.concatenate(parts)
    owner = np.repeat(np.arange(len(chunks)), [len(part) for part in parts])
    order = np.argsort(every, kind="stable")
    same = np.flatnonzero(every[order][1:] == every[order][:-1])
    if len(same):
        one, other = (chunks[owner[order[place]]] for place in (same[0], same[0] + 1))
        run_number, event = every[order[same[0]]]
        raise FileError(
            f"{other.path}: got run {run_number}, event {event}, which is also in {one.path};"
            " expected each event once: leave one of the files out"
        )


def _reweight(store: Store, plan: Plan) -> None:
    configuration = plan.configuration

    def make(path: Path) -> None:
        nominal = templates(store, plan.samples[configuration.nominal])
        others = {name: templates(store, plan.samples[name]) for name in plan.others()}
        taggers = configuration.tagger_names
        write_arrays({name: measure_reweighting(*simulation_of(name, nominal, others)) for name in taggers}, path)

    store.get(plan.reweight, ".npz", make)


def _extract(store: Store, plan: Plan) -> None:
    def make(path: Path) -> None:
        frozen: Mapping[str, Reweighting] = read_arrays(Reweighting, store.require(plan.reweight))
        points = plan.configuration.working_points
        cases = all_cases(store, plan)
        write_arrays({name: measure_efficiencies(cases[name], frozen[name], points) for name in cases}, path)

    store.get(plan.extract, ".npz", make)


def _publish(store: Store, plan: Plan) -> None:
    """Stage 6, and a copy of its artifact under a name that does not change."""

    def make(path: Path) -> None:
        measured: Mapping[str, Efficiencies] = read_arrays(Efficiencies, store.require(plan.extract))
        factors_of(plan.configuration, measured).write(path)

    content = store.get(plan.factors, ".json", make).read_bytes()
    public = plan.configuration.output / FACTORS
    if not public.exists() or public.read_bytes() != content:
        write_whole(public, lambda path: path.write_bytes(content))
