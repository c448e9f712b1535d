"""The demo: runs all stages on the shipped sample, and writes a copy of it with a configuration to start from."""

from __future__ import annotations

from pathlib import Path
from shutil import copyfile
from typing import Final

from beampipe.calibration.config import load_configuration
from beampipe.calibration.run import run_calibration
from beampipe.calibration.tasks.plan import Plan
from beampipe.calibration.tasks.runtime import RunSettings
from beampipe.files import check_command_output, write_whole
from beampipe.terminal import Progress

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
