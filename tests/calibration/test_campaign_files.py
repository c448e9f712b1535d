"""Ordinary and odd files of a campaign: skims that kept nothing, weights of any scale, losses, names of files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from beampipe.calibration.config import (
    Bootstrap,
    Configuration,
    DijetSelection,
    InputSample,
    alternatives,
    load_configuration,
)
from beampipe.calibration.layout import preset_layout
from beampipe.calibration.method.cases import Dropped
from beampipe.calibration.method.factors import Factors
from beampipe.calibration.ntuple.bookkeeping import ManifestRow, file_origins, slice_factors
from beampipe.calibration.ntuple.file_checks import inspect_file
from beampipe.calibration.run import run_calibration
from beampipe.calibration.taggers import Tagger
from beampipe.calibration.tasks.runtime import FACTORS
from beampipe.errors import BeampipeError, FileError, InputError
from beampipe.simulation.ntuples import Events, read_bookkeeping, read_ntuple, write_ntuple
from beampipe.simulation.ntuples.toy import toy_weight_names
from tests.calibration.campaign import INLINE, SYSTEMATICS, Toys, configuration_of, with_sample
from tests.calibration.layout.disguises import nanoaod, tree
from tests.calibration.layout.test_disguises import NANOAOD, close, numbers

PLAIN: dict[str, Any] = {"taggers": (Tagger("n_trk", 30, 0.0, 60.0),), "bootstrap": Bootstrap(4), "systematics": ()}


@pytest.fixture(scope="module")
def plain(toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Numbers of the campaign as it is."""
    return results(configuration_of(toys, tmp_path_factory.mktemp("plain"), **PLAIN))


def copied(toys: Toys, folder: Path, change: Callable[[Path, Events, dict[str, Any]], None]) -> Configuration:
    """The campaign with the nominal files written again by `change`."""
    (folder / "nominal").mkdir()
    for path in toys.files("nominal"):
        change(folder / "nominal" / path.name, read_ntuple(path), read_bookkeeping(path))
    return with_nominal(configuration_of(toys, folder / "output", **PLAIN), folder)


def with_nominal(configuration: Configuration, folder: Path) -> Configuration:
    return with_sample(configuration, "nominal", files=tuple(sorted((folder / "nominal").glob("*.root"))))


def in_two(path: Path, events: Events, book: dict[str, Any]) -> None:
    """All events in the first of two files; both have sums of weights."""
    number = book["file_number"]
    for k, part in enumerate((events, events[0:0])):
        own = {"file_number": 2 * number + k, "n_files": 2 * book["n_files"], "sum_weights": book["sum_weights"] / 2}
        write_ntuple(path.with_stem(f"{path.stem}_{k}"), part, {**book, **own})


def weighted(factor: Any) -> Callable[[Path, Events, dict[str, Any]], None]:
    """Weights times a factor, or times the numbers that a function gives for so many events, whose mean is known."""

    def change(path: Path, events: Events, book: dict[str, Any]) -> None:
        numbers_of, mean = factor if isinstance(factor, tuple) else (lambda n: np.full(n, factor), factor)
        assert events.weight is not None
        weight = (events.weight * numbers_of(len(events))[:, None]).astype(np.float32)
        columns = {**events.columns, "weight": weight}
        write_ntuple(path, Events(offset=events.offset, **columns), {**book, "sum_weights": book["sum_weights"] * mean})

    return change


def results(configuration: Configuration) -> Any:
    run_calibration(configuration, INLINE)
    return numbers(configuration)


def test_a_file_without_events_counts_with_its_sum_of_weights(toys: Toys, plain: Any, tmp_path: Path) -> None:
    assert results(copied(toys, tmp_path, in_two)) == plain


