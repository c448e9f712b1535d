"""The demo: all stages of a calibration on the sample that ships with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from beampipe.calibration.config import load_configuration
from beampipe.calibration.run import run_calibration
from beampipe.calibration.tasks.plan import Plan
from beampipe.calibration.tasks.workers import RunSettings
from beampipe.terminal import Progress

__all__ = ["DEMO_CONFIGURATION", "run_demo"]

DEMO_CONFIGURATION: Final = Path(__file__).parent / "data" / "demo.toml"
"""Configuration file of the demo, also an example of one."""


def run_demo(folder: Path, workers: int, progress: Progress) -> Plan:
    """Run all stages on the shipped sample.

    Args:
        folder: folder for store, results and report.
        workers: number of worker processes.
        progress: opens a progress bar for each batch of tasks.

    Returns:
        The plan, whose recipes find everything in the store.
    """
    configuration = load_configuration(DEMO_CONFIGURATION, output=folder)
    return run_calibration(configuration, RunSettings("processes", workers), until="report", progress=progress)
