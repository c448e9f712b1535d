"""Contents of input files: read by workers, one file after the other, while chunks of others are already filled."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from beampipe.calibration.config import Configuration
from beampipe.calibration.events.fill import fill_file
from beampipe.calibration.events.select import select
from beampipe.calibration.run import run_calibration
from beampipe.errors import WorkflowError
from beampipe.workflow import FileDigests
from tests.calibration.campaign import INLINE, Toys, configuration_of, counts, factors_sha256
from tests.calibration.rootfiles import rewrite

CHANGED = "it changed while this run read it"
CHUNKS = "beampipe.calibration.tasks.plan"
SELECT = f"{CHUNKS}.select"


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is read in what order: names of files for their digests, ranges of events for chunks."""
    done: list[str] = []
    digest = FileDigests.of

    def digested(self: FileDigests, path: Path, *more: Any) -> str:
        done.append(path.name)
        return digest(self, path, *more)

    def selected(path: Path, start: int, *more: Any, **options: Any) -> Any:
        done.append(f"{path.name}[{start}]")
        return select(path, start, *more, **options)

    monkeypatch.setattr(FileDigests, "of", digested)
    monkeypatch.setattr(SELECT, selected)
    return done


def test_the_first_chunk_waits_for_one_file_alone(toys: Toys, tmp_path: Path, order: list[str]) -> None:
    """With one worker; with many for as many as are read at once."""
    configuration = configuration_of(toys, tmp_path)
    run_calibration(configuration, INLINE, until="select")
    assert order[1].startswith(f"{order[0]}[")
    files = [each for each in order if "[" not in each]
    assert len(files) == len(set(files)) == sum(len(toys.files(name)) for name in ("nominal", "data", "shower"))
    for chunk in (each for each in order if "[" in each):
        assert chunk.split("[")[0] in order[: order.index(chunk)]


def test_a_file_that_is_wrong_is_told_before_any_is_read(toys: Toys, tmp_path: Path, order: list[str]) -> None:
    mine = toys.copied(tmp_path / "toys")
    mine.files("data")[1].write_bytes(b"not a ROOT file")
    with pytest.raises(WorkflowError, match="1 of 9 tasks failed"):
        run_calibration(configuration_of(mine, tmp_path / "output"), INLINE)
    assert not order


@pytest.mark.parametrize("when", ["contents", "events", "events in one pass"])
def test_a_file_that_changes_before_it_is_read_is_noticed(
    toys: Toys, base: Configuration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Nothing that was made of it is kept; with the run that follows all is right."""
    mine = toys.copied(tmp_path / "toys")
    configuration = configuration_of(mine, tmp_path / "output")
    if "pass" in when:
        configuration = replace(configuration, taggers=configuration.taggers[:1], keep_tables=False)
    victim, content = mine.files("nominal")[1], mine.files("nominal")[1].read_bytes()

    def spoiled(real: Callable[..., Any], at: int) -> Callable[..., Any]:
        """Others write to the file just before it is read."""

        def call(*arguments: Any, **options: Any) -> Any:
            if arguments[at] == victim and victim.read_bytes() == content:
                rewrite(victim, jet_n_trk=lambda values: values + 1)
                os.utime(victim)
            return real(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        if when == "contents":
            patch.setattr(FileDigests, "of", spoiled(FileDigests.of, 1))
        elif when == "events":
            patch.setattr(SELECT, spoiled(select, 0))
        else:
            patch.setattr(f"{CHUNKS}.fill_file", spoiled(fill_file, 0))
        with pytest.raises(WorkflowError, match=CHANGED) as caught:
            run_calibration(configuration, INLINE)
    assert {str(victim) in str(error) for _, error in caught.value.errors} == {True}
    ours = counts(base.output)["fill"] - counts(configuration.output)["fill"]
    assert ours == sum(chunk.path.name == victim.name for chunk in run_calibration(base, INLINE).chunks)
    victim.write_bytes(content)
    run_calibration(configuration, INLINE)
    if "pass" not in when:
        assert factors_sha256(configuration) == factors_sha256(base)
