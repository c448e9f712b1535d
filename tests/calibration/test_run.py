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

from beampipe.calibration.config import SHIPPED_MODELS, Configuration, InputSample, Tagger
from beampipe.calibration.method.factors import Factors
from beampipe.calibration.ntuple.inspection import inspect_file
from beampipe.calibration.run import plan_calibration, run_calibration
from beampipe.calibration.tasks.inspection import InspectedFile, InspectionRequest
from beampipe.calibration.tasks.plan import ranges_of
from beampipe.calibration.tasks.runtime import FACTORS, RunSettings, workspace_of
from beampipe.errors import FileError, UnknownNameError, WorkflowError
from beampipe.workflow import Recipe
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


@pytest.mark.parametrize(("executor", "workers", "size"), [("processes", 2, 600), ("processes", 3, 10**6)])
def test_any_number_of_workers_gives_the_same_bytes(
    toys: Toys, tmp_path: Path, sha256: str, executor: str, workers: int, size: int
) -> None:
    configuration = renamed(configuration_of(toys, tmp_path / "output", chunk_events=size), tmp_path / "files")
    run_calibration(shuffled(configuration, workers), RunSettings(executor, workers))
    assert factors_sha256(configuration) == sha256


def test_one_worker_without_tables_gives_the_same_bytes(toys: Toys, tmp_path: Path, sha256: str) -> None:
    configuration = configuration_of(toys, tmp_path, keep_tables=False)
    run_calibration(configuration, RunSettings("processes", 1))
    assert factors_sha256(configuration) == sha256
    assert "select" not in counts(tmp_path)
    assert "predict" not in counts(tmp_path)
    assert counts(tmp_path)["fill"] > 9


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


def test_tables_that_were_asked_for_are_kept_and_used(toys: Toys, tmp_path: Path, sha256: str) -> None:
    configuration = configuration_of(toys, tmp_path, keep_tables=False)
    run_calibration(configuration, INLINE, until="predict")
    assert counts(tmp_path)["select"] == counts(tmp_path)["predict"]
    start = length_of_log(tmp_path)
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


def test_factors_that_were_removed_come_back(base: Configuration, toys: Toys, tmp_path: Path, sha256: str) -> None:
    configuration = copy_of(base, toys, tmp_path)
    (tmp_path / "output" / FACTORS).write_text("torn")
    run_calibration(configuration, INLINE)
    assert factors_sha256(configuration) == sha256


def copy_of(base: Configuration, toys: Toys, folder: Path) -> Configuration:
    shutil.copytree(base.output, folder / "output")
    return configuration_of(toys, folder / "output")


