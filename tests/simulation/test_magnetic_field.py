"""The field of a solenoid and of a file: Biot and Savart, what ACTS interpolates, how it bends tracks, wrong files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import BeampipeError, ConfigError, FileError
from beampipe.simulation.detector import FieldMap, Solenoid, read_layout
from beampipe.simulation.magnetic_field import build_field, read_field_map, solenoid_field
from tests.simulation.layouts import shot

COIL, WIDE = Solenoid(1200.0, 3000.0), Solenoid(2200.0, 3000.0)
COMPACT = Path(__file__).parents[2] / "examples/detectors/compact.toml"
R, Z = (values.ravel() for values in np.meshgrid([0.0, 30.0, 400.0, 1000.0, 1100.0], [-2900.0, 0.0, 1500.0, 3300.0]))


def by_biot_and_savart(coil: Solenoid, r: ndarray, z: ndarray) -> tuple[ndarray, ndarray]:
    """The same field as a sum over pieces of loops of wire."""
    angle = (np.arange(600) + 0.5) * 2 * np.pi / 600
    wire = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1) * coil.radius_mm
    along = np.stack([-np.sin(angle), np.cos(angle), 0 * angle], axis=1)
    result = []
    for at in zip([0.0, *r], [0.0, *z], strict=True):
        field = np.zeros(3)
        for loop in (np.arange(800) + 0.5) / 400 - 1:
            way = np.array([at[0], 0.0, at[1] - loop * coil.half_length_mm]) - wire
            field += (np.cross(along, way) / np.linalg.norm(way, axis=1)[:, None] ** 3).sum(axis=0)
        result.append(field)
    fields = np.array(result)
    return fields[1:, 0] / fields[0, 2], fields[1:, 2] / fields[0, 2]


def test_it_is_that_of_loops_of_wire() -> None:
    radial, along = solenoid_field(COIL, R, Z)
    expected_radial, expected_along = by_biot_and_savart(COIL, R, Z)
    np.testing.assert_allclose(radial, expected_radial, atol=2e-3)
    np.testing.assert_allclose(along, expected_along, atol=2e-3)
    np.testing.assert_allclose(radial[R == 0], 0, atol=1e-12)
    # A long coil has a constant field.
    radial, along = solenoid_field(Solenoid(1200.0, 1e6), R, Z)
    np.testing.assert_allclose(radial, 0, atol=1e-5)
    np.testing.assert_allclose(along, 1, atol=1e-5)


@pytest.mark.acts
def test_acts_reads_the_map_over_the_whole_detector() -> None:
    import acts

    layout = replace(read_layout(COMPACT), solenoid=COIL)
    field = build_field(3.8, layout)
    cache = field.makeCache(acts.MagneticFieldContext())
    tesla = acts.UnitConstants.T
    for x, y, z in ((0.0, 0.0, 0.0), (300.0, -400.0, 1500.0), (0.0, 33.0, -2650.0), (-900.0, 600.0, 400.0)):
        got = field.getField(acts.Vector3(x, y, z), cache)
        r = np.hypot(x, y)
        radial, along = solenoid_field(COIL, np.array([r]), np.array([z]))
        expected = 3.8 * np.array([radial[0] * x / max(r, 1e-9), radial[0] * y / max(r, 1e-9), along[0]])
        np.testing.assert_allclose([got[axis] / tesla for axis in range(3)], expected, atol=2e-3)


@pytest.mark.acts
def test_particles_bend_less_where_the_field_is_weaker() -> None:
    layout = read_layout(COMPACT)
    short = replace(layout, solenoid=Solenoid(1400.0, 1500.0))

    def turn(hits_of: object) -> ndarray:
        """Mean change of phi between the first hits and those at the end of the discs, by pT."""
        event = shot(hits_of, 5, 300, (2.0, 2.001), 2.4)  # type: ignore[arg-type]
        assert event.truth is not None
        r, phi, z = event.hits.position.astype(np.float64).T
        particle = event.truth.particle_id
        turns = []
        for number in np.unique(particle[particle > 0]):
            mine = np.flatnonzero(particle == number)
            far = mine[np.argmax(np.abs(z[mine]))]
            near = mine[np.argmin(r[mine])]
            if abs(z[far]) > 2000:
                bend = abs(np.remainder(phi[far] - phi[near] + np.pi, 2 * np.pi) - np.pi)
                turns.append(bend / (r[far] - r[near]))
        assert len(turns) > 20
        return np.array(turns)

    constant, weaker = np.median(turn(layout)), np.median(turn(short))
    assert 0.5 * constant < weaker < 0.9 * constant


def test_a_coil_inside_the_detector_is_refused() -> None:
    with pytest.raises(ConfigError, match="solenoid: got radius_mm = 900"):
        replace(read_layout(COMPACT), solenoid=Solenoid(900.0, 3000.0))
    with pytest.raises(ConfigError, match="half_length_mm = 0, expected more than 0"):
        Solenoid(1200.0, 0.0)


def points_of_coil(dimensions: int) -> tuple[list[str], ndarray]:
    """Names of the columns and a map of the coil's field, r-z or x-y-z, in any order; 3.8 T in the centre."""
    r, z = np.linspace(0, 1400, 29), np.linspace(-2900, 2900, 59)
    if dimensions == 2:
        names, places = ["r", "z", "Br", "Bz"], np.stack(np.meshgrid(r, z), axis=-1).reshape(-1, 2)
        fields = np.stack(solenoid_field(WIDE, *places.T), axis=1)
    else:
        x = np.linspace(-1400, 1400, 29)
        names, places = ["x", "y", "z", "Bx", "By", "Bz"], np.stack(np.meshgrid(x, x, z), axis=-1).reshape(-1, 3)
        r = np.hypot(places[:, 0], places[:, 1])
        radial, along = solenoid_field(WIDE, r, places[:, 2])
        fields = np.column_stack([places[:, :2] * (radial / np.maximum(r, 1e-9))[:, None], along])
    table = np.column_stack([places, 3.8 * fields])
    return names, np.random.default_rng(1).permutation(table)


