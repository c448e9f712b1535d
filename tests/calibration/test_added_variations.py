"""Variations that are added to a calibration one after the other: what is read and made, and that the result is the
same as of all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from beampipe.calibration.config import Bootstrap, Configuration, Systematic
from beampipe.calibration.ntuple import columns
from beampipe.calibration.run import run_calibration
from tests.calibration.campaign import INLINE, Toys, configuration_of, factors_sha256, length_of_log, made, stored

Change = Callable[[Configuration], Configuration]


def source(configuration: Configuration, name: str, **changes: Any) -> Configuration:
    """The configuration with one more source of uncertainty."""
    return replace(configuration, systematics=(*configuration.systematics, Systematic(name, "envelope", **changes)))


STEPS: Final[dict[str, tuple[Change, set[str]]]] = {
    "a weight": (lambda c: source(c, "one", weights=("pdf_001",)), {"weight"}),
    "two weights": (lambda c: source(c, "two", weights=("pdf_000", "pdf_002")), {"weight"}),
    "an efficiency": (lambda c: source(c, "tracks", kinematics=("trk_eff",)), {"jet_n_trk_eff"}),
    "a shift": (lambda c: source(c, "scale", kinematics=("jes_1_up",)), set()),
    "replicas": (lambda c: replace(c, bootstrap=Bootstrap(c.bootstrap.replicas + 6, 1)), set()),
}
"""What is added, and the branches that it needs beside those of the tables."""

ORDER: Final = {name: number for number, name in enumerate(("one", "two", "tracks", "scale"))}


def in_order(configuration: Configuration) -> Configuration:
    """The sources of uncertainty in a fixed order, which the result depends on."""
    return replace(
        configuration, systematics=tuple(sorted(configuration.systematics, key=lambda each: ORDER[each.name]))
    )


def start(toys: Toys, output: Path, **changes: Any) -> Configuration:
    """The campaign without systematics."""
    nothing = configuration_of(toys, output, systematics=(), bootstrap=Bootstrap(5, 1), **changes)
    return replace(nothing, samples={name: nothing.samples[name] for name in ("nominal", "data")})


@contextmanager
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Names of the branches that are opened while the block runs."""
    opened: set[str] = set()

    class RecordingTree:
        def __init__(self, tree: Any) -> None:
            self._tree = tree

        def __getitem__(self, branch: str) -> Any:
            opened.add(branch)
            return self._tree[branch]

        def __contains__(self, branch: str) -> bool:
            return branch in self._tree

        def __getattr__(self, name: str) -> Any:
            return getattr(self._tree, name)

    original = columns.EventSource

    def open_recording(path: Path, tree: Any, *more: Any) -> columns.EventSource:
        return original(path, RecordingTree(tree), *more)

    with monkeypatch.context() as patch:
        patch.setattr(columns, "EventSource", open_recording)
        yield opened


def contents(output: Path, stage: str) -> dict[str, bytes]:
    """The payloads of a stage, by key."""
    paths = (output / "store" / stage).rglob("*.npz")
    return {path.stem: path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def at_once(toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> Configuration:
    """All variations in one run."""
    configuration = start(toys, tmp_path_factory.mktemp("at_once"))
    for change, _ in STEPS.values():
        configuration = change(configuration)
    configuration = in_order(configuration)
    run_calibration(configuration, INLINE)
    return configuration


def test_only_what_is_added_is_read_and_filled(
    toys: Toys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: Configuration
) -> None:
    """No chunk is selected again; the sums and the result have the bytes of a run with all variations."""
    configuration = start(toys, tmp_path)
    plan = run_calibration(configuration, INLINE)
    n_nominal, n_all = len(plan.samples["nominal"].chunks), len(plan.chunks)
    for name, (change, branches) in reversed(STEPS.items()):
        configuration, begin = in_order(change(configuration)), length_of_log(tmp_path)
        with recorded(monkeypatch) as opened:
            run_calibration(configuration, INLINE)
        assert opened == branches, name
        new = made(tmp_path, begin)
        assert new["select"] == 0
        assert new["predict"] == (n_nominal if name in ("an efficiency", "a shift") else 0)
        assert new["fill"] == (n_all if name == "replicas" else n_nominal)
    assert factors_sha256(configuration) == factors_sha256(at_once)
    whole = contents(at_once.output, "merge")
    assert {key: contents(tmp_path, "merge")[key] for key in whole} == whole


def test_without_tables_a_variation_needs_the_columns_of_the_selection_and_its_own(
    toys: Toys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = start(toys, tmp_path, keep_tables=False)
    configuration = replace(configuration, taggers=configuration.taggers[:1])
    run_calibration(STEPS["a weight"][0](configuration), INLINE)
    begin = length_of_log(tmp_path)
    both = STEPS["a shift"][0](STEPS["a weight"][0](configuration))
    with recorded(monkeypatch) as opened:
        plan = run_calibration(both, INLINE)
    assert {"jet_pt", "jet_eta"} < opened
    assert not {"jet_n_trk_eff", "jet_width", "jet_c1"} & opened
    assert made(tmp_path, begin)["fill"] == len(plan.samples["nominal"].chunks)
    result = factors_sha256(both)
    fresh = replace(both, output=tmp_path / "fresh")
    run_calibration(fresh, INLINE)
    assert factors_sha256(fresh) == result


def test_what_is_left_out_and_comes_back_costs_no_event(
    toys: Toys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: Configuration
) -> None:
    """Sums are cut from the sums of more variations; also of such that were never in one run together."""
    configuration = start(toys, tmp_path)
    for name in ("a weight", "a shift", "replicas"):
        configuration = STEPS[name][0](configuration)
        run_calibration(in_order(configuration), INLINE)
    without_weight = replace(
        configuration, systematics=tuple(each for each in configuration.systematics if each.name != "one")
    )
    begin = length_of_log(tmp_path)
    with recorded(monkeypatch) as opened:
        run_calibration(replace(without_weight, bootstrap=Bootstrap(7, 1)), INLINE)
    assert opened == set()
    assert set(made(tmp_path, begin)) == {"merge", "reweight", "extract", "factors"}
    fresh = replace(without_weight, bootstrap=Bootstrap(7, 1), output=tmp_path / "fresh")
    run_calibration(fresh, INLINE)
    assert factors_sha256(fresh) == factors_sha256(without_weight)


def test_the_list_of_variations_may_be_lost_or_torn(toys: Toys, tmp_path: Path, at_once: Configuration) -> None:
    """What the list does not name is filled again, with the same result; an incomplete line is skipped."""
    configuration = start(toys, tmp_path)
    run_calibration(configuration, INLINE)
    (tmp_path / "store" / ".variations").write_text('[["nominal", "", 0], ["wei')
    for change, _ in STEPS.values():
        configuration = change(configuration)
    run_calibration(in_order(configuration), INLINE)
    assert factors_sha256(configuration) == factors_sha256(at_once)
    assert stored(tmp_path)["select"] == stored(at_once.output)["select"]
