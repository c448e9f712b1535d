"""Columns as the compiled filler takes them: what is unpacked once for several, and when not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beampipe.calibration.layout import BEAMPIPE
from beampipe.calibration.ntuple.columns import EventSource, jet_stream, open_source, weight_stream
from beampipe.calibration.ntuple.plain_root import PlainBranch
from beampipe.simulation.ntuples import toy_events, write_ntuple
from tests.calibration.rootfiles import bookkeeping_of

N = 100_000
pytest.importorskip("beampipe.calibration.kernels._native", exc_type=ImportError)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of several baskets."""
    path = tmp_path_factory.mktemp("streams") / "toy.root"
    events = toy_events(N, 7, n_weights=3)
    write_ntuple(path, events, bookkeeping_of(events))
    return path


def pieces(source: EventSource) -> list[tuple[int, bool]]:
    """End of each piece of pseudorapidities, and whether it has the same offsets as that of pT; all compared."""
    pt = jet_stream(source, "jet_pt", "float32")
    eta = jet_stream(source, "jet_eta", "float32", pt)
    assert pt is not None
    assert eta is not None
    (offsets, _), wanted = source.whole_column("jet_pt"), source.whole_column("jet_eta")
    at, result, counts, numbers = 0, [], [], []
    while at < source.stop - source.start:
        pt.reach(at)
        eta.reach(at)
        numbers.append(eta.piece.numbers.copy())
        counts.append(np.diff(eta.piece.offsets))
        at = eta.piece.stop
        result.append((at, eta.piece.offsets is pt.piece.offsets))
    np.testing.assert_array_equal(np.concatenate(counts), offsets)
    np.testing.assert_array_equal(np.concatenate(counts), wanted[0])
    np.testing.assert_array_equal(np.concatenate(numbers), wanted[1])
    return result


def test_where_lists_begin_is_unpacked_once_for_whole_baskets(path: Path) -> None:
    with open_source(path, BEAMPIPE, 0, N) as source:
        borders = list(source.tree["jet_pt"].entry_offsets)
        assert len(borders) > 2
        assert pieces(source) == [(border, True) for border in borders[1:]]
    with open_source(path, BEAMPIPE, borders[1], N) as source:
        assert pieces(source) == [(border - borders[1], True) for border in borders[2:]]
    with open_source(path, BEAMPIPE, 10, N - 1) as source:
        assert not any(shared for _, shared in pieces(source))


def test_columns_of_other_lengths_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_source(path, BEAMPIPE, 0, N) as source:
        eta = source.tree["jet_eta"]
        assert isinstance(eta, PlainBranch)
        weight = source.tree["weight"]
        assert [piece.content.shape[1] for piece in weight_stream(source).pieces] == [3] * weight.num_baskets
        # As if each basket of eta held the weights.
        monkeypatch.setattr(eta, "packed", weight.packed)
        with pytest.raises(ValueError, match="not as many numbers"):
            pieces(source)
        monkeypatch.setattr(weight, "counter", source.tree["njet"])
        with pytest.raises(ValueError, match="different numbers of weights"):
            list(weight_stream(source).pieces)
