from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beampipe.errors import ColumnError, ConfigError, FileError, NotFiniteError, UnknownNameError
from beampipe.events import Event
from beampipe.tracking.formats import EVENT_FORMATS, TRACK_FORMATS, ReadOptions, open_events, write_events
from beampipe.tracking.formats.options import TRACK_FORMAT_HELP
from tests.tracking.formats.events import assert_equal, random_event

ACTS = Path(__file__).parent / "acts"  # one event of four muons, written by ACTS 48.1

HITS = """hit_id,x,y,z,volume_id,layer_id,module_id
1,3.0,4.0,-5.0,8,2,1
3,0.0,-2.0,6.5,8,4,7
2,1.0,0.0,0.5,9,2,3
"""
TRUTH = """hit_id,particle_id,tx,ty,tz,tpx,tpy,tpz,weight
3,4503737066323968,0,0,0,0,0,0,0.1
2,0,0,0,0,0,0,0,0
1,22525763437723648,0,0,0,0,0,0,0.1
"""
PARTICLES = """particle_id,vx,vy,vz,px,py,pz,q,nhits
4503737066323968,0.01,-0.01,3.0,0.3,0.4,5.0,-1,1
22525763437723648,30.0,0.0,3.0,1.0,0.0,0.0,1,1
"""


def only(path: Path, scale: str = "mm", format: str | None = None) -> Event:
    events = list(open_events(path, scale, format=format))
    assert len(events) == 1
    return events[0]


@pytest.fixture
def trackml(tmp_path: Path) -> Path:
    for kind, text in (("hits", HITS), ("truth", TRUTH), ("particles", PARTICLES)):
        (tmp_path / f"event000001000-{kind}.csv").write_text(text)
    return tmp_path


def test_trackml(trackml: Path) -> None:
    event = only(trackml / "event000001000-hits.csv")
    assert event.event_id == 1000
    expected = [[5.0, np.arctan2(4, 3), -5.0], [2.0, -np.pi / 2, 6.5], [1.0, 0.0, 0.5]]
    np.testing.assert_allclose(event.hits.position, expected, rtol=1e-6)
    assert event.hits.geometry_id is not None
    assert event.hits.geometry_id[1] >> 56 == 8
    assert event.hits.geometry_id[1] >> 36 & 0xFFF == 4
    assert event.hits.geometry_id[1] >> 8 & 0xFFFFF == 7
    assert event.truth is not None
    # The truth is matched by hit_id, not by row.
    assert event.truth.particle_id.tolist() == [22525763437723648, 4503737066323968, 0]
    assert event.truth.particles.primary.tolist() == [True, False]
    np.testing.assert_allclose(event.truth.particles.pt, [0.5, 1.0], rtol=1e-6)
    assert_equal(only(trackml), event)


def test_trackml_hits_alone_have_no_truth(trackml: Path) -> None:
    (trackml / "event000001000-truth.csv").unlink()
    with pytest.raises(FileError, match=r"-truth\.csv: no such file beside event000001000-particles\.csv"):
        only(trackml)
    (trackml / "event000001000-particles.csv").unlink()
    assert only(trackml).truth is None


@pytest.mark.parametrize(
    ("kind", "old", "new", "error", "message"),
    [
        ("hits", "hit_id,x,y,z", "hit_id,x,yy,z", ColumnError, "no column 'y'; did you mean 'yy'"),
        ("hits", "3.0,4.0", "3.0,nan", NotFiniteError, "got y = nan at row 0"),
        ("hits", "0.0,-2.0", "inf,-2.0", NotFiniteError, "got x = inf at row 1"),
        ("hits", "1.0,0.0,0.5,9,2,3", "1.0,0.0", FileError, "got 3 columns in '2,1.0,0.0', expected 7"),
        ("hits", "3.0,4.0", "3.0,four", FileError, "four"),
        ("hits", "3,0.0,-2.0", "1,0.0,-2.0", FileError, "got hit_id 1 twice"),
        ("truth", "3,4503737066323968", "5,4503737066323968", FileError, "got hit_id 5 at row 0, which"),
        ("truth", "3,4503737066323968", "3,77", FileError, "got particle_id 77 at row 0, which"),
        ("particles", "px", "p_x", ColumnError, "no column 'px'"),
    ],
)
def test_a_bad_trackml_file_is_named(
    trackml: Path, kind: str, old: str, new: str, error: type[Exception], message: str
) -> None:
    path = trackml / f"event000001000-{kind}.csv"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(error, match=message) as caught:
        only(trackml)
    assert str(trackml) in str(caught.value)