def test_a_nanoaod_without_events_counts_too(toys: Toys, tmp_path: Path) -> None:
    """Sums in Runs, those of ratios in a list. Skims by RDataFrame may leave a tree without branches."""
    names = list(toy_weight_names(8))
    layout = preset_layout("nanoaod", {**NANOAOD, "sums": {}, "weights": {**NANOAOD["weights"], "names": names}})
    events, book = read_ntuple(toys.files("nominal")[0]), read_bookkeeping(toys.files("nominal")[0])
    half = {**book, "sum_weights": book["sum_weights"] / 2}
    full, part, empty = (tmp_path / f"{name}.root" for name in ("full", "part", "empty"))
    nanoaod(full, events, book)
    nanoaod(part, events, half)
    nanoaod(empty, events[0:0], half)
    with uproot.open(empty) as file:
        runs = file["Runs"].arrays(["genEventSumw", "LHEPdfSumw"])
    columns = {"genEventSumw": runs.genEventSumw.to_numpy(), "LHEPdfSumw": runs.LHEPdfSumw}
    tree(empty, "Events", {"unused": np.empty(0, np.int32)}, ("Runs", columns))
    slices = []
    for files in ((full,), (part, empty)):
        sample = InputSample("nominal", files, cross_section=10.0)
        origins = file_origins(sample)
        facts = {path: inspect_file(path, layout, origins[path], needs=("n_trk",)) for path in files}
        slices.append(slice_factors(sample, facts).slices)
    assert slices[0] == slices[1]
    assert len(slices[0][0].factors) == 8
    assert len(set(slices[0][0].factors)) > 1


def test_a_slice_without_events_counts_nothing(toys: Toys, tmp_path: Path) -> None:
    """As the lowest slice of a skim for high pT."""

    def without_first(path: Path, events: Events, book: dict[str, Any]) -> None:
        write_ntuple(path, events[0:0] if book["slice"] == 0 else events, book)

    result = copied(toys, tmp_path, without_first)
    plan = run_calibration(result, INLINE)
    assert sorted(plan.samples["nominal"].merged) == [1, 2]


def test_files_without_any_event_are_one_error(toys: Toys, tmp_path: Path) -> None:
    result = copied(toys, tmp_path, lambda path, events, book: write_ntuple(path, events[0:0], book))
    with pytest.raises(FileError, match="sample nominal: got no event in any of 4 files"):
        run_calibration(result, INLINE)


def test_the_scale_of_weights_does_not_matter(toys: Toys, plain: Any, tmp_path: Path) -> None:
    """A power of 2 changes no bit; squares of small weights would be lost with a fixed unit."""
    for name, scale in (("power", 2.0**-40), ("other", 3e4)):
        (tmp_path / name).mkdir()
        result = results(copied(toys, tmp_path / name, weighted(scale)))
        close(result, plain)
        assert (result == plain) == (name == "power")


@pytest.fixture
def spread(toys: Toys, tmp_path: Path) -> Configuration:
    """Log-normal weights of a median of 60, of which 31 % are above 100."""
    rng = np.random.default_rng(1)
    sigma = 1.03
    factor = (lambda n: 60 * np.exp(sigma * rng.standard_normal(n)), 60 * np.exp(sigma**2 / 2))

    def change(path: Path, events: Events, book: dict[str, Any]) -> None:
        ones = np.ones_like(events.columns["weight"])
        sums = book["sum_weights"] / book["sum_weights"] * book["n_generated"]
        weighted(factor)(
            path, Events(offset=events.offset, **{**events.columns, "weight": ones}), {**book, "sum_weights": sums}
        )

    return copied(toys, tmp_path, change)


def shares(configuration: Configuration) -> dict[tuple[str, str], Dropped]:
    return {(each.sample, each.cut): each for each in Factors.read(configuration.output / FACTORS).dropped}


def test_no_weight_is_cut_by_default(spread: Configuration) -> None:
    run_calibration(spread, INLINE)
    result = shares(spread)
    assert set(result) == {
        (sample, cut) for sample in ("nominal", "data") for cut in ("clean", "n_trk", "label", "weight")
    }
    assert all(result[sample, "weight"] == Dropped(sample, "weight", 0.0, 0.0) for sample in ("nominal", "data"))
    assert 0 < result["data", "clean"].share < 0.05
    Factors.read(spread.output / FACTORS).require_valid()


