"""Layouts from TOML: what is read, and what is refused in words."""

from pathlib import Path

import pytest

from beampipe.errors import ConfigError, FileError
from beampipe.simulation.detector import Vertex, detector_modules, read_layout
from beampipe.simulation.primaries import EventGenerator

from .layouts import COMPACT, LONGBAR, SMALL


def written(folder: Path, *changes: tuple[str, str]) -> Path:
    """The small layout in a file, with pieces of its text replaced."""
    text = SMALL
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = folder / "small.toml"
    path.write_text(text)
    return path


def test_the_small_layout(tmp_path: Path) -> None:
    layout = read_layout(written(tmp_path))
    assert layout.field_T == 1.0
    assert layout.vertex == Vertex(0.0125, 50.0)
    assert EventGenerator(vertex_z=1.0).at(layout.vertex) == EventGenerator(vertex_xy=0.0125, vertex_z=50.0)
    (barrel,) = layout.barrel
    # Eight modules of 50 mm and seven gaps of 0.2 mm reach beyond 200 mm.
    assert barrel.modules_in_row == 8
    assert barrel.reach == pytest.approx(200.7)
    assert barrel.inner_radius == pytest.approx(49.0)


def test_the_examples_are_two_different_detectors() -> None:
    compact, longbar = read_layout(COMPACT), read_layout(LONGBAR)
    assert (compact.name, compact.field_T) == ("compact", 3.8)
    assert (longbar.name, longbar.field_T) == ("longbar", 1.5)
    assert sum(len(barrel.radii_mm) for barrel in compact.barrel) == 14
    assert sum(len(barrel.radii_mm) for barrel in longbar.barrel) == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("field_T", "field"), r"unknown key 'field', .* did you mean 'field_T'"),
        (("half_length_mm", "half_length"), r"barrel\.only: unknown key 'half_length'.*did you mean 'half_length_mm'"),
        (("[beam_pipe]", "[pipe]"), r"unknown key 'pipe'.*beam_pipe"),
        (("field_T = 1.0", "field_T = 0.0"), r"field_T: got 0\.0, expected a field of at most 20"),
        (("field_T = 1.0", 'field_T = "1 T"'), r"field_T: got '1 T', expected float"),
        (("[50, 100]", "[100, 50]"), r"radii_mm = \[100\.0, 50\.0\], expected numbers that increase"),
        (("[20, 50]", "[20]"), r"module_mm = \[20\.0\], expected two numbers above 0"),
        (("[0.1, 0.1]", "[0.1, -1]"), r"pitch_mm = .*expected two numbers above 0"),
        (("thickness_x0 = 0.01", "thickness_x0 = -0.01"), r"thickness_x0 = -0\.01, expected 0 or more"),
        (("radius_mm = 20", "radius_mm = 47"), r"radius_mm = 47\.0, expected at least 3\.0 mm less than the 45\.0 mm"),
        (("[20, 50]", "[0.5, 50]"), r"expected at most 45 degrees and less overlap than width"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    if change[0] == "radius_mm = 20":
        change = ("radius_mm = 20\n", "radius_mm = 47\n")
    with pytest.raises(ConfigError, match=message):
        read_layout(written(tmp_path, change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[50, 100]", "[50, 53]"), r"barrel\.only, layer 1, ends at radius = 5\d\.\d mm and .*layer 2, begins at 52"),
        (("[300, 400]", "[150, 400]"), r"layer 1, ends at z = 200\.7 mm and discs\.only at z = 150 mm begins at 147"),
        (("[300, 400]", "[300, 303]"), r"z = 300 mm ends at z = 303\.0 mm and discs\.only at z = 303 mm begins"),
    ],
)
def test_layers_in_each_others_way(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        detector_modules(read_layout(written(tmp_path, change)))


def test_no_modules_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    with pytest.raises(FileError, match="expected the TOML file of a detector"):
        read_layout(path)
    path.write_text('name = "none"\nfield_T = 2.0\n')
    with pytest.raises(ConfigError, match=r"got no tables \[barrel\.NAME\] and \[discs\.NAME\]"):
        read_layout(path)
