"""The whole chain on the sample that ships with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from beampipe.calibration.config import load_configuration
from beampipe.calibration.run import run_calibration
from beampipe.calibration.tasks.plan import Plan
from beampipe.calibration.tasks.workers import RunSettings
from beampipe.terminal import Progress

__all__ = ["DEMO", "run_demo"]

DEMO: Final = Path(__file__).parent / "data" / "demo.toml"
"""Its configuration, also an example of one."""


def run_demo(folder: Path, workers: int, progress: Progress) -> Plan:
    """Run it.

    Args:
        folder: where store and results go.
        workers: processes.
        progress: shows a bar.
    """
    configuration = load_configuration(DEMO, output=folder)
    return run_calibration(configuration, RunSettings("processes", workers), until="report", progress=progress)