def write_map(path: Path, names: list[str], table: ndarray) -> Path:
    if path.suffix == ".root":
        uproot = pytest.importorskip("uproot")
        with uproot.recreate(path) as file:
            file.mktree("bField", dict.fromkeys(names, np.float64)).extend(dict(zip(names, table.T, strict=True)))
    else:
        comma = "," if path.suffix == ".csv" else " "
        np.savetxt(path, table, fmt="%.9g", delimiter=comma, header=f"{comma.join(names)}\n---", comments="")
    return path


@pytest.mark.acts
@pytest.mark.parametrize(("dimensions", "name"), [(2, "map.txt"), (2, "map.csv"), (2, "map.root"), (3, "map.root")])
def test_a_map_from_a_file_is_the_field(dimensions: int, name: str, tmp_path: Path) -> None:
    import acts

    names, table = points_of_coil(dimensions)
    table[:, :dimensions] += np.random.default_rng(2).uniform(-4e-4, 4e-4, (len(table), dimensions))  # rounding
    table[:, :dimensions] /= 10
    table[:, dimensions:] *= 10
    write_map(tmp_path / name, names, table)  # centimetres, kilogauss
    text = f'{COMPACT.read_text()}\n[field_map]\nfile = "{name}"\nlength_unit_mm = 10\nfield_unit_T = 0.1\n'
    (tmp_path / "own.toml").write_text(text)
    layout = read_layout(tmp_path / "own.toml")
    ours, coils = build_field(3.8, layout), build_field(3.8, replace(layout, field_map=None, solenoid=WIDE))
    caches = [field.makeCache(acts.MagneticFieldContext()) for field in (ours, coils)]
    for place in ((0.0, 0.0, 0.0), (300.0, -400.0, 1500.0), (0.0, 33.0, -2650.0), (-900.0, 600.0, 400.0)):
        got, expected = (
            np.array([field.getField(acts.Vector3(*place), cache)[axis] for axis in range(3)]) / acts.UnitConstants.T
            for field, cache in zip((ours, coils), caches, strict=True)
        )
        np.testing.assert_allclose(got, expected, atol=0.01)


def test_wrong_maps_are_refused(tmp_path: Path) -> None:
    names, table = points_of_coil(2)

    def refused(changed: ndarray, message: str, **units: float) -> None:
        path = write_map(tmp_path / "map.txt", names, changed)
        with pytest.raises(BeampipeError, match=message):
            read_field_map(FieldMap(path, **units), 3.8, 1300.0, 2800.0)

    refused(table[:, :3], "got 3 columns, expected r, z, Br, Bz or x, y, z, Bx, By, Bz")
    refused(table, "got a field of 38 T in the centre.* is field_unit_T = 10 right", field_unit_T=10.0)
    refused(table * [1, 1, 1, 0.5], "got a field of 1.9 T in the centre.* expected field_T = 3.8")
    refused(table, "got r from 0 to 140 mm.* 0 to 1300 mm; is length_unit_mm = 0.1 right", length_unit_mm=0.1)
    refused(table[table[:, 1] >= 0], "got z from 0 to 2900 mm, expected a grid that covers the detector: -2800 to 2800")
    refused(table[1:], "got 1710 points, expected each of a grid of 29 x 59 once")
    refused(table * [1, 0.0, 1, 1], "got 1711 points, expected each of a grid of 29 x 1 once")
    refused(table[table[:, 0] != 100], "got unequal steps along r or z")
    refused(table * np.nan, "got 0 columns")
    with pytest.raises(BeampipeError, match="no_map: cannot be read"):
        read_field_map(FieldMap(tmp_path / "no_map"), 3.8, 1300.0, 2800.0)
    (tmp_path / "own.toml").write_text(f'{COMPACT.read_text()}\n[field_map]\nfile = "maps/no_map.txt"\n')
    assert read_layout(tmp_path / "own.toml").field_map == FieldMap(tmp_path / "maps" / "no_map.txt")
    (tmp_path / "no_map.txt").touch()
    assert read_layout(tmp_path / "own.toml").field_map == FieldMap(tmp_path / "no_map.txt")
    with pytest.raises(ConfigError, match=r"both \[solenoid\] and \[field_map\]"):
        replace(read_layout(COMPACT), solenoid=COIL, field_map=FieldMap(tmp_path / "map.txt"))


def test_wrong_root_files_are_refused(tmp_path: Path) -> None:
    def refused(name: str, message: str) -> None:
        with pytest.raises(FileError, match=message):
            read_field_map(FieldMap(tmp_path / name), 3.8, 1300.0, 2800.0)

    write_map(tmp_path / "other.root", ["r", "z", "Br", "B"], np.zeros((4, 4)))
    (tmp_path / "text.root").write_text("0 0 0 3.8")
    whole = write_map(tmp_path / "whole.root", *points_of_coil(2)).read_bytes()
    (tmp_path / "short.root").write_bytes(whole[: len(whole) // 2])
    refused("other.root", "got no tree with the branches of a map, expected r, z, Br, Bz or")
    for name in ("text.root", "short.root", "missing.root"):
        refused(name, rf"(?s){name}: cannot be read .*expected a ROOT file")
