"""What is made anew after a change, and what is not: both are counted, key by key."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest

import beampipe
from beampipe.calibration.config import (
    Bootstrap,
    Configuration,
    DijetSelection,
    Energy,
    Regions,
    ShiftSettings,
    Systematic,
)
from beampipe.calibration.run import plan_calibration, run_calibration
from beampipe.calibration.taggers import Tagger
from beampipe.calibration.tasks import runtime
from beampipe.calibration.tasks.plan import Plan, VariationKey
from beampipe.calibration.tasks.runtime import stage_code
from beampipe.workflow import installed_version
from tests.calibration.campaign import (
    INLINE,
    Toys,
    configuration_of,
    factors_sha256,
    length_of_log,
    made,
    stored,
    with_sample,
)
from tests.calibration.rootfiles import rewrite

ALL: Final = ("nominal", "data", "shower")
CHUNKS: Final = ("select", "predict", "fill", "merge")
ENDS: Final = ("reweight", "extract", "factors")
READS: Final = ("inspect", "bookkeeping", *CHUNKS, *ENDS)


def of(stages: tuple[str, ...], samples: tuple[str, ...] = ALL) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(stages, samples)


@dataclass(frozen=True)
class Case:
    """A change of the configuration, and the stages that it concerns, each with its samples."""

    change: Callable[[Configuration], Configuration]
    stages: Mapping[str, tuple[str, ...]]
    variations: frozenset[VariationKey] | None = None
    """The variations that are filled anew; None: all."""
    cover: bool = False
    """Whether histograms of other sets of variations serve, which a plan alone does not tell."""


def systematic(configuration: Configuration, name: str, **changes: Any) -> Configuration:
    """One systematic changed, or left out."""
    kept = [replace(item, **changes) if item.name == name else item for item in configuration.systematics]
    return replace(configuration, systematics=tuple(item for item in kept if changes or item.name != name))


def bins(configuration: Configuration, number: int, **changes: Any) -> Configuration:
    taggers = list(configuration.taggers)
    taggers[number] = replace(taggers[number], **changes)
    return replace(configuration, taggers=tuple(taggers))


CASES: Final = {
    "nothing": Case(lambda c: c, {}),
    "a cut": Case(lambda c: replace(c, selection=DijetSelection(min_n_trk=3)), of((*CHUNKS, *ENDS))),
    "a layout": Case(
        lambda c: replace(c, layout=replace(c.layout, clean_from=0.5)), of(("inspect", "bookkeeping", *CHUNKS, *ENDS))
    ),
    "regions": Case(lambda c: replace(c, regions=Regions(min_eta_gap=0.1)), of(("fill", "merge", *ENDS))),
    "a cut on the event": Case(
        lambda c: replace(c, cuts=("trigger",)), of(("select", "predict", "fill", "merge", *ENDS))
    ),
    "a kept branch": Case(lambda c: replace(c, keep=("trigger",)), of((*CHUNKS, *ENDS))),
    "variations kept": Case(lambda c: replace(c, keep_variations=True), {}),
    "an edge of pT": Case(lambda c: replace(c, pt_edges=(500.0, 800.0, 1300.0, 2000.0)), of(("fill", "merge", *ENDS))),
    "a bin of a tagger": Case(lambda c: bins(c, 0, high=70.0), of(("fill", "merge", *ENDS))),
    "a tagger less": Case(lambda c: replace(c, taggers=c.taggers[1:]), of(("fill", "merge", *ENDS))),
    "n_trk alone": Case(lambda c: replace(c, taggers=c.taggers[:1]), of(("select", "fill", "merge", *ENDS))),
    "a tagger more": Case(
        lambda c: replace(c, taggers=(*c.taggers, Tagger("gbdt2", 10, 0.0, 1.0, c.taggers[1].model))),
        of(("predict", "fill", "merge", *ENDS)),
    ),
    "the largest loss": Case(lambda c: replace(c, max_dropped=0.2), of(("factors",))),
    "a working point": Case(lambda c: replace(c, working_points=(0.5, 0.6)), of(("extract", "factors"))),
    "the seed": Case(
        lambda c: replace(c, bootstrap=Bootstrap(12, 2)),
        of(("fill", "merge"), ("nominal", "data")) | of(ENDS),
        frozenset(VariationKey("replica", "2", number) for number in range(12)),
        cover=True,
    ),
    "more replicas": Case(
        lambda c: replace(c, bootstrap=Bootstrap(17, 1)),
        of(("fill", "merge"), ("nominal", "data")) | of(ENDS),
        frozenset(VariationKey("replica", "1", number) for number in range(12, 17)),
        cover=True,
    ),
    "fewer replicas": Case(
        lambda c: replace(c, bootstrap=Bootstrap(9, 1)), of(("merge",), ("nominal", "data")) | of(ENDS), cover=True
    ),
    "groups of events": Case(lambda c: replace(c, shifts=ShiftSettings(5)), of(("fill", "merge", *ENDS))),
    "another extraction": Case(lambda c: replace(c, extraction="template"), of(("extract", "factors"))),
    "bins of eta": Case(lambda c: replace(c, eta_edges=(0.0, 0.9, 2.1)), of(("fill", "merge", *ENDS))),
    "an extraction as a systematic": Case(
        lambda c: replace(c, systematics=(*c.systematics, Systematic("tails", extractions=("topics",)))),
        of(("extract", "factors")),
    ),
    "a rule": Case(lambda c: systematic(c, "pdf", rule="quadrature"), of(("factors",))),
    "how a source is drawn": Case(lambda c: systematic(c, "pdf", experimental=True), of(("factors",))),
    "a method less": Case(lambda c: systematic(c, "gluons"), of(("factors",))),
    "weights less": Case(
        lambda c: systematic(c, "pdf", weights=("pdf_000", "pdf_001")),
        of(("merge",), ("nominal",)) | of(ENDS),
        cover=True,
    ),
    "tracks less": Case(lambda c: systematic(c, "tracking"), of(("merge",), ("nominal",)) | of(ENDS), cover=True),
    "energy less": Case(lambda c: systematic(c, "energy"), of(("merge",), ("nominal",)) | of(ENDS), cover=True),
    "parameters of the energy": Case(
        lambda c: replace(c, energy=Energy(3, 1)),
        of(("predict", "fill", "merge"), ("nominal",)) | of(ENDS),
        frozenset(VariationKey("jets", f"jes_3_{way}", 1) for way in ("up", "down")),
        cover=True,
    ),
    "another model of the energy": Case(
        lambda c: replace(c, energy=Energy(6, 1)),
        of(("predict", "fill", "merge"), ("nominal",)) | of(ENDS),
        frozenset(VariationKey("jets", f"jes_{k}_{way}", 2) for k in range(1, 7) for way in ("up", "down")),
        cover=True,
    ),
    "a sample less": Case(lambda c: systematic(c, "shower"), of(ENDS)),
    "a sample's luminosity": Case(
        lambda c: with_sample(c, "nominal", luminosity=7.0), of(("bookkeeping",), ("nominal",)) | of(ENDS)
    ),
    "bits of a sample": Case(lambda c: with_sample(c, "shower", weight_bits=30), of(CHUNKS, ("shower",)) | of(ENDS)),
    "bits of data": Case(
        lambda c: with_sample(c, "data", weight_bits=30), of(CHUNKS, ("data",)) | of(("extract", "factors"))
    ),
    "order of the files": Case(lambda c: with_sample(c, "nominal", files=c.samples["nominal"].files[::-1]), {}),
    "tables not kept": Case(lambda c: replace(c, keep_tables=False), {}),
    "a sample that nothing uses": Case(
        lambda c: replace(c, samples={**c.samples, "more": replace(c.samples["shower"], name="more")}), {}
    ),
}


def keys(
    plan: Plan,
    stages: Mapping[str, tuple[str, ...]],
    path: Path | None = None,
    variations: frozenset[VariationKey] | None = None,
) -> dict[str, set[str]]:
    """Keys of the artifacts of these stages and samples, of one file or of some variations alone if they are given."""
    result: dict[str, set[str]] = {}
    for stage, samples in stages.items():
        parts = [plan.samples[name] for name in samples if name in plan.samples]
        if stage in ENDS:
            result[stage] = {getattr(plan, stage).key}
        elif stage == "bookkeeping":
            result[stage] = {part.books.key for part in parts}
        elif stage == "inspect":
            result[stage] = {
                recipe.key for part in parts for recipe in part.facts if path in (None, Path(recipe.label))
            }
        elif stage == "merge":
            result[stage] = {
                part.merged[number].key
                for part in parts
                for number, chunks in part.slices.items()
                if path is None or any(chunk.path == path for chunk in chunks)
            }
        else:
            chunks = [chunk for part in parts for chunk in part.chunks if path in (None, chunk.path)]
            if variations is not None:
                chunks = [chunk.only(variations) for chunk in chunks]
            recipes = [getattr(chunk, stage) for chunk in chunks]
            result[stage] = {recipe.key for recipe in recipes if recipe is not None}
    return result


@pytest.fixture
def copied(base: Configuration, toys: Toys, tmp_path: Path) -> Configuration:
    """The campaign with a store of its own that has everything."""
    shutil.copytree(base.output, tmp_path / "output")
    return configuration_of(toys, tmp_path / "output")


@pytest.fixture(scope="module")
def planned(base: Configuration, toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> Configuration:
    """The same for plans alone, which add nothing but what they inspect."""
    output = tmp_path_factory.mktemp("planned") / "output"
    shutil.copytree(base.output, output)
    return configuration_of(toys, output)


def planned_anew(configuration: Configuration, base: Configuration) -> tuple[Plan, dict[str, set[str]]]:
    """A plan, and which of its artifacts the small campaign lacks."""
    plan, have = plan_calibration(configuration), stored(base.output)
    new = {stage: result - have[stage] for stage, result in keys(plan, of(READS, tuple(plan.samples))).items()}
    return plan, {stage: result for stage, result in new.items() if result}


def of_contents(new: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """What is new without looks at files: each belongs to a path and its times."""
    return {stage: result for stage, result in new.items() if stage != "inspect"}


def made_anew(configuration: Configuration) -> tuple[Plan, dict[str, set[str]]]:
    """Run, and tell which artifacts are new; each was written once."""
    output = configuration.output
    before, start = stored(output), length_of_log(output)
    plan = run_calibration(configuration, INLINE)
    new = {stage: result - before.get(stage, set()) for stage, result in stored(output).items()}
    new = {stage: result for stage, result in new.items() if result}
    assert made(output, start) == {stage: len(result) for stage, result in new.items()}
    return plan, new


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.cover])
def test_a_change_needs_anew_what_depends_on_it(base: Configuration, planned: Configuration, name: str) -> None:
    plan, new = planned_anew(CASES[name].change(planned), base)
    assert new == keys(plan, CASES[name].stages)


@pytest.mark.parametrize("name", ["nothing", *(name for name, case in CASES.items() if case.cover)])
def test_a_change_makes_anew_what_depends_on_it(copied: Configuration, name: str) -> None:
    case = CASES[name]
    plan, new = made_anew(case.change(copied))
    assert new == keys(plan, case.stages, variations=case.variations)


def test_another_model_under_the_same_name(copied: Configuration, toys: Toys, tmp_path: Path) -> None:
    """A score is another if the model is, not if its path is."""
    moved = tmp_path / "moved.txt"
    shutil.copy(toys.model, moved)
    changed = bins(copied, 1, model=str(moved))
    assert made_anew(changed)[1] == {}
    text = moved.read_text()
    place = text.index(".", text.index("leaf_value=")) + 1
    moved.write_text(text[:place] + ("1" if text[place] != "1" else "2") + text[place + 1 :])
    plan, new = made_anew(changed)
    assert new == keys(plan, of(("predict", "fill", "merge", *ENDS)))


@pytest.mark.parametrize(
    ("sample", "stages"),
    [("nominal", ("inspect", *CHUNKS, *ENDS)), ("data", ("inspect", *CHUNKS, "extract", "factors"))],
)
def test_one_event_of_one_file(
    copied: Configuration, toys: Toys, tmp_path: Path, sample: str, stages: tuple[str, ...]
) -> None:
    moved = configuration_of(toys.copied(tmp_path / "toys"), copied.output)
    assert of_contents(made_anew(moved)[1]) == {}, "where the files are does not matter"
    path = moved.samples[sample].files[0]

    def one_more(values: Any) -> Any:
        values[0] += 1
        return values

    rewrite(path, jet_n_trk=one_more)
    plan, new = made_anew(moved)
    want = keys(plan, of((*stages, "bookkeeping"), (sample,)), path)
    assert new == want
    assert len(new["fill"]) < len(plan.samples[sample].chunks)


def test_other_names_and_times_of_files_do_not_matter(copied: Configuration, tmp_path: Path) -> None:
    for name in ALL:
        for number, path in enumerate(copied.samples[name].files):
            other = tmp_path / f"{name}-{(7 * number) % 5}{number}.root"
            shutil.copy(path, other)
            os.utime(other, (1e9 + number, 1e9))
        copied = with_sample(copied, name, files=tuple(sorted(tmp_path.glob(f"{name}-*.root"))))
    assert of_contents(made_anew(copied)[1]) == {}


def edited(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


CODE: Final[dict[str, tuple[str, Callable[[str], str], dict[str, tuple[str, ...]]]]] = {
    "a comment": (
        "events/fill.py",
        lambda t: t.replace("\n    for event, row in", "\n    # why\n    for event, row in"),
        {},
    ),
    "a docstring": ("events/select.py", lambda t: t.replace('"""Stage 1, `select`', '"""Stage `select`'), {}),
    "the configuration": ("config.py", lambda t: t + "\nx = 1\n", {}),
    "the loop that selects": (
        "events/select.py",
        lambda t: edited(t, "second = lead + 1", "second = 1 + lead"),
        of((*CHUNKS, *ENDS)),
    ),
    "the loop that fills": (
        "events/fill.py",
        lambda t: edited(t, "_add(sums, row, values[event])", "_add(sums, row, 1 * values[event])"),
        of(("fill", "merge", *ENDS)),
    ),
    "random numbers": ("events/variations.py", lambda t: t + "\nx = 1\n", of(("predict", "fill", "merge", *ENDS))),
    "how histograms are added": ("events/histograms.py", lambda t: t + "\nx = 1\n", of(("fill", "merge", *ENDS))),
    "how slices are scaled": ("method/cases.py", lambda t: t + "\nx = 1\n", of(ENDS)),
    "the inversion": (
        "method/matrix.py",
        lambda t: edited(t, "bad = determinant == 0", "bad = 0 == determinant"),
        of(("extract", "factors")),
    ),
    "how sources are combined": ("method/uncertainties.py", lambda t: t + "\nx = 1\n", of(("factors",))),
    "reading": ("ntuple/columns.py", lambda t: t + "\nx = 1\n", of(("inspect", "bookkeeping", *CHUNKS, *ENDS))),
    "a look at a file": ("ntuple/file_checks.py", lambda t: t + "\nx = 1\n", of(("inspect", "bookkeeping", *ENDS))),
}


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this package, without what is neither Python nor TOML."""
    copy = tmp_path_factory.mktemp("code") / "beampipe"

    def others(folder: str, names: list[str]) -> list[str]:
        paths = [Path(folder, name) for name in names]
        left_out = [each for each in paths if each.suffix not in (".py", ".toml")]
        return [each.name for each in left_out if each.is_file() or each.name == "__pycache__"]

    shutil.copytree(Path(beampipe.__file__).parent, copy, ignore=others)
    return copy