def test_acts() -> None:
    event = only(ACTS)
    assert_equal(only(ACTS / "event000000000-measurements.csv"), event)
    assert len(event.hits) == 47
    # First row of the file: x 8.48357677, y -30.8639565, z -17.9644108; local 2.32202673, 17.0355892; 15 um each.
    x, y = 8.48357677, -30.8639565
    np.testing.assert_allclose(event.hits.position[0], [np.hypot(x, y), np.arctan2(y, x), -17.9644108], rtol=1e-6)
    assert event.hits.geometry_id is not None
    assert event.hits.geometry_id[0] == 576460889742402816
    assert event.hits.local is not None
    assert event.hits.variance is not None
    np.testing.assert_allclose(event.hits.local[0], [2.32202673, 17.0355892], rtol=1e-6)
    np.testing.assert_allclose(event.hits.variance[0], [0.015**2, 0.015**2], rtol=1e-5)
    assert event.truth is not None
    assert sorted(np.unique(event.truth.particle_id)) == [1, 2, 3, 4]
    assert set(abs(event.truth.particles.pdg)) == {13}
    assert event.truth.particles.primary.all()
    # A muon's hits lie at its own phi and eta, up to bending: so the truth is joined to the right particles.
    innermost = [int(np.flatnonzero(event.truth.particle_id == i)[0]) for i in (1, 2, 3, 4)]
    phi = np.arctan2(event.truth.particles.momentum[:, 1], event.truth.particles.momentum[:, 0])
    np.testing.assert_allclose(event.hits.position[innermost, 1], phi, atol=0.02)


def test_acts_shared_measurement(tmp_path: Path) -> None:
    for path in ACTS.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    links = tmp_path / "event000000000-measurement-simhit-map.csv"
    # Measurement 0 is of particle 1; simulated hits 1 and 0 are of particles 2 and 1.
    links.write_text(links.read_text() + "0,1\n0,0\n")
    truth = only(tmp_path).truth
    assert truth is not None
    assert truth.particle_id[0] == 1
    assert truth.shared_hit.tolist() == [0]
    assert truth.shared_particle.tolist() == [2]
    links.write_text(links.read_text() + "3,4711\n")
    with pytest.raises(FileError, match="got hit_id 4711 at row 49"):
        only(tmp_path)


@pytest.mark.parametrize("scale", ["mm", "exatrkx", "acts"])
def test_three_columns(tmp_path: Path, scale: str) -> None:
    path = tmp_path / "in_e000007.csv"
    path.write_text("1.5,-2.5e-1,3\n0.5,0.25,-0.1\n")
    event = only(path, scale)
    assert event.event_id == 7
    assert event.truth is None
    units = {"mm": (1, 1, 1), "exatrkx": (3000, np.pi, 400), "acts": (1000, np.pi, 1000)}[scale]
    np.testing.assert_allclose(event.hits.position, np.array([[1.5, -0.25, 3], [0.5, 0.25, -0.1]]) * units, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", FileError, "empty"),
        ("1,2\n", FileError, "got 2 columns in row 0, expected 3: r, phi, z"),
        ("1,2,3\n1,2\n", FileError, "got 2 columns in '1,2', expected 3"),
        ("r,phi,color\n1,2,3\n", FileError, "'r'"),
        ("1,2,3\n1,nan,3\n", NotFiniteError, "got phi = nan at row 1"),
        ("1,2,3\n1,2,-inf\n", NotFiniteError, "got z = -inf at row 1"),
        ("1,2,3\n1,,3\n", FileError, "cut short"),
    ],
)
def test_bad_three_columns_are_named(tmp_path: Path, text: str, error: type[Exception], message: str) -> None:
    path = tmp_path / "hits.csv"
    path.write_text(text)
    with pytest.raises(error, match=message) as caught:
        only(path)
    assert str(path) in str(caught.value)


