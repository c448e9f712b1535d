"""Files with the branches that podio writes; members of a collection lie flat in the tree here, not under a branch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import awkward as ak
import numpy as np
import pytest
import uproot

from beampipe.errors import ConfigError, FileError, MissingExtraError, UnknownNameError
from beampipe.events import Event
from beampipe.tracking.formats import open_events

HIT_MEMBERS: Final = {
    "cellID": np.uint64,
    "type": np.int32,
    "quality": np.int32,
    "time": np.float32,
    "eDep": np.float32,
    "eDepError": np.float32,
}


def jagged(rows: Sequence[Any], dtype: type) -> ak.Array:
    arrays: list[np.ndarray] = [np.asarray(row, dtype) for row in rows]
    return ak.unflatten(np.concatenate(arrays), [len(array) for array in arrays])


def hits(name: str, x: list[list[float]]) -> dict[str, Any]:
    def like(dtype: type, value: float) -> ak.Array:
        return jagged([np.full(len(row), value) for row in x], dtype)

    members = {f"{name}.{member}": like(dtype, 1) for member, dtype in HIT_MEMBERS.items()}
    return members | {
        f"{name}.position.x": jagged(x, np.float64),
        f"{name}.position.y": like(np.float64, 4.0),
        f"{name}.position.z": like(np.float64, -5.0),
    }


def relation(name: str, index: list[list[int]], collection: int = 77) -> dict[str, Any]:
    return {
        f"{name}.index": jagged(index, np.int32),
        f"{name}.collectionID": jagged([np.full(len(row), collection) for row in index], np.uint32),
    }


def tree() -> dict[str, Any]:
    """Two events; the first has three hits on two particles, the second has none."""
    members = {"cellID": np.uint64, "pathLength": np.float32, "position.x": np.float64}
    simulated = {f"SimHits.{name}": jagged([np.ones(4), []], dtype) for name, dtype in members.items()}
    floats = ("momentum.x", "momentum.y", "momentum.z", "vertex.x", "vertex.y", "vertex.z", "charge")
    particles = {f"MCParticles.{name}": jagged([[1.5, -1.0, 2.0], []], np.float64) for name in floats}
    whole = {"PDG": [211, -11, 13], "generatorStatus": [1, 0, 1], "simulatorStatus": [0, 1 << 30, 0]}
    particles |= {f"MCParticles.{name}": jagged([values, []], np.int32) for name, values in whole.items()}
    return {
        "EventHeader.eventNumber": jagged([[31], [32]], np.uint64),
        **hits("VXDHits", [[3.0, 30.0, 300.0], []]),
        **simulated,
        **particles,
        # Simulated hit 3 shares hit 1; hit 2 has no link.
        **relation("_VXDLinks_from", [[1, 0, 1], []]),
        **relation("_VXDLinks_to", [[2, 0, 3], []]),
        **relation("_SimHits_particle", [[0, 0, 2, 1], []]),
    }


def write(path: Path, branches: dict[str, Any]) -> Path:
    with uproot.recreate(path) as file:
        # One by one, or uproot takes the part before a dot for the name of a record.
        types = {name: "var * " + str(ak.flatten(values, axis=None).type.content) for name, values in branches.items()}
        made = file.mktree("events", types, counter_name=lambda name: f"n_{name.replace('.', '_')}")
        made.extend(branches)
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("edm4hep") / "events.root", tree())


def test_the_only_collection_is_read_without_being_named(path: Path) -> None:
    first, second = open_events(path)
    assert (first.event_id, second.event_id, len(second.hits)) == (31, 32, 0)
    np.testing.assert_allclose(first.hits.position[0], [5.0, np.arctan2(4, 3), -5.0], rtol=1e-6)
    assert first.truth is None
    assert first.hits.geometry_id is None
    assert first.source is not None
    assert first.source.hit_id is not None
    assert first.source.hit_id.tolist() == [0, 1, 2]
    assert first.source.extra["cellID"].dtype == np.uint64


def test_links_lead_to_the_particles(path: Path) -> None:
    first, second = open_events(path, links=["VXDLinks"])
    check_truth(first, [1, 3, 0])
    assert second.truth is not None
    assert len(second.truth.particles) == 0


def check_truth(event: Event, particle_id: list[int]) -> None:
    assert event.truth is not None
    assert event.truth.particle_id.tolist() == particle_id
    assert event.truth.shared_hit.tolist() == [1]
    assert event.truth.shared_particle.tolist() == [2]
    assert event.truth.particles.pdg.tolist() == [211, -11, 13]
    assert event.truth.particles.primary.tolist() == [True, False, True]


def test_collections_are_joined_in_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    branches = tree() | hits("OuterHits", [[1000.0], [2000.0]])
    branches |= relation("_OuterLinks_from", [[0], []]) | relation("_OuterLinks_to", [[0], []])
    path = write(tmp_path / "events.root", branches)
    with pytest.raises(FileError, match=r"got 2 collections of tracker hits: OuterHits, VXDHits; .* by --hits NAME"):
        list(open_events(path))
    first, second = open_events(path, hits=["VXDHits", "OuterHits"], links=["VXDLinks", "OuterLinks:SimHits"])
    check_truth(first, [1, 3, 0, 1])
    assert first.source is not None
    assert first.source.hit_id is not None
    assert first.source.hit_id.tolist() == [0, 1, 2, 3]
    assert first.source.extra["index"].tolist() == [0, 1, 2, 0]
    assert first.source.extra["collection"].tolist() == ["VXDHits"] * 3 + ["OuterHits"]
    assert len(second.hits) == 1


def test_the_fields_of_a_cell_id_name_the_module(tmp_path: Path) -> None:
    # system 7, side -1, layer 3, module 5, sensor 2; the upper bits tell the place on the sensor.
    cell = 7 | 0b11 << 5 | 3 << 7 | 5 << 13 | 2 << 24 | 99 << 32
    branches = tree() | {"VXDHits.cellID": jagged([[cell, cell & ~(0b11 << 5), cell + 1], []], np.uint64)}
    path = write(tmp_path / "events.root", branches)
    first, _ = open_events(path, cell_id="system:5,side:-2,layer:6,module:11,sensor:8,x:32:-16")
    assert first.hits.geometry_id is not None
    volumes, layer, module = (7 << 2 | 3, 7 << 2, 8 << 2 | 3), 3, 5 << 8 | 2
    assert first.hits.geometry_id.tolist() == [volume << 56 | layer << 36 | module << 8 for volume in volumes]
    for wrong in ("system:5", "system:5,layer", "layer:5,system:0:3", "layer:5,layer:3", "layer:70", "layer:a"):
        with pytest.raises(ConfigError, match="cell id: got"):
            list(open_events(path, cell_id=wrong))


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ({"hits": ["VXDHit"]}, UnknownNameError, "got 'VXDHit', expected one of VXDHits; did you mean"),
        ({"hits": ["SimHits"]}, UnknownNameError, "expected one of VXDHits"),
        ({"links": ["VXDLink"]}, UnknownNameError, "did you mean 'VXDLinks'"),
        ({"links": ["VXDLinks:Sim"]}, UnknownNameError, "got 'Sim', expected one of SimHits"),
        ({"links": ["VXDLinks", "VXDLinks"]}, FileError, "got 2 links for 1 collections"),
        ({"links": ["VXDLinks"], "particles": "Particles"}, UnknownNameError, "expected one of MCParticles"),
        ({"scale": "acts"}, ConfigError, "which states its units"),
    ],
)
def test_a_wrong_name_is_told(path: Path, names: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        list(open_events(path, **names))


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("_VXDLinks_from", [[1, 0, 3], []], "_VXDLinks_from points to row 3 of 3"),
        ("_VXDLinks_to", [[2, 0, 4], []], "_VXDLinks_to points to row 4 of 4"),
        ("_SimHits_particle", [[0, 0, 2, 3], []], "_SimHits_particle points to row 3 of 3 particles"),
    ],
)
def test_links_that_lead_nowhere_are_told(tmp_path: Path, name: str, rows: list[list[int]], message: str) -> None:
    path = write(tmp_path / "events.root", tree() | relation(name, rows))
    with pytest.raises(FileError, match=message):
        list(open_events(path, links=["VXDLinks"]))


def test_another_root_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.root"
    with uproot.recreate(path) as file:
        file.mktree("ntuple", {"x": np.float32})
    with pytest.raises(FileError, match="of no known kind: got ROOT with the columns 'x'"):
        open_events(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(FileError, match="not a whole ROOT file"):
        list(open_events(path))


def test_without_uproot_the_extra_is_named(path: Path, hide: Callable[[str], None]) -> None:
    hide("uproot")
    with pytest.raises(MissingExtraError, match=r"needs uproot, .* 'beampipe\[tracking\]'"):
        open_events(path)
