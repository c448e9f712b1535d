"""Sums that no order, grouping or chunking changes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from beampipe.calibration.config import Bootstrap
from beampipe.calibration.events.dijets import CUT_NAMES, CutFlow, WeightUnits
from beampipe.calibration.events.fill import fill_table
from beampipe.calibration.events.histograms import (
    Axes,
    Filled,
    FilledColumns,
    TaggerBins,
    joined,
    merge,
    read_filled,
    write_filled,
)
from beampipe.calibration.events.scores import Scores
from beampipe.calibration.method.cases import templates_of
from beampipe.errors import FileError, InputError
from tests.calibration.random_dijets import fill_settings, random_dijets, require_same, taken

N_EVENTS = 3000


def same(one: Filled, other: Filled) -> None:
    require_same(one, other, but=("bound", "groups"))


@pytest.fixture(scope="module")
def parts() -> list[Filled]:
    dijets = random_dijets(N_EVENTS, 1)
    return [
        fill_table(taken(dijets, slice(start, start + 150)), Scores(), fill_settings())
        for start in range(0, N_EVENTS, 150)
    ]


def test_any_order_and_grouping_merges_to_the_same(parts: list[Filled]) -> None:
    rng = np.random.default_rng(5)
    whole = merge(parts)
    assert whole.varied_sumw.any(axis=1).all()
    assert whole.replicas.any(axis=0).all()
    floats = set()
    for _ in range(50):
        order = rng.permutation(len(parts)).tolist()
        borders = np.sort(rng.choice(np.arange(1, len(parts)), 4, replace=False)).tolist()
        groups = [
            merge(parts[k] for k in order[a:b])
            for a, b in zip([0, *borders], [*borders, len(parts)], strict=True)
            if b > a
        ]
        same(merge(groups), whole)
        as_floats = np.cumsum([parts[k].sumw[:, 0] / 3e9 for k in order], axis=0)[-1]
        floats.add(as_floats.tobytes())
    assert len(floats) > 10, "sums of floats would differ"


def test_chunks_and_order_of_events_do_not_matter(parts: list[Filled]) -> None:
    dijets = random_dijets(N_EVENTS, 1)
    same(fill_table(dijets, Scores(), fill_settings()), merge(parts))
    shuffled = taken(dijets, np.random.default_rng(2).permutation(N_EVENTS))
    same(fill_table(shuffled, Scores(), fill_settings()), merge(parts))


@pytest.mark.parametrize("groups", [0, 5])
def test_variations_that_are_filled_apart_are_those_that_are_filled_together(tmp_path: Path, groups: int) -> None:
    """Also with replicas of a later block, with variations of several parts, and whatever the order of the parts."""
    dijets = random_dijets(N_EVENTS, 1)
    settings = fill_settings(groups=groups, bootstrap=Bootstrap(10, 3))
    whole = fill_table(dijets, Scores(), settings)
    alone = replace(settings, weight_names=("nominal",), kinematics=(), bootstrap=Bootstrap(0, 3))
    nominal = replace(dijets, weight=dijets.weight[:, :1])
    parts = [
        fill_table(nominal, Scores(), replace(alone, bootstrap=Bootstrap(4, 3), kinematics=("jer_1_down",))),
        fill_table(nominal, Scores(), replace(alone, bootstrap=Bootstrap(8, 3), first_replica=4)),
        fill_table(
            replace(dijets, weight=dijets.weight[:, [0, 2]]),
            Scores(),
            replace(alone, weight_names=("nominal", "two"), kinematics=("jes_1_up", "trk_eff")),
        ),
        fill_table(
            replace(dijets, weight=dijets.weight[:, :2]), Scores(), replace(alone, weight_names=("nominal", "one"))
        ),
    ]
    contents = set()
    for order in (parts, parts[::-1]):
        same(joined(order, settings.columns), whole)
        write_filled(joined(order, settings.columns), tmp_path / "filled.npz")
        contents.add((tmp_path / "filled.npz").read_bytes())
    write_filled(whole, tmp_path / "filled.npz")
    assert contents == {(tmp_path / "filled.npz").read_bytes()}
    with pytest.raises(InputError, match="got none of two, expected all variations"):
        joined(parts[:2] + parts[3:], settings.columns)
    other = fill_table(taken(nominal, slice(0, 500)), Scores(), alone)
    with pytest.raises(InputError, match="got different nominal ones"):
        joined([*parts, other], settings.columns)


def test_rounded_weights_are_within_half_a_unit_per_jet(parts: list[Filled]) -> None:
    """Against sums of floats, event by event."""
    bits = 30
    dijets, whole = random_dijets(N_EVENTS, 1), merge(parts)
    low, high = dijets.pt.min(axis=1).astype(float), dijets.pt.max(axis=1).astype(float)
    selected = (low > 500) & (high < 2000) & (high < 1.5 * low) & (dijets.n_trk >= 2).all(axis=1)
    assert 0.3 < selected.mean() < 0.95
    assert dijets.region is not None
    weight = dijets.weight[:, 0].astype(float)
    x, pt_bin = dijets.n_trk // 2, np.searchsorted([800, 1200], dijets.pt, side="right")
    at = np.stack([pt_bin, dijets.region, dijets.label, x]).astype(int)
    sums, squares, jets = np.zeros((3, 3, 2, 4, 25))
    for j in range(2):
        place = tuple(at[:, selected, j])
        np.add.at(sums, place, weight[selected])
        np.add.at(squares, place, weight[selected] ** 2)
        np.add.at(jets, place, 1)
    np.testing.assert_array_equal(whole.entries.reshape(jets.shape), jets)
    for got, want in ((whole.sumw[:, 0], sums), (whole.sumw2[:, 0], squares)):
        off = np.abs(got.reshape(want.shape) * 2.0**-bits - want)
        assert (off <= (jets + 1) * 2.0 ** -(bits + 1)).all()
    assert off.max() > 0, "squares have more bits than are kept"


def test_sums_that_could_overflow_are_refused() -> None:
    dijets = random_dijets(2000, 3)
    large = replace(dijets, weight=dijets.weight * np.float32(50))
    with pytest.raises(InputError, match=r"could reach .*; set weight_bits = \d+") as refused:
        fill_table(large, Scores(), fill_settings(units=WeightUnits(45)))
    advised = int(re.findall(r"weight_bits = (\d+)", str(refused.value))[0])
    fill_table(large, Scores(), fill_settings(units=WeightUnits(advised)))
    with pytest.raises(InputError, match=r"their sizes differ too much: drop the largest by selection.max_weight"):
        fill_table(replace(large, weight=large.weight * np.float32(1e20)), Scores(), fill_settings())


def test_merging_what_could_overflow_together_is_refused(parts: list[Filled]) -> None:
    half = replace(parts[0], bound=2.0**61 - 2.0**20)
    assert merge([half]).bound == half.bound
    with pytest.raises(InputError, match="more than 64 bits hold"):
        merge([half, half, half])
    with pytest.raises(InputError, match="more than 64 bits hold"):
        merge([merge([half, replace(parts[1], bound=0.0)]), half, half])


def test_parts_that_do_not_fit_are_refused(parts: list[Filled]) -> None:
    with pytest.raises(InputError, match="got none"):
        merge([])
    other = fill_table(random_dijets(10, 1), Scores(), fill_settings(kinematics=("trk_eff",)))
    with pytest.raises(InputError, match=r"got kinematics \('trk_eff',\), expected \('trk_eff', 'jes_1_up'"):
        merge([parts[0], other])
    other = fill_table(random_dijets(10, 1), Scores(), fill_settings(pt_edges=(500.0, 900.0)))
    with pytest.raises(InputError, match="got axes"):
        merge([parts[0], other])
    with pytest.raises(InputError, match="got 3 columns, expected 1"):
        fill_table(random_dijets(10, 1), Scores(), fill_settings(weight_names=("nominal",)))


def test_a_file_of_histograms_gives_them_back(parts: list[Filled], tmp_path: Path) -> None:
    for number, filled in enumerate([merge(parts), fill_table(random_dijets(0, 1), Scores(), fill_settings())]):
        path = tmp_path / f"{number}.npz"
        write_filled(filled, path)
        again = read_filled(path)
        same(again, filled)
        assert again.bound == filled.bound
        other = tmp_path / "again.npz"
        write_filled(again, other)
        assert other.read_bytes() == path.read_bytes()


def test_another_file_is_refused(parts: list[Filled], tmp_path: Path) -> None:
    path = tmp_path / "filled.npz"
    write_filled(parts[0], path)
    whole = path.read_bytes()
    for content in (b"", b"nothing", whole[: len(whole) // 2], whole[:-30]):
        path.write_bytes(content)
        with pytest.raises(FileError, match=r"filled\.npz: got no histograms"):
            read_filled(path)
    with pytest.raises(FileError, match="got no histograms"):
        read_filled(tmp_path / "none.npz")


def test_slices_are_scaled_before_they_are_added() -> None:
    """Two slices by hand: one jet of weight 3/2 and a varied one of 1/2 in each, factors 10 and 4, varied 20 and 2."""
    from beampipe.calibration.ntuple.bookkeeping import Bookkeeping, SliceFactors

    flow = CutFlow(np.ones(len(CUT_NAMES), np.int64), np.ones(len(CUT_NAMES), np.int64))
    columns = FilledColumns(("nominal", "up"), ("jes",), range(1))
    filled = Filled.empty(Axes((1.0, 2.0), ("light", "gluon"), (TaggerBins("n_trk", 2),)), columns, flow)
    filled.sumw[0] = [6, 2]  # of 2**-2
    filled.sumw2[0] = [9, 1]
    filled.varied_sumw[0, 1] = 6
    filled.varied_sumw2[0, 1] = 9
    filled.replicas[0] = 12
    filled.entries[0] = 1
    books = Bookkeeping(
        "toy", ("nominal", "up"), (), True, (SliceFactors(0, (10.0, 20.0)), SliceFactors(7, (4.0, 2.0)))
    )
    result = templates_of({0: filled, 7: filled}, books, 2)
    assert tuple(map(str, result.variations)) == ("nominal", "weight:up", "jets:jes")
    assert result.values[:, 0, 0, 0].tolist() == [[21.0, 0.0], [11.0, 0.0], [0.0, 21.0]]
    assert result.squares[:, 0, 0, 0].tolist() == [[261.0, 0], [101.0, 0], [0.0, 261.0]]
    assert result.replicas[0, 0, 0, 0].tolist() == [42.0, 0.0]
    assert result.entries[0, 0, 0].tolist() == [2.0, 0.0]
    assert result.flavours("n_trk")[0, 0, 0].tolist() == [[21.0, 0.0], [0.0, 0.0]]
    assert result.total("n_trk")[1, 0, 0].tolist() == [11.0, 0.0]


def test_groups_add_up_to_the_whole_however_a_file_is_divided(tmp_path: Path) -> None:
    dijets, settings = random_dijets(N_EVENTS, 1), fill_settings(groups=5)
    whole, plain = fill_table(dijets, Scores(), settings), fill_table(dijets, Scores(), fill_settings())
    same(whole, plain)
    assert whole.bound == plain.bound
    np.testing.assert_array_equal(whole.groups.sum(axis=0), np.concatenate([plain.sumw.T, plain.varied_sumw]))
    assert (whole.groups[:, 0] != 0).any(axis=1).all()
    pieces = merge(
        fill_table(taken(dijets, slice(start, start + 700)), Scores(), settings) for start in range(0, N_EVENTS, 700)
    )
    np.testing.assert_array_equal(pieces.groups, whole.groups)
    write_filled(whole, tmp_path / "filled.npz")
    np.testing.assert_array_equal(read_filled(tmp_path / "filled.npz").groups, whole.groups)
    with pytest.raises(InputError, match="got n_groups 0, expected 5"):
        merge([whole, plain])
