from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from beampipe.calibration.events.dijets import CUT_NAMES
from beampipe.calibration.method.factors import FLAGS, FactorKey
from beampipe.calibration.report.tables import (
    UNKNOWN,
    cost_table,
    cut_flow_tables,
    factor_table,
    flag_table,
    number,
    source_table,
    uncertainty_table,
    write_csv,
    yield_table,
)
from beampipe.calibration.results import Results

KEY = FactorKey("n_trk", 0.8, "gluon", "rejection")


def test_factors(results: Results) -> None:
    table = factor_table(results, "n_trk", 0.5)
    assert len(table.rows) == 2 * 2 * 2
    assert table.columns[-1] == "true, by label"
    one = results.factors.against_pt(tagger="n_trk", working_point=0.5, flavour="quark", quantity="efficiency")
    assert table.rows[0][:5] == ("quark", "efficiency", "500 to 600", "none", f"{one.nominal[0]:.4f}")
    assert table.rows[0][5] == UNKNOWN
    assert table.rows[1][3] == "no value, no statistical error"
    assert table.rows[1][4:] == (UNKNOWN,) * 7
    assert [row[0] for row in flag_table().rows] == [name.replace("_", " ") for name in FLAGS]


def test_uncertainties(results: Results) -> None:
    table = uncertainty_table(results, KEY)
    one = results.factors.by_name[KEY]
    assert [row[0] for row in table.rows[-3:]] == ["statistical", "total", "flags"]
    assert "tracking (experimental)" in [row[0] for row in table.rows]
    assert table.rows[-2][1:] == tuple(f"{value:.4f}" for value in one.total)
    assert table.rows[-1][1:] == ("none", "small determinant")


def test_sources(results: Results) -> None:
    rows = {row[0]: row[1:] for row in source_table(results).rows}
    assert rows["shower"] == ("sample: one against other", "difference", "theory or method")
    assert rows["me_proxy"][0] == "sample: me against nominal"
    assert rows["tracking"] == ("jets: trk_*", "quadrature", "experimental")
    one = replace(results.configuration.systematics[0], only_data=True)
    alone = replace(results, configuration=replace(results.configuration, systematics=(one,)))
    assert source_table(alone).rows[0][2].endswith(", in data alone")


def test_yields_add_up(results: Results) -> None:
    table = yield_table(results)
    assert len(table.rows) == 2 * 2 * (4 + 1)
    for sample, result in results.samples.items():
        rows = [row for row in table.rows if row[0] == sample]
        assert sum(int(row[4]) for row in rows) == result.templates.entries.sum()
        np.testing.assert_allclose(sum(float(row[5]) for row in rows), result.templates.values[0].sum())
    first = results.samples["nominal"].templates
    assert table.rows[0][:4] == ("nominal", "500 to 600", "forward", "light")
    assert float(table.rows[0][6]) == pytest.approx(np.sqrt(first.squares[0, 0, 0, 0].sum()), rel=5e-3)


def test_cut_flow(results: Results) -> None:
    nominal, data = cut_flow_tables(results)
    assert [row[0] for row in nominal.rows] == list(CUT_NAMES)
    assert nominal.rows[0][1:] == ("1000", "100", "500")
    assert nominal.rows[1][1:3] == ("910", "91")
    assert data.rows[-1][3] == "100"


def test_cost_says_what_is_gone(results: Results) -> None:
    rows = {row[0]: row[1:] for row in cost_table(results).rows}
    assert rows["input files"] == ("3", "3", UNKNOWN, "")
    assert rows["select"] == ("4", "0", "0 bytes", UNKNOWN)
    assert rows["fill"] == ("4", "4", "123.5 kB", "2.50")
    assert rows["all stages"] == ("8", "4", "123.5 kB", "2.50")


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (np.nan, UNKNOWN), (-np.inf, UNKNOWN), (1234567.0, "1234567"), (0.12345, "0.1235")]
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_csv(results: Results, tmp_path: Path) -> None:
    table = uncertainty_table(results, KEY)
    write_csv(table, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        assert [tuple(row) for row in csv.reader(file)] == [table.columns, *table.rows]