@pytest.fixture
def fresh_code() -> Iterator[None]:
    """Digests of code are computed anew, also after the test."""
    stage_code.cache_clear()
    yield
    stage_code.cache_clear()


@pytest.mark.usefixtures("fresh_code")
@pytest.mark.parametrize("name", CODE)
def test_a_line_of_code(
    base: Configuration, planned: Configuration, code: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The code that runs stays; the code whose digest is taken is a copy with one line changed."""
    file, change, stages = CODE[name]
    path = code / "calibration" / file
    before = path.read_text()
    path.write_text(change(before))
    try:
        assert path.read_text() != before
        monkeypatch.setattr(beampipe, "__path__", [str(code)])
        plan, new = planned_anew(planned, base)
    finally:
        path.write_text(before)
    assert new == keys(plan, stages)


def test_what_was_made_before_is_found_again(copied: Configuration) -> None:
    """There and back: nothing is made twice, and the result is that of before."""
    sha256 = factors_sha256(copied)
    other = replace(copied, working_points=(0.6,))
    assert made_anew(other)[1].keys() == {"extract", "factors"}
    assert factors_sha256(copied) != sha256
    assert made_anew(copied)[1] == {}
    assert factors_sha256(copied) == sha256


def test_every_field_of_the_configuration_is_in_a_case() -> None:
    """A new setting needs a case, or a result could depend on it without a key that does."""
    tried = "samples nominal data pt_edges eta_edges working_points extraction keep_tables selection regions taggers"
    tried += " energy layout bootstrap systematics shifts max_dropped cuts keep keep_variations"
    elsewhere = "output chunk_events style"  # tests of runs and of reports
    assert set(Configuration.__dataclass_fields__) == {*tried.split(), *elsewhere.split()}


@pytest.mark.usefixtures("fresh_code")
@pytest.mark.parametrize(
    ("package", "concerned"),
    [
        ("uproot", of(READS)),
        ("numpy", of(READS)),
        ("lightgbm", of(("predict", "fill", "merge", *ENDS))),
        ("matplotlib", {}),
        ("the compiled loops", of(READS)),
    ],
)
def test_another_version_of_what_a_stage_computes_with(
    base: Configuration,
    planned: Configuration,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    concerned: dict[str, tuple[str, ...]],
) -> None:
    real = installed_version
    monkeypatch.setattr(runtime, "installed_version", lambda name: "another" if name == package else real(name))
    if package == "the compiled loops":
        monkeypatch.setattr(runtime, "build", lambda: "another")
    plan, new = planned_anew(planned, base)
    assert new == keys(plan, concerned)
