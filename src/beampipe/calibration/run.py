"""Run a calibration: each stage makes what the store lacks, in parallel where there is much of it.

inspect -> bookkeeping -> select, predict, fill (each chunk of a file) -> merge -> reweight -> extract -> factors
-> report
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from beampipe.calibration.config.configuration import Configuration
from beampipe.calibration.report import write_report
from beampipe.calibration.tasks.chunks import run_chunks
from beampipe.calibration.tasks.inspection import inspect_files, keep_all_books
from beampipe.calibration.tasks.merging import fill_and_merge
from beampipe.calibration.tasks.method import extract_efficiencies, publish_factors, reweight
from beampipe.calibration.tasks.plan import Plan, make_plan
from beampipe.calibration.tasks.stages import CALIBRATION_STAGES, reaches
from beampipe.calibration.tasks.workers import RunSettings, Workers
from beampipe.calibration.tasks.workspace import Workspace, to_read, workspace_of
from beampipe.errors import UnknownNameError
from beampipe.notebook import in_notebook
from beampipe.terminal import Progress, bars

__all__ = ["plan_calibration", "run_calibration"]

_ONE_WORKER: Final = RunSettings()


def _no_bar(what: str, total: int | None) -> AbstractContextManager[Callable[[], None]]:
    """A progress bar that nobody sees."""
    return nullcontext(lambda: None)


def _shown(progress: Progress | None) -> AbstractContextManager[Progress]:
    """What is told of progress: somebody's own bars, or else those of a notebook."""
    if progress is None and in_notebook():
        return bars()
    return nullcontext(_no_bar if progress is None else progress)


def run_calibration(
    configuration: Configuration,
    settings: RunSettings = _ONE_WORKER,
    *,
    until: str = "factors",
    progress: Progress | None = None,
) -> Plan:
    """Run all stages up to one; each does only what is not yet in the store.

    Args:
        configuration: what the result depends on, and where it goes.
        settings: where tasks run, and how many at once.
        until: name of the last stage, one of `CALIBRATION_STAGES`.
        progress: opens a progress bar for each batch of tasks; by default a notebook shows bars, and a script nothing.

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
    store = space.store
    store.sweep()
    with _shown(progress) as told, Workers(settings, space.log, told) as workers:
        plan = _plan(configuration, space, workers)
        if not reaches(until, "fill"):
            run_chunks(store, workers, plan.chunks, until)
            return plan
        fill_and_merge(store, workers, plan)
        if reaches(until, "reweight"):
            reweight(store, plan)
        if reaches(until, "extract"):
            extract_efficiencies(store, plan)
        if reaches(until, "factors"):
            publish_factors(store, plan, space.factors)
        if reaches(until, "report"):
            write_report(plan, store, space.report, spread=workers.run)
    return plan


def plan_calibration(configuration: Configuration) -> Plan:
    """The plan of a calibration, without running more of it than a look at files that were never looked at.

    A store that may not be written to is only read.

    Raises:
        WorkflowError: files cannot be used.
        FileError: files of a slice are missing.
    """
    with (
        to_read(workspace_of(configuration)) as space,
        Workers(RunSettings("inline"), space.log, _no_bar) as workers,
    ):
        return _plan(configuration, space, workers)


def _plan(configuration: Configuration, space: Workspace, workers: Workers) -> Plan:
    """Look at all files, keep their books, and work out what there is to do."""
    files = inspect_files(configuration, space, workers)
    samples = keep_all_books(configuration, files, space.store)
    return make_plan(configuration, samples)
