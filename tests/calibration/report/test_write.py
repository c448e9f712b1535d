"""The report of a campaign that was run."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from beampipe.calibration.config import Bootstrap, Configuration
from beampipe.calibration.events.dijets import CUT_NAMES
from beampipe.calibration.exports import read_correction
from beampipe.calibration.exports.write import CORRECTIONS
from beampipe.calibration.method.factors import Factors
from beampipe.calibration.report import write
from beampipe.calibration.report.write import PAGE, figures_of, in_turn, write_report
from beampipe.calibration.results import collect_results
from beampipe.calibration.run import run_calibration
from beampipe.calibration.taggers import Tagger
from beampipe.calibration.tasks.plan import Plan
from beampipe.calibration.tasks.runtime import FACTORS, workspace_of
from beampipe.workflow import Store, Task
from tests.calibration.campaign import INLINE, Toys, configuration_of


@pytest.fixture(scope="module")
def ran(toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store, Configuration]:
    configuration = replace(
        configuration_of(toys, tmp_path_factory.mktemp("ran")),
        pt_edges=(500.0, 800.0, 2000.0),
        working_points=(0.5,),
        taggers=(Tagger(bins=10),),
        bootstrap=Bootstrap(10),
    )
    return run_calibration(configuration, INLINE), workspace_of(configuration).store, configuration


def test_results_are_those_of_the_campaign(ran: tuple[Plan, Store, Configuration]) -> None:
    plan, store, configuration = ran
    results = collect_results(plan, store)
    expected = Factors.read(configuration.output / FACTORS)
    assert results.factors.pt_edges == expected.pt_edges
    assert list(results.factors.by_name) == list(expected.by_name)
    assert set(results.samples) == {"nominal", "data", "shower"}
    nominal = results.samples["nominal"]
    assert nominal.cuts.events.shape == (len(CUT_NAMES),)
    # Each selected event gives two jets, those beyond the edges of pT aside.
    assert 0 < nominal.templates.entries.sum() <= 2 * nominal.cuts.events[-1]
    assert nominal.templates.values.shape[0] == 1
    assert not results.true
    assert pickle.loads(pickle.dumps(results)).samples.keys() == results.samples.keys()


def test_a_report_is_written_once(
    ran: tuple[Plan, Store, Configuration], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store, _ = ran
    monkeypatch.setattr(write, "figures_of", lambda results: [*figures_of(results)][:3])
    output: list[int] = []

    def spread(what: str, tasks: Sequence[Task[Any]]) -> None:
        output.append(len(tasks))
        pickle.dumps(tasks)
        in_turn(what, tasks)

    paths = write_report(plan, store, tmp_path, spread=spread)
    assert paths[0] == tmp_path / PAGE
    assert len(output) == 1
    files = {path for path in tmp_path.rglob("*") if path.is_file()} - {tmp_path / "made.json"}
    assert files == set(paths)
    assert set(write_report(plan, store, tmp_path, spread=spread)) == set(paths)
    assert len(output) == 1
    assert "n_trk_efficiency" in list(read_correction(tmp_path / CORRECTIONS))


def test_a_report_that_is_not_whole_is_written_again(
    ran: tuple[Plan, Store, Configuration], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store, _ = ran
    calls: list[Path] = []

    def fake(results: object, folder: Path, **_: object) -> tuple[Path, ...]:
        calls.append(folder)
        (folder / PAGE).write_text("page")
        if len(calls) == 1:
            (folder / "old.csv").write_text("old")
            return folder / PAGE, folder / "old.csv"
        return (folder / PAGE,)

    monkeypatch.setattr("beampipe.calibration.report.write.write_all", fake)
    write_report(plan, store, tmp_path)
    write_report(plan, store, tmp_path)
    assert len(calls) == 1
    (tmp_path / PAGE).write_text("torn off")
    write_report(plan, store, tmp_path)
    assert len(calls) == 2
    assert not (tmp_path / "old.csv").exists()
    (tmp_path / "made.json").write_text("{")
    write_report(plan, store, tmp_path)
    assert len(calls) == 3
    assert json.loads((tmp_path / "made.json").read_text())["files"] == {PAGE: 4}
