"""Fitted parameters on disk, beside the labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from beampipe.errors import FileError, InputError
from beampipe.events import PARAMETERS, TRACK_FILE_COLUMNS, Event, Hits, TrackQuantities, Tracks, Truth
from beampipe.tables import quantities
from beampipe.tracking.batch import track_files
from beampipe.tracking.data import shipped_events
from beampipe.tracking.finder import InOneThread
from beampipe.tracking.fitting.fitter import FittedFinder, TrackFitter
from beampipe.tracking.formats import write_events
from beampipe.tracking.formats.writing import PARAMETER_COLUMNS, parameters_path, writing_parameters
from tests.tracking.fitting.toy import shoot, toy_tables


class Known(InOneThread):
    """Finds the particles of toys: ten hits each, in a row; a short event it refuses."""

    def find(self, hits: Hits, /) -> Tracks:
        if len(hits) < 10:
            raise InputError("hits: got too few")
        return Tracks(np.arange(len(hits)) // 10)


def finder() -> FittedFinder:
    return FittedFinder(Known(), TrackFitter(toy_tables()))


def events() -> list[Event]:
    return [Event(number, shoot(toy_tables(), 5 + number, seed=number).event.hits) for number in (3, 4)]


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_one_row_a_track_beside_the_labels(tmp_path: Path, ending: str) -> None:
    write_events(tmp_path / "in.parquet", events())
    output = tmp_path / f"out{ending}"
    [result] = track_files([tmp_path / "in.parquet"], finder(), output, parameters=True)
    assert result.error is None
    assert {path.name for path in tmp_path.iterdir()} == {"in.parquet", f"out{ending}", f"out.parameters{ending}"}
    path = parameters_path(output)
    table = pq.read_table(path) if ending == ".parquet" else pc.read_csv(path)
    assert tuple(table.column_names) == PARAMETER_COLUMNS
    assert table.column("event_id").to_pylist() == [3] * 8 + [4] * 9
    assert table.column("track_id").to_pylist() == [*range(8), *range(9)]
    assert set(table.column("status").to_pylist()) == {"fitted"}
    fitted = finder().find(events()[0].hits).parameters
    assert fitted is not None
    for i, name in enumerate(PARAMETERS):
        np.testing.assert_allclose(table.column(name).to_numpy()[:8], fitted.values[:, i], rtol=1e-6)
        for j, other in enumerate(PARAMETERS[: i + 1]):
            np.testing.assert_allclose(
                table.column(f"cov_{name}_{other}").to_numpy()[:8], fitted.covariance[:, i, j], rtol=1e-6
            )
    assert table.column("ndf").to_pylist() == [15] * 17


def test_what_was_not_fitted_is_nan_with_its_reason(tmp_path: Path) -> None:
    event = events()[0]
    label = np.where(np.arange(len(event.hits)) < 2, 0, -1)
    tracks = TrackFitter(toy_tables()).add(event.hits, Tracks(label))
    assert list(writing_parameters(tmp_path / "p.parquet", [(event, tracks)])) == [(event, tracks)]
    [row] = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert row["status"] == "too_few_hits"
    assert np.isnan([row[name] for name in (*PARAMETERS, "chi2", "cov_d0_d0")]).all()


def test_a_file_that_fails_leaves_no_parameters(tmp_path: Path) -> None:
    short = Event(5, events()[0].hits.take(np.arange(4)))
    write_events(tmp_path / "in.parquet", [*events(), short])
    [result] = track_files([tmp_path / "in.parquet"], finder(), tmp_path / "out.parquet", parameters=True)
    assert result.error == "hits: got too few"
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_tracks_without_a_fit_are_refused(tmp_path: Path) -> None:
    event = events()[0]
    with pytest.raises(InputError, match="event 3: got tracks without parameters"):
        list(writing_parameters(tmp_path / "p.parquet", [(event, Known().find(event.hits))]))
    with pytest.raises(FileError):
        list(writing_parameters(tmp_path / "none" / "p.parquet", []))
    assert not list(tmp_path.iterdir())


def test_columns_are_of_their_type() -> None:
    event = events()[0]
    nobody = shipped_events(0)[0].particles[:0]
    event = replace(event, truth=Truth(np.zeros(len(event), np.int64), nobody))
    tracks = replace(finder().find(event.hits).found_in(event), magnetic_field=2.0)
    for column in (*quantities(TrackQuantities), *TRACK_FILE_COLUMNS.values()):
        values = column.values(tracks)
        assert values.shape == (len(tracks),)
        assert values.dtype.type is np.dtype(column.dtype).type