def damage(output: Path, stage: str) -> None:
    """Another byte in the middle of the first artifact of a stage; its size stays."""
    path = sorted(path for path in (output / "store" / stage).rglob("*.*") if not path.name.endswith(".about.json"))[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove(output: Path, *stages: str) -> None:
    for stage in stages:
        shutil.rmtree(output / "store" / stage)


@pytest.mark.parametrize(
    ("stage", "removed", "again"),
    [
        ("select", ("predict", "fill", "merge", "extract", "factors"), 1),
        ("predict", ("fill", "merge", "extract", "factors"), 1),
        ("merge", ("reweight", "extract", "factors"), 1),
        ("fill", ("merge", "extract", "factors"), 1),
        ("reweight", ("extract", "factors"), 1),
        ("extract", ("factors",), 1),
        ("factors", (), 1),
    ],
)
def test_a_damaged_artifact_is_noticed_and_made_again(
    base: Configuration, toys: Toys, tmp_path: Path, sha256: str, stage: str, removed: tuple[str, ...], again: int
) -> None:
    """When it is read; what was made of it has to be made anew here."""
    configuration = copy_of(base, toys, tmp_path)
    remove(configuration.output, *removed)
    damage(configuration.output, stage)
    start = length_of_log(configuration.output)
    run_calibration(configuration, INLINE)
    assert factors_sha256(configuration) == sha256
    assert made(configuration.output, start)[stage] == again
    assert len(list((configuration.output / "store" / stage).rglob("*.damaged"))) == 1
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
    shutil.copytree(toys.folder, tmp_path / "toys")
    mine = Toys(tmp_path / "toys", toys.luminosity)
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
    shutil.copytree(toys.folder, tmp_path / "toys")
    mine = Toys(tmp_path / "toys", toys.luminosity)
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
    shutil.copytree(toys.folder, tmp_path / "toys")
    mine = Toys(tmp_path / "toys", toys.luminosity)
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


def test_five_kills_of_the_driver_lose_nothing(toys: Toys, tmp_path: Path) -> None:
    """SIGKILL at a random number of finished artifacts; what is finished then is never made again."""
    output, rng = tmp_path / "output", random.Random(11)
    command = [sys.executable, "-m", "tests.calibration.campaign", str(toys.folder), str(output)]
    everything = 70
    killed, finished = 0, 0
    for workers in ("2", "0", "0", "2", "0"):
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
    assert killed == 5, "each was at work"
    assert 5 <= finished < everything
    before = stored(output)
    start = length_of_log(output)
    configuration = configuration_of(toys, output)
    run_calibration(configuration, INLINE)
    for stage, number in made(output, start).items():
        assert number == len(stored(output)[stage] - before.get(stage, set())), stage
    run_calibration(configuration, INLINE)  # now that the last worker is gone for sure
    assert not list((output / "store" / ".parts").iterdir()), "what was unfinished is swept"
    reference = configuration_of(toys, tmp_path / "reference")
    run_calibration(reference, INLINE)
    assert factors_sha256(configuration) == factors_sha256(reference)
    assert counts(output) == counts(reference.output)


def test_factors_name_what_they_were_asked_for(base: Configuration) -> None:
    result = Factors.read(base.output / FACTORS)
    assert result.taggers == ("n_trk", "gbdt")
    assert len(result.by_name) == 2 * 2 * 2 * 2
    assert result.experimental == ("tracking", "energy")
    one = result.against_pt(tagger="n_trk", working_point=0.5, flavour="quark", quantity="efficiency")
    assert list(one.sources) == ["pdf", "tracking", "energy", "shower", "gluons", "closure"]
    assert workspace_of(base).store.count() == sum(counts(base.output).values())


def test_data_of_the_nominal_dataset_is_refused(toys: Toys, tmp_path: Path) -> None:
    files = toys.files("nominal")
    samples = {"nominal": InputSample("nominal", files), "data": InputSample("data", files, "pseudo-data")}
    with pytest.raises(FileError, match="got dataset 'nominal' for both"):
        run_calibration(Configuration(tmp_path, samples), RunSettings("inline"))


def test_a_model_that_was_trained_again_under_its_old_name_is_used(toys: Toys, tmp_path: Path) -> None:
    """In a process that lives on, as in a notebook or a dask worker."""
    model = tmp_path / "gbdt.txt"
    shutil.copy(toys.model, model)
    taggers = (Tagger("gbdt", 20, 0.0, 1.0, str(model)),)
    run_calibration(configuration_of(toys, tmp_path / "kept", taggers=taggers), RunSettings("inline"))
    first = (tmp_path / "kept" / FACTORS).read_bytes()
    shutil.copy(SHIPPED_MODELS["shipped"], model)
    for name in ("kept", "fresh"):
        run_calibration(configuration_of(toys, tmp_path / name, taggers=taggers), RunSettings("inline"))
    shipped = (Tagger("gbdt", 20, 0.0, 1.0, "shipped"),)
    run_calibration(configuration_of(toys, tmp_path / "shipped", taggers=shipped), RunSettings("inline"))
    again, fresh, wanted = ((tmp_path / name / FACTORS).read_bytes() for name in ("kept", "fresh", "shipped"))
    assert again == fresh == wanted != first


def test_chunks_are_smaller_where_models_score_jets(base: Configuration) -> None:
    path = base.samples["nominal"].files[0]
    settings = plan_calibration(base).samples["nominal"].chunks[0].settings
    facts = replace(inspect_file(path), borders=tuple(range(0, 600_001, 50_000)))
    request = InspectionRequest(settings.select.layout, None, (), 0.0)
    file = InspectedFile(path, None, "", facts, request, Recipe("inspect", ""))

    def sizes(size: int, *taggers: Tagger) -> list[int]:
        chosen = settings._replace(fill=replace(settings.fill, taggers=taggers))
        return [stop - start for start, stop in ranges_of(file, replace(base, chunk_events=size), chosen)]

    assert sizes(0, Tagger()) == [250_000, 250_000, 100_000]
    assert sizes(0, Tagger(), Tagger("gbdt", 25, 0.0, 1.0, "shipped")) == [100_000] * 6
    assert sizes(200_000, Tagger()) == [200_000] * 3
