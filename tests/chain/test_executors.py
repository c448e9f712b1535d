"""A chain on a real dask and in a real Slurm: the same bytes as in this process, and one trace."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from beampipe.calibration import RunSettings
from beampipe.chain.run import ChainResult, run_chain, store_of
from beampipe.chain.settings import TraceSettings
from beampipe.chain.telemetry import TRACE, read_trace
from beampipe.workflow import SlurmOptions
from tests.chain.test_chain import digest, small
from tests.workflow.slurm import running_slurm


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmOptions]:
    with running_slurm(tmp_path_factory.mktemp("slurm")) as folder:
        yield SlurmOptions(queue="main", memory="2GiB", walltime="00:10:00", host="127.0.0.1", folder=folder)


def check(folder: Path, executor: RunSettings, made: ChainResult) -> None:
    """Run the chain elsewhere, and compare its result with that of this process.

    Only the sample `measured` is made from its collisions on; the others begin with the tracks.
    """
    settings = replace(small(folder), telemetry=TraceSettings())
    ours, theirs = store_of(settings), store_of(made.settings)
    for chunk in (*made.plan.chunks["nominal"], *made.plan.chunks["data"]):
        for recipe in (chunk.recipes["generate"], chunk.recipes["simulate"]):
            content = theirs.require(recipe)
            ours.write(recipe, content.suffix, partial(shutil.copy, content))
    result = run_chain(settings, executor)
    assert digest(settings) == digest(made.settings)
    log = store_of(settings).log
    assert log is not None
    workers = {line["pid"] for line in log.read() if line["event"] == "done" and line["stage"] == "tracks"}
    assert workers
    assert os.getpid() not in workers
    spans = read_trace(settings.output / TRACE, result.trace)
    (above,) = [each for each in spans if each.name == "chunks"]
    chunks = [each for each in spans if each.name == "chunk"]
    assert len(chunks) == 7
    assert {each.parent for each in chunks} == {above.identity}


def test_the_same_result_comes_out_of_dask(tmp_path: Path, made: ChainResult) -> None:
    check(tmp_path, RunSettings("dask", 2), made)


@pytest.mark.slurm
def test_the_same_result_comes_out_of_slurm(tmp_path: Path, made: ChainResult, slurm: SlurmOptions) -> None:
    check(tmp_path, RunSettings("slurm", 2, slurm), made)