def test_a_cut_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hits.csv.gz"
    text = "\n".join(f"{a},{b},{c}" for a, b, c in np.random.default_rng(1).random((20_000, 3)))
    whole = gzip.compress(text.encode())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match=r"hits\.csv\.gz"):
        only(path)


def test_a_scale_for_a_file_with_units_is_refused(tmp_path: Path, trackml: Path) -> None:
    path = tmp_path / "events.parquet"
    write_events(path, [random_event(5)])
    for given in (path, ACTS, trackml / "event000001000-hits.csv"):
        with pytest.raises(ConfigError, match="states its units"):
            open_events(given, "acts")


def test_unknown_things_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'acts'"):
        open_events(tmp_path, "act")
    with pytest.raises(FileError, match="got no event"):
        open_events(tmp_path)
    with pytest.raises(FileError, match="no such file or folder"):
        open_events(tmp_path / "gone.csv")
    (tmp_path / "hits.root").write_bytes(b"root")
    with pytest.raises(FileError, match="of no known kind"):
        open_events(tmp_path / "hits.root")


def test_the_command_names_what_can_be_read_and_written() -> None:
    # The help may not load the tables, so it repeats their names.
    for table, text in ((EVENT_FORMATS, ReadOptions.__doc__ or ""), (TRACK_FORMATS, TRACK_FORMAT_HELP)):
        words = set(re.findall(r"[\w-]+", text))
        assert set(table) <= words
        assert all(name == item.name for name, item in table.items())


def test_a_folder_of_several_formats_is_ambiguous(tmp_path: Path, trackml: Path) -> None:
    write_events(tmp_path / "own.parquet", [random_event(5)])
    (tmp_path / "note.txt").write_text("nothing of ours")
    (tmp_path / "tracks.jsonl").write_text('{"event_id": 1}\n{"event_id": 1}\n')
    with pytest.raises(FileError, match=r"1 of beampipe \(own\.parquet, \.\.\.\), 1 of trackml .*by --format NAME"):
        open_events(trackml)
    assert only(trackml, format="trackml").event_id == 1000
    assert only(trackml, format="beampipe").event_id == 5
    with pytest.raises(FileError, match="got no event of edm4hep but 6 files"):
        open_events(trackml, format="edm4hep")


def test_a_folder_of_files_is_read_in_order(tmp_path: Path) -> None:
    for number in (12, 3):
        (tmp_path / f"hits_{number:04d}.csv").write_text(f"{number},0,1\n")
    assert [event.event_id for event in open_events(tmp_path)] == [3, 12]
    assert [event.hits.position[0, 0] for event in open_events(tmp_path, "exatrkx")] == [9000, 36000]


def test_three_columns_are_known_without_their_ending(tmp_path: Path) -> None:
    path = tmp_path / "hits_7.txt"
    path.write_text("1.5,0.25,3\n")
    assert only(path).event_id == 7
    path.write_bytes(b"\x00\x01,\x02")
    with pytest.raises(FileError, match="of no known kind: got neither Parquet, CSV, Feather, HDF5, ROOT nor JSON"):
        open_events(path)


def test_hits_keep_their_own_columns(trackml: Path) -> None:
    source = only(trackml).source
    assert source is not None
    assert source.hit_id is not None
    assert source.hit_id.tolist() == [1, 3, 2]
    assert list(source.extra) == ["x", "y", "z", "volume_id", "layer_id", "module_id"]
    measured = only(ACTS).source
    assert measured is not None
    assert measured.hit_id is not None
    assert measured.hit_id.tolist() == list(range(47))
    assert {"local_key", "time", "var_local0", "global_x"} <= set(measured.extra)


@pytest.mark.parametrize("names", [("X", "Y", "Z"), ("R", "Phi", "Z")])
def test_columns_in_capitals_are_read(names: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "hits.parquet"
    pq.write_table(pa.table({name: [1.0, 2.0] for name in names}), path)
    event = open_events(path)[0]
    assert event.hits.z.tolist() == [1.0, 2.0]
    assert event.source is not None
    assert list(event.source.extra) == list(names)
