"""Files: layout, completeness, what a second call does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import uproot

from beampipe.errors import FileError, InputError, ShapeError
from beampipe.jets.ntuple_format import (
    BOOKKEEPING,
    BOOKKEEPING_BRANCHES,
    EVENT_BRANCHES,
    EVENTS,
    JET_BRANCHES,
    MC_BRANCHES,
    VARIED_N_TRK,
)
from beampipe.simulation.ntuples import (
    Events,
    read_bookkeeping,
    read_ntuple,
    simulate_dijets,
    simulate_toy,
    write_ntuple,
)
from beampipe.simulation.ntuples.dijets import PAIR_PT, file_specs, is_made
from beampipe.simulation.ntuples.toy import WHOLE as TOY_WHOLE
from beampipe.simulation.ntuples.toy import toy_events

from .conftest import N_EVENTS


def assert_same(one: Events, other: Events) -> None:
    assert set(one.columns) == set(other.columns)
    np.testing.assert_array_equal(one.offset, other.offset)
    for name, column in one.columns.items():
        assert column.dtype == other.columns[name].dtype, name
        np.testing.assert_array_equal(column, other.columns[name], err_msg=name)


def test_layout_is_the_one_of_ntuple(small_sample: list[Path]) -> None:
    with uproot.open(small_sample[0]) as file:
        assert set(file.keys(cycle=False)) == {EVENTS, BOOKKEEPING}
        tree = file[EVENTS]
        jagged = JET_BRANCHES | MC_BRANCHES | dict.fromkeys(VARIED_N_TRK.values(), "uint16")
        assert set(tree.keys()) == {*EVENT_BRANCHES, *jagged, "njet", "nweight"}
        for name, kind in (EVENT_BRANCHES | jagged).items():
            interpretation = tree[name].interpretation
            content = interpretation.content if name in jagged else interpretation
            assert content.to_dtype == np.dtype(kind), name
        assert tree["jet_pt"].count_branch.name == tree["jet_label"].count_branch.name == "njet"
        book = file[BOOKKEEPING]
        assert set(book.keys()) == {*BOOKKEEPING_BRANCHES, "nsum_weights"}
        assert book.num_entries == 1


def test_simulation_is_sound(small_sample: list[Path]) -> None:
    n_generated = 0
    for number, path in enumerate(small_sample):
        book, events = read_bookkeeping(path), read_ntuple(path)
        assert (book["dataset"], book["slice"], book["file_number"], book["n_files"]) == ("nominal", number, 0, 1)
        n_generated += book["n_generated"]
        assert 0 < len(events) <= book["n_generated"]
        assert events.weight is not None
        assert events.jet_label is not None
        names = book["weight_names"].split(",")
        assert names[0] == "nominal"
        assert len(names) == events.weight.shape[1] == len(book["sum_weights"])
        # What is not written has positive nominal weights.
        assert events.weight[:, 0].sum() <= book["sum_weights"][0] * (1 + 1e-6)
        if len(events) == book["n_generated"]:
            np.testing.assert_allclose(events.weight.sum(axis=0, dtype=np.float64), book["sum_weights"], rtol=1e-5)
        second = events.jet_pt[events.offset[:-1] + 1]
        assert (second > PAIR_PT).all()
        same_event = np.delete(np.diff(events.jet_pt), events.offset[1:-1] - 1)
        assert (same_event <= 0).all()
        assert len(set(events.event.tolist())) == len(events)
        assert set(events.jet_label.tolist()) <= {0, 1, 2, 3, 4, 5, 21}
        settings = json.loads(book["settings"])
        assert settings["generator"] == "Pythia"
        assert "Tune:pp = 21" in settings["settings"]
    assert n_generated == N_EVENTS


def test_all_events_are_written_where_all_are_hard(small_sample: list[Path]) -> None:
    # The premise of the equality of sums above.
    book, events = read_bookkeeping(small_sample[2]), read_ntuple(small_sample[2])
    assert len(events) == book["n_generated"]


def test_a_seed_decides_whatever_is_made_when_and_by_how_many(tmp_path: Path) -> None:
    """A second call makes what is missing, as the first did; more processes make the same."""
    paths = simulate_dijets("nominal2", tmp_path / "one", 9, seed=5)
    first = [read_ntuple(path) for path in paths]
    before = {path: path.stat().st_mtime_ns for path in paths}
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:1000])
    output: list[Path] = []
    assert simulate_dijets("nominal2", tmp_path / "one", 9, seed=5, progress=output.append) == paths
    assert sorted(output) == sorted(paths)
    assert [path for path in paths if path.stat().st_mtime_ns != before[path]] == paths[:2]
    assert not list((tmp_path / "one").glob("*.part"))
    of_two = simulate_dijets("nominal2", tmp_path / "two", 9, seed=5, workers=2)
    for events, again, other in zip(first, paths, of_two, strict=True):
        assert_same(events, read_ntuple(again))
        assert_same(events, read_ntuple(other))
    seeds, numbers = {9: 5, 12: 5, 10: 6}, set()
    for n_events, seed in seeds.items():
        specs = file_specs("nominal2", tmp_path / "one", n_events, seed, 1)
        assert all(map(is_made, specs)) == (n_events == 9)
        numbers.add(specs[0].own_seed)
    assert len(numbers) == 2
    assert len({spec.own_seed for spec in file_specs("nominal2", tmp_path, 12, 5, 2)}) == 6


def test_too_few_events(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="for 9 files"):
        simulate_dijets("nominal2", tmp_path, 9, files=9)


def test_events_slice_and_join() -> None:
    events = toy_events(300, 4, n_weights=3)
    assert_same(Events.join([events[:100], events[100:101], events[101:]]), events)
    assert len(events[40:40]) == 0
    with pytest.raises(ShapeError, match="step"):
        events[::2]


def test_round_trip_of_many_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beampipe.simulation.ntuples.ntuple_files.EVENTS_PER_BASKET", 70)
    (path,) = simulate_toy(tmp_path, 300, n_weights=2, slices=(replace(TOY_WHOLE, share=1.0),))
    with uproot.open(path) as file:
        assert list(file[EVENTS].common_entry_offsets()) == [0, 70, 140, 210, 280, 300]
    made = read_ntuple(path)
    monkeypatch.undo()
    (path,) = simulate_toy(tmp_path / "whole", 300, n_weights=2, slices=(replace(TOY_WHOLE, share=1.0),))
    assert_same(made, read_ntuple(path))


def test_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="bookkeeping differs from the layout in"):
        write_ntuple(tmp_path / "a.root", toy_events(5, 1), {"format": 1})
    book = dict.fromkeys(BOOKKEEPING_BRANCHES, 1) | {"sum_weights": object()}
    with pytest.raises(Exception, match=r"."):
        write_ntuple(tmp_path / "a.root", toy_events(5, 1), book)
    assert not list(tmp_path.iterdir())


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.root"
    path.write_bytes(b"no ROOT file")
    for read in (read_bookkeeping, read_ntuple):
        with pytest.raises(FileError, match=r"a\.root"):
            read(path)
