"""What a notebook shows of a calibration, and how much of it."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from beampipe.calibration import FactorInBin
from beampipe.calibration.results import Results
from beampipe.errors import UnknownNameError


def test_factors_are_a_line_and_a_table(results: Results) -> None:
    factors = results.factors
    assert len(repr(factors)) <= 200
    assert "n_trk" in repr(factors)
    table = factors._repr_html_()
    assert len(table) <= 2000
    for each in factors.bins:
        assert str(each) in table
    one = factors.at(tagger="n_trk", working_point=0.5, flavour="gluon", quantity="rejection", pt=factors.pt_edges[0])
    assert f"{one.nominal:.3f}" in table
    assert isinstance(one, FactorInBin)
    assert len(repr(one)) <= 2000
    assert max(len(repr(row)) for row in factors.table()) <= 2000
    every = factors.against_pt(tagger="n_trk", working_point=0.5, flavour="gluon", quantity="rejection")
    assert len(repr(every)) <= 300
    assert len(repr(results)) <= 300


def test_factors_plot_themselves(results: Results) -> None:
    factors = results.factors
    figure = factors.plot()
    assert isinstance(figure, Figure)
    first = [text.get_text() for text in figure.axes[0].texts]
    assert "Quark jets: efficiency" in first
    texts = [text.get_text() for text in factors.plot("n_trk", 0.8, "gluon", "rejection").axes[0].texts]
    assert texts[-3:] == ["Gluon jets: rejection", r"$n_{\mathrm{trk}}$ tagger, data / MC", "80 % working point"]
    with pytest.raises(UnknownNameError, match="unknown tagger: got 'ntrk'"):
        factors.plot("ntrk")
    with pytest.raises(UnknownNameError, match="working point"):
        factors.plot("n_trk", 0.123)
