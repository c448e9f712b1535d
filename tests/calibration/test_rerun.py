"""Changes of what histograms count, after a first run: no file is opened, and the result is that of a fresh run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from beampipe.calibration.config import Configuration, Regions
from beampipe.calibration.explanation import explain
from beampipe.calibration.run import plan_calibration, run_calibration
from beampipe.calibration.taggers import Tagger
from beampipe.errors import ConfigError
from tests.calibration.campaign import INLINE, Toys, configuration_of, factors_sha256, length_of_log, made

OPENED: Final[list[str]] = []
"""Names of all ROOT files that this process has opened since the hook below was installed."""


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and str(arguments[0]).endswith(".root"):
        OPENED.append(str(arguments[0]))


@pytest.fixture(scope="module")
def first(toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> Configuration:
    """A campaign that was run, whose tables have all that the changes below need."""
    sys.addaudithook(_note)
    output = tmp_path_factory.mktemp("first")
    configuration = configuration_of(toys, output, keep=("event", "trigger"), keep_variations=True)
    run_calibration(configuration, INLINE)
    assert OPENED, "the hook sees the files of a first run"
    return configuration


CHANGES: Final[dict[str, Callable[[Configuration], Configuration]]] = {
    "regions, bins and working points": lambda c: replace(
        c,
        regions=Regions(min_eta_gap=0.3),
        pt_edges=(500.0, 700.0, 1200.0, 2000.0),
        eta_edges=(0.0, 1.0, 2.1),
        working_points=(0.4, 0.6),
        taggers=(Tagger("n_trk", 20, 0.0, 50.0), *c.taggers[1:]),
    ),
    "a veto and another rule": lambda c: replace(c, regions=Regions("eta_split"), cuts=("trigger", "(event & 3) != 0")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_opens_no_file_and_gives_what_a_fresh_run_gives(
    first: Configuration, tmp_path: Path, name: str
) -> None:
    changed, begin, before = CHANGES[name](first), length_of_log(first.output), len(OPENED)
    run_calibration(changed, INLINE)
    assert OPENED[before:] == []
    assert made(first.output, begin).keys() == {"fill", "merge", "reweight", "extract", "factors"}
    fresh = replace(changed, output=tmp_path)
    run_calibration(fresh, INLINE)
    assert factors_sha256(changed) == factors_sha256(fresh)


def test_what_a_change_costs_is_explained(first: Configuration) -> None:
    explained = explain(plan_calibration(first), pt=600.0)
    frozen, stored, counted = explained.plain()["cuts"].items()
    assert "reads every file" in frozen[0]
    assert {"trigger: trigger", "selection.min_subleading_pt: 500"} <= set(frozen[1])
    assert stored[0].endswith("reads no file")
    assert {"regions: eta_rank, min_eta_gap 0", "kept for cuts: event, trigger"} <= set(stored[1])
    assert "working points: 0.5, 0.7" in counted[1]
    assert all(f"  {cut}" in list(explained.lines()) for cut in frozen[1])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cuts": ("trigger <",)}, "cuts: got 'trigger <'"),
        ({"keep": ("nPV < 60",)}, "keep: got 'nPV < 60', expected the name of a branch"),
        ({"keep_tables": False}, "keep_variations: got true with keep_tables = false"),
    ],
)
def test_cuts_that_cannot_be_applied_are_refused(first: Configuration, changes: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        replace(first, **changes)
