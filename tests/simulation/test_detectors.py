"""Events of layouts from TOML, against closed forms: layers crossed, bending, resolution, scattering."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.events import Event, Particles
from beampipe.simulation.detector import Detector, DetectorLayout, detector_modules, read_layout
from beampipe.simulation.primaries import EventGenerator, Gun
from beampipe.simulation.run import simulate_events
from beampipe.tracking.truth import layer_code

from .layouts import COMPACT, LONGBAR, SMALL, shot
from .places import assert_on_modules

pytestmark = pytest.mark.acts


@pytest.fixture(scope="module", params=[COMPACT, LONGBAR], ids=["compact", "longbar"])
def layout(request: pytest.FixtureRequest) -> DetectorLayout:
    path: Path = request.param
    return read_layout(path)


@pytest.fixture(scope="module")
def muons(layout: DetectorLayout) -> Event:
    return shot(layout, 1, 300, (5.0, 50.0), 2.4)


def primaries(event: Event) -> Particles:
    assert event.truth is not None
    made = event.truth.particles
    assert made.primary.any()
    return made


def expected_layers(layout: DetectorLayout, muon: Particles, *, on_both_sides: bool = True) -> Int64[ndarray, " n"]:
    """Layers that straight lines cross: z = vz + r sinh(eta) at a cylinder, r = (z - vz) / sinh(eta) at a disc."""
    slope, start = np.sinh(muon.eta.astype(np.float64)), muon.vertex[:, 2].astype(np.float64)
    count = np.zeros(len(muon), np.int64)
    for barrel in layout.barrel:
        for radius in barrel.radii_mm:
            count += np.abs(start + radius * slope) < barrel.reach
    for discs in layout.discs:
        for z in (*discs.z_mm, *(-z for z in discs.z_mm if on_both_sides)):
            at = (z - start) / slope
            count += (at > discs.inner_radius_mm) & (at < discs.outer_radius_mm)
    return count


def test_muons_cross_the_layers(layout: DetectorLayout, muons: Event) -> None:
    made, code = primaries(muons), layer_code(muons.hits)
    assert muons.truth is not None
    assert code is not None
    seen = np.array([len(np.unique(code[muons.truth.particle_id == number])) for number in made.particle_id])
    expected = expected_layers(layout, made)
    assert made.primary.sum() == 300
    # The rest goes through the gaps along z, or past the ends of a layer by less than it bends.
    assert seen[made.primary].sum() / expected[made.primary].sum() == pytest.approx(1.0, abs=0.01)
    assert (np.abs(seen - expected)[made.primary] <= 1).mean() > 0.97
    assert (seen == expected)[made.primary].mean() > 0.75


def test_hits_lie_on_their_modules(layout: DetectorLayout, muons: Event) -> None:
    assert_on_modules(muons.hits, detector_modules(layout))


def test_the_bending_is_that_of_the_field(layout: DetectorLayout, muons: Event) -> None:
    """Hits near the beam line turn by asin(r / 2 R), R = pT / (0.3 B): measured momenta agree with the true ones."""
    ratio = []
    made = primaries(muons)
    assert muons.truth is not None
    for row in np.flatnonzero(made.primary & (made.pt < 10)):
        mine = muons.hits.position[muons.truth.particle_id == made.particle_id[row]].astype(np.float64)
        inner, outer = mine[mine[:, 0].argmin()], mine[mine[:, 0].argmax()]
        turn = (outer[1] - inner[1] + np.pi) % (2 * np.pi) - np.pi
        # For small angles the turn is (r_outer - r_inner) / 2 R.
        radius = (outer[0] - inner[0]) / 2 / turn
        ratio.append(-made.charge[row] * radius * 0.299792458e-3 * layout.field_T / made.pt[row])
    assert len(ratio) > 60
    assert np.median(ratio) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("missing", ["beam_pipe", "barrel", "discs", "mirror"])
def test_parts_may_be_missing(tmp_path: Path, missing: str) -> None:
    """Particles are seen by what there is: no beam pipe, cylinders or discs only, discs on one side only."""
    path = tmp_path / "part.toml"
    tables = [f"[{text}" for text in SMALL.split("\n[")[1:]]
    kept = [table for table in tables if not table.startswith(f"[{missing}")]
    if missing == "mirror":
        kept[-1] += "mirrored = false\n"
    path.write_text('name = "part"\nfield_T = 1.0\n' + "\n".join(kept))
    layout = read_layout(path)
    event = shot(layout, 7, 200, (2.0, 10.0), 2.6)
    made = primaries(event)
    z = event.hits.position[:, 2]
    discs = np.abs(z) > 250
    assert (bool(discs.any()), bool((~discs).any())) == (missing != "discs", missing != "barrel")
    assert (z < -250).any() == (missing in ("beam_pipe", "barrel"))
    expected = expected_layers(layout, made, on_both_sides=missing != "mirror")
    assert len(event.hits) > 0.95 * expected[made.primary].sum() > 50


def test_seed_and_workers() -> None:
    layout = read_layout(LONGBAR)
    gun = EventGenerator(0.0, "gun", Gun(n_particles=5))
    detector = replace(Detector.of(layout), hadronic=False)
    once = [event for event, _ in simulate_events(3, gun, detector, seed=1)]
    again = [event for event, _ in simulate_events(3, gun, detector, seed=1, workers=2)]
    for first, second in zip(once, again, strict=True):
        np.testing.assert_array_equal(first.hits.position, second.hits.position)
        assert first.truth is not None
        assert second.truth is not None
        np.testing.assert_array_equal(first.truth.particle_id, second.truth.particle_id)
    alone, _ = next(simulate_events(1, gun, detector, seed=1, first_event=2))
    np.testing.assert_array_equal(alone.hits.position, once[2].hits.position)
    other, _ = next(simulate_events(1, gun, detector, seed=2))
    assert not np.array_equal(other.hits.position, once[0].hits.position)
