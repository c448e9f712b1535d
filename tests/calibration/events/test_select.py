"""Stage 1 on real files: what it takes, and what it says of files that are damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.calibration.config import DijetSelection, Regions
from beampipe.calibration.events.dijets import CUT_NAMES, Dijets, WeightUnits, read_dijets, write_dijets
from beampipe.calibration.events.scores import ScoreKey, Scores, write_scores
from beampipe.calibration.events.select import (
    SelectSettings,
    assign_regions,
    run_ranges,
    select,
    select_by_numpy,
    with_variations,
)
from beampipe.calibration.ntuple.columns import EventSource
from beampipe.calibration.ntuple.file_checks import inspect_file
from beampipe.errors import BeampipeError, ColumnError, FileError
from beampipe.simulation.ntuples import read_ntuple, write_ntuple
from tests.calibration.campaign import Toys
from tests.calibration.random_dijets import random_dijets, require_same
from tests.calibration.rootfiles import bookkeeping_of, rewrite, small_events, write_odd

SETTINGS = SelectSettings(DijetSelection(), WeightUnits(36), True, True, (0, 2), ("trk_eff",), observables=True)
COLUMNS = ("run", "event", "jet", "weight", "pt", "eta", "n_trk", "width", "c1", "label")


def whole(path: Path, settings: SelectSettings = SETTINGS) -> Dijets:
    return select(path, 0, inspect_file(path).n_events, settings)


def test_the_columns_are_those_of_the_leading_jets(toys: Toys) -> None:
    """Looked up in the file event by event."""
    path = toys.files("nominal")[0]
    events, dijets = read_ntuple(path), whole(path)
    assert 100 < len(dijets) < len(events)
    assert events.weight is not None
    assert events.jet_label is not None
    row = {number: k for k, number in enumerate(events.event.tolist())}
    numbers = {1: 0, 2: 0, 3: 0, 4: 1, 5: 2, 21: 3}
    for k, event in enumerate(dijets.event.tolist()):
        i = row[event]
        jets = range(int(events.offset[i]), int(events.offset[i + 1]))
        lead, second = sorted(jets, key=lambda jet: -events.jet_pt[jet])[:2]
        for j, jet in enumerate((lead, second)):
            for name in ("pt", "eta", "n_trk", "width", "c1"):
                assert getattr(dijets, name)[k, j] == events.columns[f"jet_{name}"][jet]
            assert dijets.varied_n_trk["trk_eff"][k, j] == events.columns["jet_n_trk_eff"][jet]
            assert dijets.label[k, j] == numbers[int(events.jet_label[jet])]
        central = int(abs(events.jet_eta[lead]) < abs(events.jet_eta[second]))
        assert dijets.region is None
        assert assign_regions(dijets.eta, Regions())[k].tolist() == [central, 1 - central]
        np.testing.assert_array_equal(dijets.weight[k], events.weight[i, [0, 2]])


@pytest.mark.parametrize("size", [700, 300, 137])
def test_pieces_of_a_file_are_its_whole(toys: Toys, size: int) -> None:
    """Ranges that end where baskets do, and that do not."""
    path = toys.files("nominal")[0]
    n = inspect_file(path).n_events
    everything = whole(path)
    pieces = [select(path, start, min(n, start + size), SETTINGS) for start in range(0, n, size)]
    for name in COLUMNS:
        np.testing.assert_array_equal(
            np.concatenate([getattr(piece, name) for piece in pieces]), getattr(everything, name), err_msg=name
        )
    np.testing.assert_array_equal(sum(piece.cut_flow.events for piece in pieces), everything.cut_flow.events)
    np.testing.assert_array_equal(sum(piece.cut_flow.weight for piece in pieces), everything.cut_flow.weight)
    assert everything.cut_flow.events[CUT_NAMES.index("all")] == n
    assert min(piece.ranges[0][1] for piece in pieces) == everything.ranges[0][1]


@pytest.mark.parametrize("compiled", [True, False])
def test_variations_are_added_to_a_table_from_their_branches_alone(
    toys: Toys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    """In a range in the middle of the file; the same table as with the variations from the start."""
    if not compiled:
        monkeypatch.setattr("beampipe.calibration.events.select.native", lambda: None)
    path, borders = toys.files("nominal")[0], (137, 1100)
    complete = select(path, *borders, SETTINGS)
    write_dijets(select(path, *borders, SETTINGS.nominal), tmp_path / "table.npz")
    table = read_dijets(tmp_path / "table.npz")
    assert table.weight.shape[1] == 1
    assert (np.diff(table.entry.astype(int)) > 0).all()
    read: list[str] = []

    class Recording(EventSource):
        def flat(self, column: str) -> Any:
            read.append(column)
            return super().flat(column)

        def lists(self, column: str) -> Any:
            read.append(column)
            return super().lists(column)

        def whole_column(self, column: str) -> Any:
            read.append(column)
            return super().whole_column(column)

        def weights(self, *, generated: bool = False) -> Any:
            read.append("weight")
            return super().weights(generated=generated)

    monkeypatch.setattr("beampipe.calibration.ntuple.columns.EventSource", Recording)
    require_same(with_variations(table, path, *borders, SETTINGS), complete)
    assert read == ["weight", "jet_n_trk_eff"]
    assert with_variations(table, Path("removed.root"), *borders, SETTINGS.nominal) is table


def test_data_has_weight_one_and_no_labels(toys: Toys) -> None:
    settings = SelectSettings(DijetSelection(), WeightUnits(10), False, False)
    dijets = whole(toys.files("data")[0], settings)
    assert (dijets.weight == 1).all()
    assert (dijets.label == 0).all()
    assert (dijets.cut_flow.weight == dijets.cut_flow.events * 2**10).all()


def test_regions() -> None:
    eta = np.array([[1.0, -0.5], [0.5, -1.0], [0.7, -0.7], [1.2, 1.5]], np.float32)
    assert assign_regions(eta, Regions()).tolist() == [[0, 1], [1, 0], [0, 1], [1, 0]]
    assert assign_regions(eta, Regions(min_eta_gap=0.4)).tolist() == [[0, 1], [1, 0], [-1, -1], [-1, -1]]
    assert assign_regions(eta, Regions("eta_split", 0.0, 0.7)).tolist() == [[0, 1], [1, 0], [0, 0], [0, 0]]


def test_a_table_gives_back_what_was_written(toys: Toys, tmp_path: Path) -> None:
    unlabelled = SelectSettings(DijetSelection(), WeightUnits(10), False, False)
    several = random_dijets(300, 1, first_event=2**40)
    runs = np.repeat(np.array([7, 2, 300_000], np.uint32), 100)
    several = replace(several, run=runs, ranges=run_ranges(runs, several.event), n_trk=several.n_trk * np.uint16(9))
    tables = [whole(toys.files("nominal")[0]), whole(toys.files("data")[0], unlabelled), several]
    for k, dijets in enumerate([*tables, *(random_dijets(n, 1) for n in (0, 1, 2, 5))]):
        write_dijets(dijets, tmp_path / f"{k}.npz")
        require_same(read_dijets(tmp_path / f"{k}.npz"), replace(dijets, weight=dijets.weight[:, :1], varied_n_trk={}))


def test_a_table_without_observables_is_smaller(toys: Toys, tmp_path: Path) -> None:
    """What taggers other than n_trk need is neither read nor written for n_trk alone."""
    path, tables = toys.files("nominal")[0], []
    for settings in (SETTINGS, replace(SETTINGS, observables=False)):
        for make in (whole, lambda path, settings: select_by_numpy(path, 0, inspect_file(path).n_events, settings)):
            write_dijets(make(path, settings), tmp_path / "table.npz")
            tables.append((read_dijets(tmp_path / "table.npz"), (tmp_path / "table.npz").stat().st_size))
    (full, size), (by_numpy, _), (small, small_size), (small_by_numpy, _) = tables
    require_same(full, by_numpy)
    require_same(small, small_by_numpy)
    assert np.isnan(small.width).all()
    require_same(replace(small, width=full.width, c1=full.c1), full)
    assert size - small_size > 16 * len(full)


def test_another_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dijets.npz"
    write_dijets(random_dijets(50, 1), path)
    content = path.read_bytes()
    write_scores(Scores({ScoreKey("gbdt", "nominal"): np.zeros((3, 2), np.float32)}), path)
    for wrong in (path.read_bytes(), b"", b"PK", content[: len(content) // 2]):
        path.write_bytes(wrong)
        with pytest.raises(FileError, match=r"dijets\.npz: got no table of dijet events"):
            read_dijets(path)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    return tmp_path / "odd.root"


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ({"trees": {"events": "evts", "bookkeeping": "bookkeeping"}}, FileError, "got no tree 'events', expected it"),
        ({"trees": {"events": "events"}}, FileError, "got no tree 'bookkeeping', expected it beside events"),
        ({"without": ["jet_width"]}, ColumnError, "tree 'events': got no branch 'jet_width'"),
        ({"without": ["jet_n_trk"]}, ColumnError, "no branch 'jet_n_trk', expected it; did you mean 'jet_n_trk_"),
        ({"without": ["trigger"]}, ColumnError, "tree 'events': got no branch 'trigger'"),
        ({"without": ["jet_label"]}, ColumnError, "tree 'events': got no branch 'jet_label'"),
        ({"without": ["weight"]}, ColumnError, "tree 'events': got no branch 'weight'"),
        ({"without": ["n_files"]}, ColumnError, "tree 'bookkeeping': got no branch 'n_files'"),
        ({"books": {"format": 7}}, FileError, "got format 7, expected 1"),
        ({"books": {"weight_names": "nominal,up"}}, FileError, "got 2 names of weights .*one finite sum per name"),
        ({"books": {"sum_weights": np.array([1.0, np.nan, 1.0])}}, FileError, "expected one finite sum per name"),
    ],
)
def test_what_is_wrong_with_a_file_is_seen_at_once(
    odd: Path, fault: dict[str, Any], error: type[BeampipeError], message: str
) -> None:
    events = small_events(20)
    if "books" in fault:
        fault = {"books": bookkeeping_of(events, **fault["books"])}
    write_odd(odd, events, **fault)
    with pytest.raises(error, match=rf"odd\.root: .*{message}") as caught:
        inspect_file(odd)
    assert isinstance(caught.value, FileError)
    assert caught.value.path == odd
    if isinstance(caught.value, ColumnError):
        assert f"no branch {caught.value.name!r}" in message


def test_an_empty_tree_and_a_file_that_is_none(odd: Path) -> None:
    with pytest.raises(FileError, match=r"odd\.root: is not there; expected a ROOT file"):
        inspect_file(odd)
    odd.write_text("not a ROOT file, but long enough to hold the header of one" * 20)
    with pytest.raises(FileError, match=r"odd\.root: 'header' cannot be read .*truncated or damaged: copy or make"):
        inspect_file(odd)
    events = small_events(5)
    write_odd(odd, events[0:0], books=bookkeeping_of(events))
    facts = inspect_file(odd)
    assert (facts.n_events, facts.simulated) == (0, True)
    np.testing.assert_array_equal(facts.sum_weights, bookkeeping_of(events)["sum_weights"])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            {"types": {"jet_label": "float64"}, "scale": {"jet_label": 0.5}},
            "branch 'jet_label': got .*float64., expected whole",
        ),
        ({"types": {"jet_n_trk": "int32"}, "scale": {"jet_n_trk": -1}}, "branch 'jet_n_trk': got -.*numbers from 0 to"),
        ({"types": {"event": "int64"}, "scale": {"event": -1}}, "branch 'event': got -.*expected whole numbers from 0"),
        ({"n_weights": [3] * 100 + [2] + [3] * 99}, "branch 'weight': got 2 to 3 weights"),
        ({"n_weights": [2] * 200}, "branch 'weight': got 2 to 2 weights an event"),
    ],
)
def test_what_is_wrong_with_a_branch_is_named(odd: Path, fault: dict[str, Any], message: str) -> None:
    write_odd(odd, small_events(), **fault)
    with pytest.raises(FileError, match=rf"(?s)odd\.root: .*{message}"):
        whole(odd)


@pytest.mark.parametrize(
    "types",
    [
        {"jet_pt": "float64", "jet_eta": "float64", "weight": "float64"},
        {"run": "int32", "event": "int32", "trigger": "int8"},
        {"jet_n_trk": "int32", "jet_n_trk_eff": "float32", "jet_label": "int64", "jet_clean": "uint8"},
    ],
)
def test_any_width_will_do_where_nothing_is_lost(odd: Path, tmp_path: Path, types: dict[str, str]) -> None:
    events = small_events()
    write_odd(odd, events, types=types)
    require_same(whole(odd), whole(write_odd(tmp_path / "ours.root", events)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("branch", ["weight", "jet_pt", "jet_eta", "jet_width", "jet_c1"])
def test_a_number_that_is_none_is_named_with_its_entry(odd: Path, branch: str, value: float) -> None:
    """In the leading jet of a selected event, in the middle of a range."""
    events = small_events()
    write_ntuple(odd, events, bookkeeping_of(events))
    selected = set(whole(odd).event.tolist())
    entry = next(i for i in range(120, len(events)) if int(events.event[i]) in selected)

    def spoilt(values: Any) -> Any:
        values[entry if branch == "weight" else events.offset[entry]] = value
        return values

    rewrite(odd, **{branch: spoilt})
    with pytest.raises(FileError, match=rf"odd\.root: branch '{branch}': got {value} at entry {entry}, expected"):
        select(odd, 100, len(events), SETTINGS)
    assert len(select(odd, 0, 100, SETTINGS)) > 20


def test_a_number_that_is_none_in_a_jet_that_does_not_count_harms_nothing(odd: Path) -> None:
    events = small_events()
    write_ntuple(odd, events, bookkeeping_of(events))
    before = whole(odd)
    third = int(events.offset[np.flatnonzero(np.diff(events.offset) > 2)[0]]) + 2

    def spoilt(values: Any) -> Any:
        values[third] = np.nan
        return values

    rewrite(odd, jet_width=spoilt)
    require_same(whole(odd), before)


def test_an_event_that_is_there_twice_is_named(odd: Path) -> None:
    events = small_events()

    def doubled(values: Any) -> Any:
        values[150] = values[20]
        return values

    write_ntuple(odd, events, bookkeeping_of(events))
    rewrite(odd, event=doubled)
    with pytest.raises(FileError, match=r"odd\.root: got run 1, event 20 more than once, expected each event once"):
        whole(odd)

    def other_run(values: Any) -> Any:
        values[150] = 2
        return values

    rewrite(odd, run=other_run)
    assert whole(odd).ranges == ((1, 0, 199), (2, 20, 20))


def outcome(path: Path) -> Dijets | str:
    """The events of a file, or the message of the one error that may come."""
    try:
        return whole(path)
    except FileError as error:
        return str(error)


def test_a_file_that_is_cut_off_anywhere_is_refused_with_its_name(toys: Toys, odd: Path) -> None:
    """Or read to the end, if only what nobody needs is missing."""
    path = toys.files("nominal")[0]
    content, good = path.read_bytes(), whole(path)
    lengths = [0, 1, 50, 300, *np.linspace(1000, len(content) - 1, 40).astype(int).tolist()]
    refused = 0
    for length in lengths:
        odd.write_bytes(content[:length])
        result = outcome(odd)
        if isinstance(result, str):
            assert "odd.root" in result
            assert "expected" in result or "make it again" in result
            refused += 1
        else:
            require_same(result, good)
    assert refused >= len(lengths) - 2


def test_bytes_that_are_wrong_raise_no_other_error(toys: Toys, odd: Path) -> None:
    """Zeros over 2 kB anywhere. Where they hit numbers that are stored plain, nothing in the file can tell."""
    content = toys.files("nominal")[0].read_bytes()
    refused = 0
    for start in np.linspace(100, len(content) - 3000, 40).astype(int).tolist():
        odd.write_bytes(content[:start] + bytes(2000) + content[start + 2000 :])
        result = outcome(odd)
        refused += isinstance(result, str)
        assert not isinstance(result, str) or "odd.root" in result
    assert refused > 20