def test_what_a_cut_on_weights_drops_is_in_the_result(spread: Configuration) -> None:
    """5 / 3 of the median is 100; a cut at ten medians drops 1.3 % of the events, and more of their weights."""
    for limit, events in ((10.0, 0.0127), (5 / 3, 0.31)):
        result = replace(spread, selection=DijetSelection(max_weight=limit))
        run_calibration(result, INLINE)
        lost = shares(result)["nominal", "weight"]
        assert lost.events == pytest.approx(events, abs=0.02 if events > 0.1 else 0.008)
        assert lost.weight > lost.events
        assert shares(result)["data", "weight"].share == 0
    with pytest.raises(
        InputError,
        match=r"sample nominal: dropped 3\d\.\d\d% of the events.*weights above selection.max_weight.*set max_dropped",
    ):
        Factors.read(result.output / FACTORS).require_valid()
    run_calibration(replace(result, max_dropped=1.0), INLINE)
    Factors.read(result.output / FACTORS).require_valid()


def test_a_weight_that_is_no_number_is_named(toys: Toys, tmp_path: Path) -> None:
    """The file, the branch and the entry, here of a variation; in the nominal weight: see `test_run`."""

    def spoiled(path: Path, events: Events, book: dict[str, Any]) -> None:
        assert events.weight is not None
        weight = events.weight.copy()
        weight[400:, 5] = np.nan
        columns = {**events.columns, "weight": weight}
        write_ntuple(path, Events(offset=events.offset, **columns), book)

    result = replace(copied(toys, tmp_path, spoiled), systematics=SYSTEMATICS[:1])
    with pytest.raises(
        BeampipeError, match=r"slice\d\.0000\.root: branch 'weight': got nan at entry 4\d\d, expected finite"
    ):
        run_calibration(result, INLINE)


NAMES = ["mc [1].root", "mc {a,b}.root", "Jet's *.root", "50% #1?.root", "müon;1.root", "a:b.root"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_may_have_any_name(toys: Toys, tmp_path: Path, name: str) -> None:
    source = toys.files("nominal")[0]
    shutil.copy(source, tmp_path / name)
    text = f"[samples.nominal]\nfiles = {json.dumps(name)}\n[samples.data]\nfiles = {json.dumps(str(source))}"
    (tmp_path / "c.toml").write_text(f"{text}\nkind = 'data'\n")
    files = load_configuration(tmp_path / "c.toml").samples["nominal"].files
    assert files == (tmp_path / name,)
    assert inspect_file(files[0]).n_events == inspect_file(source).n_events
    assert ManifestRow("d", (name,), 1.0).has(files[0])


def test_braces_name_several_files(toys: Toys, tmp_path: Path) -> None:
    for name in ("mc_1.root", "mc_2.root", "mc_10.root"):
        shutil.copy(toys.files("nominal")[0], tmp_path / name)
    start = "[samples.data]\nfiles = 'mc_1.root'\nkind = 'data'\n[samples.nominal]\nfiles = "
    (tmp_path / "c.toml").write_text(f"{start}'mc_{{1,2}}*.root'")
    files = load_configuration(tmp_path / "c.toml").samples["nominal"].files
    assert [path.name for path in files] == ["mc_1.root", "mc_10.root", "mc_2.root"]
    (tmp_path / "c.toml").write_text(f"{start}'mc_{{1,3}}.root'")
    with pytest.raises(FileError, match=r"got files 'mc_3\.root' of 'mc_\{1,3\}\.root', which matches no file"):
        load_configuration(tmp_path / "c.toml")
    assert set(alternatives("{a,b}{c,d{e,f}}")) == {"ac", "bc", "ade", "bde", "adf", "bdf"}
    assert ManifestRow("d", ("mc_{1,2}.root",), 1.0).has(Path("x/mc_2.root"))
    assert not ManifestRow("d", ("mc_{1,2}.root",), 1.0).has(Path("x/mc_3.root"))
