from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from beampipe.calibration.events.dijets import CUT_NAMES
from beampipe.calibration.method.factors import FLAGS, FactorKey
from beampipe.calibration.report.tables import (
    UNKNOWN,
    cut_flow_tables,
    factor_table,
    flag_table,
    uncertainty_table,
    yield_table,
)
from beampipe.calibration.report.write import PAGE, figures_of
from beampipe.calibration.results import Results

VOID = {"meta", "img", "link", "br"}


@pytest.fixture(scope="module")
def page(report: Path) -> str:
    return (report / PAGE).read_text(encoding="utf-8")


def test_every_image_is_inside_and_nothing_is_fetched(results: Results, page: str) -> None:
    images, links = re.findall(r"<img[^>]*>", page), re.findall(r'(?:href|src)="([^"]*)"', page)
    assert len(images) == len(list(figures_of(results)))
    assert all(re.search(r'alt="[^"]{20,}"', image) for image in images)
    inward = {link for link in links if not link.startswith("data:image/png;base64,")}
    assert inward
    assert inward <= {f"#{anchor}" for anchor in re.findall(r' id="([^"]*)"', page)}
    assert not re.search("<(script|link|iframe)", page)


def test_every_scale_factor_is_in_the_table(results: Results, page: str) -> None:
    for item in results.factors.by_name.values():
        for value in item.nominal[np.isfinite(item.nominal)]:
            assert f">{value:.4f}<" in page
    assert ">not known<" in page
    assert ">nan<" not in page


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
