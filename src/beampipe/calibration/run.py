"""Run a calibration: each stage makes the artifacts that the store lacks, in parallel where there are many.

inspect -> digests of file contents, each followed by select, predict, fill (for each chunk of the file) -> bookkeeping
-> merge -> reweight -> extract -> factors -> report
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from shutil import copyfile
from typing import Final

from beampipe.calibration.config import Configuration, load_configuration
from beampipe.calibration.tasks.inspection import bookkeeping_of, check_bookkeeping, inspect_files, recall_files
from beampipe.calibration.tasks.plan import Plan, digest_files, fill_and_merge, make_plan, run_chunks
from beampipe.calibration.tasks.runtime import (
    CALIBRATION_STAGES,
    RunSettings,
    Workers,
    Workspace,
    reaches,
    read_only,
    workspace_of,
)
from beampipe.errors import UnknownNameError
from beampipe.files import check_command_output, check_output, write_whole
from beampipe.notebook import in_notebook
from beampipe.terminal import Progress, bars
from beampipe.workflow import remembering_code

_ONE_WORKER: Final = RunSettings()


def _no_bar(what: str, total: int | None) -> AbstractContextManager[Callable[[], None]]:
    """A progress bar without output."""
    return nullcontext(lambda: None)


def run_calibration(
    configuration: Configuration,
    settings: RunSettings = _ONE_WORKER,
    *,
    until: str = "factors",
    progress: Progress | None = None,
) -> Plan:
    """Run all stages up to one; each makes only the artifacts that are not yet in the store.

    Args:
        configuration: settings of the calibration, and the output folder.
        settings: where tasks run, and how many at once.
        until: name of the last stage, one of `CALIBRATION_STAGES`.
        progress: opens a progress bar for each batch of tasks; by default a notebook shows bars, and a script nothing.

    Returns:
        The plan; its recipes locate all artifacts in the store.

    Raises:
        UnknownNameError: there is no such stage.
        WorkflowError: files or chunks failed; all others are done and kept.
        FileError: files of a slice are missing, events are in two files, or the output may not be written to.
    """
    if until not in CALIBRATION_STAGES:
        raise UnknownNameError("stage", until, CALIBRATION_STAGES)
    space = workspace_of(configuration)
    store = space.store
    for path in (space.log.path, store.root / "artifact"):
        check_output(path, parents=True)
    store.sweep()
    with (
        remembering_code(),
        bars() if progress is None and in_notebook() else nullcontext(progress or _no_bar) as shown,
        Workers(settings, space.log, shown) as workers,
    ):
        plan = _plan(configuration, space, workers, "fill" if reaches(until, "fill") else until)
        if not reaches(until, "fill"):
            run_chunks(store, workers, plan.chunks, until)
            return plan
        fill_and_merge(store, workers, plan)
        if not reaches(until, "reweight"):
            return plan
        # Imported late: the workers of a first run start only after the imports at the top.
        from beampipe.calibration.report.write import write_report
        from beampipe.calibration.results import extract_efficiencies, publish_factors, reweight

        reweight(store, plan)
        if reaches(until, "extract"):
            extract_efficiencies(store, plan)
        if reaches(until, "factors"):
            publish_factors(store, plan, space.factors)
        if reaches(until, "report"):
            write_report(plan, store, space.report, spread=workers.run)
    return plan


def plan_calibration(configuration: Configuration) -> Plan:
    """The plan of a calibration. Only the inspection of new files is run.

    A read-only store is supported.

    Raises:
        WorkflowError: files cannot be used.
        FileError: files of a slice are missing.
    """
    with (
        read_only(workspace_of(configuration)) as space,
        remembering_code(write=False),
        Workers(RunSettings("inline"), space.log, _no_bar) as workers,
    ):
        return _plan(configuration, space, workers)


def is_calibrated(configuration: Configuration) -> bool:
    """Whether the scale factors exist and are up to date with the files, the configuration and the code.

    This serves workflow managers. No input file is opened and nothing is written; a remote file counts as changed.

    Raises:
        ConfigError: there is no cross section for a sample, or a manifest does not fit.
        FileError: files of a slice are missing.
    """
    space = workspace_of(configuration)
    with remembering_code(write=False):
        files = recall_files(configuration, space)
        if files is None:
            return False
        books = check_bookkeeping(configuration, files)
        plan = make_plan(configuration, bookkeeping_of(configuration, files, books, None))
    made = space.store.load(plan.factors)
    return made is not None and space.factors.is_file() and space.factors.read_bytes() == made.read_bytes()


def _plan(configuration: Configuration, space: Workspace, workers: Workers, until: str = "") -> Plan:
    """Inspect files, compute missing digests (the chunks of each new file follow, up to `until`) and make the plan."""
    looked = inspect_files(configuration, space, workers)
    books = check_bookkeeping(configuration, looked)
    files = digest_files(configuration, looked, books, space, workers, until)
    return make_plan(configuration, bookkeeping_of(configuration, files, books, space.store))


DEMO_CONFIGURATION: Final = Path(__file__).parent / "data" / "demo.toml"
"""Configuration file of the demo, also an example of one."""


def run_demo(folder: Path, workers: int, progress: Progress) -> Plan:
    """Run all stages on the shipped sample.

    Args:
        folder: folder for store, results and report.
        workers: number of worker processes.
        progress: opens a progress bar for each batch of tasks.

    Returns:
        The plan; its recipes locate all artifacts in the store.
    """
    configuration = load_configuration(DEMO_CONFIGURATION, output=folder)
    return run_calibration(configuration, RunSettings("processes", workers), until="report", progress=progress)


def start_calibration(path: Path, *, force: bool = False) -> Path:
    """Write an example configuration, and the shipped sample that it reads.

    Args:
        path: TOML file to write; the sample goes into a folder beside it, ``<stem>_sample``.
        force: replace an existing file.

    Returns:
        The folder of the sample.

    Raises:
        FileError: the file exists already, or cannot be written.
    """
    check_command_output(path, parents=True, force=force)  # the file has no mark, as its user will edit it
    folder = path.parent / f"{path.stem}_sample"
    for file in sorted(DEMO_CONFIGURATION.parent.glob("*.root")):
        write_whole(folder / file.name, lambda part, file=file: copyfile(file, part))  # type: ignore[misc]
    text = DEMO_CONFIGURATION.read_text(encoding="utf-8").partition("\n")[2]
    text = text.replace('output = "demo" ', f'output = "{path.stem}"').replace('files = "', f'files = "{folder.name}/')
    start = f"# Quark/gluon scale factors: beampipe calibration run {path.name}. Paths are relative to this file.\n"
    write_whole(path, lambda part: part.write_text(start + text, encoding="utf-8"))
    return folder
