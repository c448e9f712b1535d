"""Luminosity by period, and factors of weights like those of pile-up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

from beampipe.calibration.config import Bootstrap, DijetSelection, Energy, InputSample
from beampipe.calibration.events.dijets import WeightUnits
from beampipe.calibration.events.fill import FillSettings, fill_file, fill_table
from beampipe.calibration.events.scores import Scores
from beampipe.calibration.events.select import SelectSettings, select
from beampipe.calibration.jet_changes import JetFunction
from beampipe.calibration.layout import Layout, preset_layout
from beampipe.calibration.ntuple.bookkeeping import FileInfo, file_origins, read_manifest, slice_factors
from beampipe.calibration.ntuple.columns import open_source
from beampipe.calibration.ntuple.file_checks import inspect_file
from beampipe.calibration.taggers import Tagger
from beampipe.errors import ConfigError, FileError
from tests.calibration.layout.disguises import tree

SAMPLE = InputSample("nominal", (), luminosity=7.0)
LINES = {
    "branches": {"width": "", "c1": "", "run": ""},
    "weights": {
        "nominal": "mc",
        "factors": ["pileup"],
        "variations": {"pu_up": {"branch": "pileup_up / pileup", "ratio": True}},
    },
    "sums": {"source": "events", "manifest": "datasets.csv"},
}
WEIGHTS = np.array([1.0, 2.0, -0.5, 4.0], np.float32)
PILE_UP = np.array([0.5, 1.0, 2.0, 0.25], np.float32)


def written(folder: Path, rows: str) -> tuple[Layout, dict[Path, FileInfo]]:
    """Two files, of one period each, and what is known of them."""
    (folder / "datasets.csv").write_text(f"dataset,files,cross_section,luminosity\n{rows}\n")
    jets = {name: ak.Array([[700.0, 600.0]] * 4) for name in ("pt", "eta", "phi")}
    jets["eta"] = ak.Array([[0.5, -1.0]] * 4)
    jets |= {"n_trk": ak.Array([[10, 20]] * 4), "label": ak.Array([[1, 21]] * 4)}
    for period in "ad":
        table = {"event": np.arange(4), "jet": ak.zip(jets), "mc": WEIGHTS, "pileup": PILE_UP, "pileup_up": 2 * PILE_UP}
        tree(folder / f"{period}.root", "ntuple", table)
    layout = preset_layout("ntuple", LINES, folder)
    assert layout.sums.manifest is not None
    sample = InputSample("nominal", (folder / "a.root", folder / "d.root"))
    origins = file_origins(sample, read_manifest(layout.sums.manifest))
    return layout, {path: inspect_file(path, layout, origin, needs=("n_trk",)) for path, origin in origins.items()}


def test_each_period_is_scaled_to_its_own_luminosity(tmp_path: Path) -> None:
    _, facts = written(tmp_path, "mc,a.root,2.0,3.0\nmc,d.root,2.0,")
    books = slice_factors(SAMPLE, facts)
    total = float(WEIGHTS.sum())
    nominal = [item.factors[0] for item in books.slices]
    np.testing.assert_allclose(nominal, [3.0 * 2.0 / total, 7.0 * 2.0 / total])  # the sample's where none is given
    assert books.weight_names == ("nominal", "pu_up")


def test_weights_have_their_factors_and_sums_do_not(tmp_path: Path) -> None:
    layout, facts = written(tmp_path, "mc,a.root,2.0,3.0\nmc,d.root,2.0,")
    first = next(iter(facts.values()))
    assert first.sum_weights[0] == float(WEIGHTS.sum())
    with open_source(tmp_path / "a.root", layout, 1, 4) as source:
        table = np.concatenate([part for _, part in source.weights()])
    np.testing.assert_allclose(table[:, 0], (WEIGHTS * PILE_UP)[1:])
    np.testing.assert_allclose(table[:, 1], (WEIGHTS * 2 * PILE_UP)[1:])


def test_one_pass_over_events_heeds_factors_and_functions(tmp_path: Path) -> None:
    layout, _ = written(tmp_path, "mc,a.root,2.0,3.0\nmc,d.root,2.0,")
    changed = replace(layout, function=JetFunction("tests.calibration.layout.shifts:jes_2_up"))
    cuts = DijetSelection()
    for each in (layout, changed):
        to_select = SelectSettings(cuts, WeightUnits(20), True, True, (0, 1), layout=each)
        to_fill = FillSettings(
            (500.0, 600.0, 704.0, 2000.0),
            (Tagger(),),
            cuts,
            Energy(0, 0),
            WeightUnits(20),
            True,
            ("a", "b"),
            (),
            Bootstrap(0, 0),
            "x",
        )
        once = fill_file(tmp_path / "a.root", 0, 4, to_select, to_fill)
        assert once is not None
        steps = fill_table(select(tmp_path / "a.root", 0, 4, to_select), Scores(), to_fill)
        np.testing.assert_array_equal(once.filled.sumw, steps.sumw)
        assert steps.sumw[:, 0].sum() == round(2 * float((WEIGHTS * PILE_UP).sum()) * 2**20)


def test_weights_that_are_no_numbers_are_found_before_events_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.calibration.layout.test_periods.WEIGHTS", np.array([1, np.nan, 1, 1], np.float32))
    with pytest.raises(FileError, match=r"a\.root: branch 'mc': got nan at entry 1, expected finite numbers"):
        written(tmp_path, "mc,a.root,2.0,3.0\nmc,d.root,2.0,")


def test_what_is_wrong_with_periods_or_factors_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a luminosity > 0"):
        written(tmp_path, "mc,a.root,2.0,-3.0\nmc,d.root,2.0,")
    layout = preset_layout("ntuple", {**LINES, "weights": {"nominal": "mc", "factors": ["pilup"]}}, tmp_path)
    with pytest.raises(FileError, match=r"no branch 'pilup'.* did you mean 'pileup'.*layout\.weights\.factors"):
        inspect_file(tmp_path / "a.root", layout, needs=("n_trk",))
