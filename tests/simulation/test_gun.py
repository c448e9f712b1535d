"""Particles of a gun: where they start, where they fly, and that they go through the chain of any event."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from beampipe.errors import BeampipeError
from beampipe.events import BeamSpot
from beampipe.simulation.detector import Detector
from beampipe.simulation.primaries import EventGenerator, Gun, PrimaryParticles, primaries
from beampipe.simulation.run import simulate_events
from beampipe.tracking.cli import app
from beampipe.tracking.formats import open_events

LINE = BeamSpot(0.8, -0.6)
MANY = Gun(n_particles=4000, pdg=211, pt=(2.0, 8.0), eta_min=0.5, eta_max=2.0, origin=(5.0, 10.0))


def shot(gun: Gun, seed: int = 1) -> PrimaryParticles:
    generator = EventGenerator(0.0, "gun", gun, vertex_xy=0.0, beam_spot=LINE)
    return primaries(generator, None, None, 0, np.random.default_rng(seed))


def impact_and_angle(made: PrimaryParticles) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance of each particle's line from the beam line [mm], and its angle to where it starts [rad]."""
    start = made.vertex[:, :2] - [LINE.x, LINE.y]
    direction = made.momentum[:, :2] / np.linalg.norm(made.momentum[:, :2], axis=1, keepdims=True)
    across = start[:, 0] * direction[:, 1] - start[:, 1] * direction[:, 0]
    return across, np.arctan2(across, (start * direction).sum(axis=1))


@pytest.mark.parametrize("spread", [0.0, 0.3, math.pi])
def test_isolated_particles_start_beside_the_beam_line_and_miss_it(spread: float) -> None:
    made = shot(Gun(4000, 211, (2.0, 8.0), 0.5, 2.0, (5.0, 10.0), spread))
    radius = np.hypot(made.vertex[:, 0] - LINE.x, made.vertex[:, 1] - LINE.y)
    assert 5.0 <= radius.min() < 5.1
    assert 9.9 < radius.max() <= 10.0
    impact, angle = impact_and_angle(made)
    assert np.abs(angle).max() <= spread + 1e-9
    np.testing.assert_allclose(impact, radius * np.sin(angle), atol=1e-9)
    # A flat angle of +-a has a spread of a / sqrt(3): no direction is preferred.
    assert np.std(angle) == pytest.approx(spread / math.sqrt(3), rel=0.05, abs=1e-9)


def test_momenta_and_species_are_those_asked_for() -> None:
    made = shot(MANY)
    pt = np.hypot(made.momentum[:, 0], made.momentum[:, 1])
    eta = np.abs(np.arcsinh(made.momentum[:, 2] / pt))
    assert 2.0 <= pt.min() < pt.max() <= 8.0
    assert 0.5 <= eta.min() < 0.51
    assert 1.99 < eta.max() <= 2.0
    assert set(made.pdg.tolist()) == {211, -211}
    np.testing.assert_array_equal(made.charge, np.sign(made.pdg))
    # The way to the start is straight: each vertex lies on the beam line, and no two are the same.
    start = made.vertex[:, :2] - [LINE.x, LINE.y]
    vertex_z = made.vertex[:, 2] - np.linalg.norm(start, axis=1) * made.momentum[:, 2] / pt
    assert len(np.unique(vertex_z)) == 4000
    assert np.std(vertex_z) == pytest.approx(50.0, rel=0.05)


def test_without_an_origin_all_come_from_one_vertex() -> None:
    assert len(np.unique(shot(Gun()).vertex, axis=0)) == 1


@pytest.mark.acts
def test_isolated_particles_leave_tracks() -> None:
    gun = EventGenerator(0.0, "gun", Gun(40, 13, (2.0, 8.0), 0.0, 2.0, (5.0, 10.0)))
    event, _ = next(simulate_events(1, gun, Detector(hadronic=False), seed=2))
    assert event.truth is not None
    made = event.truth.particles
    muon = made.primary & (np.abs(made.pdg) == 13)
    assert muon.sum() == 40
    # The vertices spread by 12.5 um across the beam.
    assert made.origin_radius[muon].min() > 4.9
    assert made.origin_radius[muon].max() < 10.1
    hits = np.bincount(event.truth.particle_id, minlength=len(made) + 1)[1:]
    assert (hits[muon] >= 7).mean() > 0.9


@pytest.mark.acts
def test_the_command_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Making the table of hadrons and nuclei takes ten seconds.
    out = tmp_path / "isolated.parquet"
    options = "--mu 0 --hard gun -n 2 --multiplicity 5 --species pion --pt 2 4 --eta 0 1 --origin 5 10 --spread 0.5"
    result = CliRunner().invoke(app, ["simulate", "-o", str(out), *options.split()], catch_exceptions=False)
    assert result.exit_code == 0
    for event in open_events(out):
        assert event.truth is not None
        made = event.truth.particles
        pions = made.primary & (np.abs(made.pdg) == 211)
        assert pions.sum() == 5
        assert made.origin_radius[pions].min() > 4.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--origin 5 10", "got options of the gun with --hard left out, expected --hard gun"),
        ("--hard jets --species pion", "got options of the gun with --hard jets"),
        ("--hard gun --species pin", "got 'pin'.*did you mean 'pion'"),
        ("--hard gun --origin 10 5", "expected two radii in mm, the smaller first"),
        ("--hard gun --spread 90", "expected an angle in rad, from 0 to pi"),
    ],
)
def test_refusals(tmp_path: Path, options: str, message: str) -> None:
    out = tmp_path / "events.parquet"
    with pytest.raises(BeampipeError, match=message):
        CliRunner().invoke(app, ["simulate", "-o", str(out), *options.split()], catch_exceptions=False)
    assert not out.exists()
