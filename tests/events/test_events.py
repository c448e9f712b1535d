"""Events of files as a sequence: each row is the event that a loop gives, whatever the format."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from beampipe.events import Event, Events, Hits, Particles, Truth
from beampipe.tracking import open_events, shipped_events, write_events

ACTS = Path(__file__).parents[1] / "tracking" / "formats" / "acts"


def parquet(folder: Path) -> Path:
    """Six events, two in each row group, as other programs write them."""
    write_events(folder / "written.parquet", shipped_events(0)[:6])
    pq.write_table(pq.read_table(folder / "written.parquet"), folder / "events.parquet", row_group_size=2)
    return folder / "events.parquet"


def columns(folder: Path) -> Path:
    """A folder of files with one event each."""
    for number in range(4):
        text = "\n".join(f"{30 + 10 * row},0.{row},{number}" for row in range(number + 1))
        (folder / f"event{number:09}.csv").write_text(f"{text}\n")
    return folder


def acts(folder: Path) -> Path:
    shutil.copytree(ACTS, folder / "acts")
    return folder / "acts"


def table(folder: Path) -> Path:
    """A table of hits, whose events must be read to be counted."""
    rows = [f"{event},{30 + row},0.1,{row}" for event in range(3) for row in range(event + 1)]
    (folder / "hits.csv").write_text("event_id,r,phi,z\n" + "\n".join(rows) + "\n")
    return folder / "hits.csv"


@pytest.fixture(params=[parquet, columns, acts, table])
def events(request: pytest.FixtureRequest, tmp_path: Path) -> Events:
    """Events of one format."""
    make: Callable[[Path], Path] = request.param
    return open_events(make(tmp_path), format="table" if make is table else None)


def numbers(events: Events) -> list[tuple[int, int]]:
    return [(event.event_id, len(event.hits)) for event in events]


def test_rows_and_slices_are_those_of_a_list(events: Events) -> None:
    expected = numbers(events)
    n = len(expected)
    assert numbers(events) == expected
    assert len(events) == n
    assert [(events[row].event_id, len(events[row].hits)) for row in range(-n, n)] == expected + expected
    for part in (slice(1, None), slice(None, None, 2), slice(None, None, -1), slice(2, 1), slice(-2, None), slice(9)):
        assert numbers(events[part]) == expected[part]
        assert len(events[part]) == len(expected[part])
        assert numbers(events[part][1:]) == expected[part][1:]
    with pytest.raises(IndexError, match=f"got {n}, but there are {n} events in"):
        events[n]


def test_only_files_that_must_be_read_are_not_counted(tmp_path: Path) -> None:
    assert repr(open_events(columns(tmp_path))) == f"Events(source: {tmp_path.name}, events: 4)"
    assert repr(open_events(table(tmp_path), format="table")) == "Events(source: hits.csv, events: not counted yet)"


def test_part_of_an_event_keeps_the_particles_of_merged_hits() -> None:
    """Also of hits that are taken twice, or in another order."""
    hits = Hits.from_xyz(np.arange(12.0).reshape(4, 3))
    nobody = Particles(
        np.empty(0, np.int64),
        np.empty(0, np.int32),
        np.empty(0, np.float32),
        np.empty((0, 3), np.float32),
        np.empty((0, 3), np.float32),
        np.empty(0, np.bool_),
    )
    truth = Truth(np.array([1, 2, 3, 0]), nobody, np.array([2, 0, 2]), np.array([5, 6, 7]))
    part = Event(1, hits, truth).take([2, 3, 0, 2]).truth
    assert part is not None
    assert part.particle_id.tolist() == [3, 0, 1, 3]
    shared = zip(part.shared_hit.tolist(), part.shared_particle.tolist(), strict=True)
    assert sorted(shared) == [(0, 5), (0, 7), (2, 6), (3, 5), (3, 7)]


@pytest.mark.parametrize("selection", [[4], [-5], [True, False], [0.5], np.array(3), "all"])
def test_wrong_selections_are_refused(selection: object) -> None:
    hits = Hits.from_xyz(np.arange(12.0).reshape(4, 3))
    with pytest.raises((IndexError, TypeError), match="hits: got"):
        hits.take(selection)  # type: ignore[arg-type]


def test_hits_are_taken_as_rows_of_an_array() -> None:
    hits = Hits.from_xyz(np.arange(12.0).reshape(4, 3))
    for selection in (slice(1, 3), slice(None, None, -1), [2, 0], hits.z > 5, np.array([-1])):
        np.testing.assert_array_equal(hits[selection].position, hits.position[selection])
    assert hits[-1].z == hits.z[-1]
    assert [row.r for row in hits] == hits.r.tolist()
    assert {"r", "phi", "z"} <= set(dir(hits[0]))
    assert repr(hits[0]).startswith("Hit(r: 1, phi: ")
    with pytest.raises(IndexError, match="hits: got row 4, but there are 4"):
        hits[4]
    with pytest.raises(AttributeError, match="'Hit' object has no attribute 'pt'"):
        _ = hits[0].pt


def test_coordinates_as_columns_or_one_array() -> None:
    x, y, z = np.arange(12.0).reshape(3, 4)
    assert (Hits.from_xyz(x, y, z).position == Hits.from_xyz(np.stack([x, y, z], axis=1)).position).all()
    with pytest.raises(TypeError, match="two coordinates"):
        Hits.from_xyz(x, y)
    with pytest.raises(ValueError, match="expected three of one length"):
        Hits.from_xyz(x, y, z[1:])
