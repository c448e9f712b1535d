"""A calibration in a real Slurm: the same bytes as in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from beampipe.calibration.config import Configuration
from beampipe.calibration.run import run_calibration
from beampipe.calibration.tasks.runtime import FACTORS, RunSettings
from beampipe.workflow import EventLog, SlurmOptions
from tests.calibration.campaign import Toys, configuration_of
from tests.workflow.slurm import running_slurm


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with running_slurm(tmp_path_factory.mktemp("slurm")) as folder:
        yield folder


@pytest.mark.slurm
def test_the_same_factors_come_out_of_slurm(base: Configuration, toys: Toys, tmp_path: Path, slurm: Path) -> None:
    options = SlurmOptions(queue="main", memory="1GiB", walltime="00:05:00", host="127.0.0.1", folder=slurm)
    configuration = configuration_of(toys, tmp_path)
    run_calibration(configuration, RunSettings("slurm", 2, options))
    assert (tmp_path / FACTORS).read_bytes() == (base.output / FACTORS).read_bytes()
    workers = {event["pid"] for event in EventLog(tmp_path / "log.jsonl").read() if event["stage"] == "fill"}
    assert workers
    assert os.getpid() not in workers
