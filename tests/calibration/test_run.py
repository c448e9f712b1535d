"""The whole run: the same bytes whatever runs it, stage by stage, after damage and after a kill."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.calibration.config import Bootstrap, Configuration, InputSample
from beampipe.calibration.run import run_calibration
from beampipe.calibration.taggers import SHIPPED_MODELS, Tagger
from beampipe.calibration.tasks.runtime import FACTORS, RunSettings
from beampipe.errors import FileError, UnknownNameError, WorkflowError
from tests.calibration.campaign import (
    INLINE,
    Toys,
    configuration_of,
    counts,
    factors_sha256,
    length_of_log,
    made,
    stored,
    with_sample,
)
from tests.calibration.rootfiles import rewrite

ROOT = Path(__file__).parents[2]
SAMPLES = ("nominal", "data", "shower")


@pytest.fixture(scope="module")
def sha256(base: Configuration) -> str:
    """Digest of the factors of the small campaign, run in this process."""
    return factors_sha256(base)


def shuffled(configuration: Configuration, seed: int) -> Configuration:
    """The files of each sample listed in another order."""
    rng = random.Random(seed)
    for name in SAMPLES:
        files = list(configuration.samples[name].files)
        rng.shuffle(files)
        configuration = with_sample(configuration, name, files=tuple(files))
    return configuration


def renamed(configuration: Configuration, folder: Path) -> Configuration:
    """The files under names in another order."""
    for name in SAMPLES:
        files = [folder / name / f"{9 - k}.root" for k in range(len(configuration.samples[name].files))]
        files[0].parent.mkdir(parents=True)
        for file, path in zip(files, configuration.samples[name].files, strict=True):
            shutil.copy(path, file)
        configuration = with_sample(configuration, name, files=tuple(sorted(files)))
    return configuration


def test_every_chunk_size_gives_the_same_bytes(toys: Toys, tmp_path: Path, sha256: str) -> None:
    """Less than a basket, some baskets, whole files; the number of chunks shows that they differ."""
    chunks = []
    for size in (170, 10**6):
        configuration = configuration_of(toys, tmp_path / str(size), chunk_events=size)
        chunks.append(len(run_calibration(shuffled(configuration, size), INLINE).chunks))
        assert factors_sha256(configuration) == sha256
    assert chunks[0] > 3 * chunks[1]
    assert chunks[1] == 9, "one for each file"


def test_several_workers_give_the_same_bytes(toys: Toys, tmp_path: Path, sha256: str) -> None:
    configuration = renamed(configuration_of(toys, tmp_path / "output"), tmp_path / "files")
    run_calibration(shuffled(configuration, 3), RunSettings("processes", 2))
    assert factors_sha256(configuration) == sha256


def test_dask_gives_the_same_bytes(toys: Toys, tmp_path: Path, sha256: str) -> None:
    pytest.importorskip("distributed")
    configuration = configuration_of(toys, tmp_path)
    run_calibration(configuration, RunSettings("dask", 2))
    assert factors_sha256(configuration) == sha256


def test_stage_by_stage_gives_the_same_bytes(toys: Toys, tmp_path: Path, sha256: str) -> None:
    configuration = configuration_of(toys, tmp_path)
    seen: set[str] = {"inspect", "bookkeeping"}
    for until, new in [
        ("select", {"select"}),
        ("predict", {"predict"}),
        ("fill", {"fill", "merge"}),
        ("reweight", {"reweight"}),
        ("extract", {"extract"}),
        ("factors", {"factors"}),
    ]:
        run_calibration(configuration, INLINE, until=until)
        seen |= new
        assert set(stored(tmp_path)) == seen
        assert (tmp_path / FACTORS).exists() == (until == "factors")
    assert factors_sha256(configuration) == sha256
    with pytest.raises(UnknownNameError, match=r"unknown stage: got 'fil', expected one of .*; did you mean 'fill'"):
        run_calibration(configuration, INLINE, until="fil")


@pytest.mark.parametrize("first", ["", "predict"])
def test_without_tables_the_bytes_are_the_same(toys: Toys, tmp_path: Path, sha256: str, first: str) -> None:
    """Tables that a command has written are used, and no others are written."""
    configuration = configuration_of(toys, tmp_path, keep_tables=False)
    if first:
        run_calibration(configuration, INLINE, until=first)
    kept, start = counts(tmp_path), length_of_log(tmp_path)
    assert kept.get("select") == kept.get("predict")
    run_calibration(configuration, INLINE)
    assert {"select", "predict"} & set(made(tmp_path, start)) == set()
    assert factors_sha256(configuration) == sha256


def test_a_second_run_makes_nothing_and_opens_no_pool(base: Configuration, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pool was opened")

    monkeypatch.setattr("beampipe.workflow.pools.open_pool", refuse)
    before = length_of_log(base.output)
    run_calibration(base, RunSettings("processes", 2))
    assert made(base.output, before) == {}


@pytest.mark.parametrize(
    ("damaged", "removed"),
    [
        (("select", "predict", "reweight"), ("fill", "merge", "extract", "factors")),
        (("fill",), ("merge", "extract", "factors")),
        (("merge", "extract"), ("reweight", "factors")),
        (("factors",), ()),
    ],
    ids=str,
)
def test_damaged_artifacts_are_noticed_and_made_again(
    base: Configuration, toys: Toys, tmp_path: Path, sha256: str, damaged: tuple[str, ...], removed: tuple[str, ...]
) -> None:
    """When they are read; what was made of them is removed here. So is a copy of the factors that was torn."""
    shutil.copytree(base.output, tmp_path / "output")
    configuration = configuration_of(toys, tmp_path / "output")
    store = configuration.output / "store"
    for stage in removed:
        shutil.rmtree(store / stage)
    for stage in damaged:
        path = min(path for path in (store / stage).rglob("*.*") if not path.name.endswith(".about.json"))
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    (configuration.output / FACTORS).write_text("torn")
    start = length_of_log(configuration.output)
    run_calibration(configuration, INLINE)
    assert factors_sha256(configuration) == sha256
    for stage in damaged:
        assert made(configuration.output, start)[stage] == 1
        assert len(list((store / stage).rglob("*.damaged"))) == 1
    assert counts(configuration.output) == counts(base.output)


def keys_of_file(base: Configuration, name: str) -> set[str]:
    """Keys of all that is made of one file alone."""
    plan = run_calibration(base, INLINE)
    chunks = [chunk for chunk in plan.chunks if chunk.path.name == name]
    recipes = [recipe for chunk in chunks for recipe in (chunk.select, chunk.predict, chunk.fill)]
    return {recipe.key for recipe in recipes if recipe is not None}


def spoil_weight(path: Path) -> None:
    def change(values: Any) -> Any:
        values[40, 0] = np.nan
        return values

    rewrite(path, weight=change)


def cut_off(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 3])


def repeat_event(path: Path) -> None:
    def change(values: Any) -> Any:
        values[1] = values[0]
        return values

    rewrite(path, event=change)


@pytest.mark.parametrize(
    ("sample", "fault", "message", "stages"),
    [
        ("nominal", spoil_weight, "branch 'weight': got nan at entry 40", ("select", "predict", "fill")),
        ("nominal", cut_off, "truncated or damaged|got no tree", ("inspect",)),
        ("data", repeat_event, "got run 1, event .* more than once", ("select", "predict", "fill")),
    ],
)
def test_a_bad_file_costs_no_other_and_after_repair_only_it_is_left(
    base: Configuration,
    toys: Toys,
    tmp_path: Path,
    sha256: str,
    sample: str,
    fault: Callable[[Path], None],
    message: str,
    stages: tuple[str, ...],
) -> None:
    mine = toys.copied(tmp_path / "toys")
    configuration = configuration_of(mine, tmp_path / "output")
    path = mine.files(sample)[1]
    fault(path)
    with pytest.raises(WorkflowError, match=r"1 of \d+ tasks failed") as caught:
        run_calibration(configuration, INLINE)
    assert path.name in str(caught.value)
    assert len(caught.value.errors) == 1
    _, error = caught.value.errors[0]
    assert isinstance(error, FileError)
    assert str(path) in str(error)
    assert pytest.RaisesExc(FileError, match=message).matches(error)
    before = stored(configuration.output)
    mine_keys = keys_of_file(base, path.name)
    for stage in stages:
        if stage == "inspect":  # its keys have the place of the file
            assert len(before[stage]) == counts(base.output)[stage] - 1
        else:
            assert before[stage] == stored(base.output)[stage] - mine_keys, "all others are there"
    start = length_of_log(configuration.output)
    shutil.copy(toys.folder / sample / path.name, path)
    run_calibration(configuration, INLINE)
    assert factors_sha256(configuration) == sha256
    again = made(configuration.output, start)
    for stage in set(again) & set(before):
        kept = before[stage] & stored(base.output)[stage]
        lost = 1 if stage == "inspect" else counts(base.output)[stage] - len(kept)
        assert again[stage] == lost, f"{stage}: only what was missing"
    assert all(again[stage] > 0 for stage in stages)


def test_an_event_in_two_files_is_refused_with_both_names(toys: Toys, tmp_path: Path) -> None:
    mine = toys.copied(tmp_path / "toys")
    one, other = mine.files("data")

    def first_of_the_other(values: Any) -> Any:
        values[77] = 5
        return values

    rewrite(other, event=first_of_the_other)
    configuration = configuration_of(mine, tmp_path / "output")
    with pytest.raises(FileError, match=r"got run 1, event 5, which is also in .*: leave one") as caught:
        run_calibration(configuration, INLINE)
    assert one.name in str(caught.value)
    assert other.name in str(caught.value)
    shutil.copy(toys.files("data")[1], other)
    run_calibration(configuration, INLINE)


def test_event_numbers_of_files_may_interleave(toys: Toys, tmp_path: Path) -> None:
    """Their ranges overlap, so they are compared one by one: even numbers here, odd ones there."""
    mine = toys.copied(tmp_path / "toys")
    for number, path in enumerate(mine.files("data")):
        rewrite(path, event=lambda values, k=number: (np.arange(len(values)) * 2 + k).astype(np.uint64))
    run_calibration(configuration_of(mine, tmp_path / "output"), INLINE)


def test_a_slice_that_lacks_a_file_is_refused_before_any_event_is_read(toys: Toys, tmp_path: Path) -> None:
    configuration = configuration_of(toys, tmp_path)
    lacking = with_sample(configuration, "nominal", files=configuration.samples["nominal"].files[1:])
    with pytest.raises(FileError, match=r"missing nominal\.slice0\.0000\.root"):
        run_calibration(lacking, INLINE)
    wrong = with_sample(configuration, "data", files=configuration.samples["shower"].files)
    with pytest.raises(FileError, match="got simulation in sample data of kind data"):
        run_calibration(wrong, INLINE)
    assert set(counts(tmp_path)) == {"inspect"}
    run_calibration(replace(configuration, systematics=()), INLINE, until="fill")


def test_a_name_that_no_weight_has_is_refused(toys: Toys, tmp_path: Path) -> None:
    from beampipe.calibration.config import Systematic

    wrong = configuration_of(toys, tmp_path, systematics=(Systematic("x", "envelope", weights=("pfd_*",)),))
    with pytest.raises(UnknownNameError, match=r"unknown weight of sample nominal: got 'pfd_\*', expected one of"):
        run_calibration(wrong, INLINE)


def test_kills_of_the_driver_lose_nothing(toys: Toys, tmp_path: Path, base: Configuration, sha256: str) -> None:
    """SIGKILL at a random number of finished artifacts; what is finished then is never made again."""
    output, rng = tmp_path / "output", random.Random(11)
    command = [sys.executable, "-m", "tests.calibration.campaign", str(toys.folder), str(output)]
    killed, finished = 0, 0
    for workers in ("2", "0", "0"):
        wanted = finished + rng.randrange(1, 9)
        with subprocess.Popen(
            [*command, workers], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as driver:
            deadline = time.monotonic() + 300
            while driver.poll() is None and sum(made(output).values()) < wanted and time.monotonic() < deadline:
                time.sleep(0.002)
            killed += driver.poll() is None
            driver.send_signal(signal.SIGKILL)
        finished = sum(made(output).values())
    assert killed == 3, "each was at work"
    assert 3 <= finished < sum(counts(base.output).values())
    before = stored(output)
    start = length_of_log(output)
    configuration = configuration_of(toys, output)
    run_calibration(configuration, INLINE)
    for stage, number in made(output, start).items():
        assert number == len(stored(output)[stage] - before.get(stage, set())), stage
    run_calibration(configuration, INLINE)  # now that the last worker is gone for sure
    assert not list((output / "store" / ".parts").iterdir()), "what was unfinished is swept"
    assert factors_sha256(configuration) == sha256
    assert counts(output) == counts(base.output)


def test_data_of_the_nominal_dataset_is_refused(toys: Toys, tmp_path: Path) -> None:
    files = toys.files("nominal")
    samples = {"nominal": InputSample("nominal", files), "data": InputSample("data", files, "pseudo-data")}
    with pytest.raises(FileError, match="got dataset 'nominal' for both"):
        run_calibration(Configuration(tmp_path, samples), RunSettings("inline"))


def test_a_model_that_was_trained_again_under_its_old_name_is_used(toys: Toys, tmp_path: Path) -> None:
    """In a process that lives on, as in a notebook or a dask worker."""
    model = tmp_path / "gbdt.txt"
    shutil.copy(toys.model, model)
    taggers, shipped = ((Tagger("gbdt", 20, 0.0, 1.0, each),) for each in (str(model), "shipped"))
    plain: dict[str, Any] = {"systematics": (), "bootstrap": Bootstrap(4)}
    kept = configuration_of(toys, tmp_path / "kept", taggers=taggers, **plain)
    run_calibration(kept, INLINE)
    first = factors_sha256(kept)
    shutil.copy(SHIPPED_MODELS["shipped"], model)
    fresh = configuration_of(toys, tmp_path / "fresh", taggers=shipped, **plain)
    for each in (kept, fresh):
        run_calibration(each, INLINE)
    assert factors_sha256(kept) == factors_sha256(fresh) != first
