"""Events of layouts from TOML, against closed forms: layers crossed, bending, resolution, scattering."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from beampipe.arrays import Float64, Int64
from beampipe.events import Event, Particles
from beampipe.simulation.detector import Detector, DetectorLayout, detector_modules, read_layout, shells
from beampipe.simulation.fatras import smeared
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


def test_pulls_have_width_one(layout: DetectorLayout) -> None:
    table, rng = detector_modules(layout), np.random.default_rng(3)
    row = rng.integers(len(table), size=20_000)
    local = table.uniform(row, rng).astype(np.float64)
    place = table.geometry_id[row]
    hits = {
        "volume_id": place >> np.uint64(56),
        "layer_id": place >> np.uint64(36) & np.uint64(0xFFF),
        "surface_id": place >> np.uint64(8) & np.uint64(0xFFFFF),
        **dict(zip(("true_x", "true_y", "true_z"), table.to_global(row, local).T, strict=True)),
    }
    measured = smeared(hits, table, rng)
    result = table.to_local(row, np.column_stack([measured[axis] for axis in "xyz"]))
    pull = (result[:, :2] - local) / np.sqrt(table.variance[row])
    np.testing.assert_allclose(pull.mean(axis=0), 0.0, atol=0.03)
    np.testing.assert_allclose(pull.std(axis=0), 1.0, atol=0.03)
    np.testing.assert_allclose(result[:, 2], 0.0, atol=1e-3)


def test_scattering_follows_highland() -> None:
    """Muons of 0.3 GeV are bent off their line in z at the third cylinder as the second one's matter says.

    With lever arms d and D before and behind the second cylinder, k = D / d, the deviation at the third has variance
    (D theta)^2 + (k^2 + (1 + k)^2 + 1) sigma^2, theta = 13.6 MeV / (beta p) sqrt(x) (1 + 0.038 ln x).
    """
    layout, p, mass = read_layout(COMPACT), 0.3, 0.105658
    event = shot(layout, 5, 1000, (p, p), 0.05)
    barrel = shells(layout)[0].barrel[:3]
    made = primaries(event)
    z, r = (columns_by_layer(event, made, [layer.number for layer in barrel], axis) for axis in (2, 0))
    whole = np.isfinite(z).all(axis=1)
    z, r = z[whole], r[whole]
    assert len(z) > 400
    before, behind = r[:, 1] - r[:, 0], r[:, 2] - r[:, 1]
    k = behind / before
    deviation = z[:, 2] - z[:, 1] - k * (z[:, 1] - z[:, 0])
    x, sigma = barrel[1].thickness_x0, barrel[1].pitch[1] / np.sqrt(12)
    theta = 13.6e-3 * np.hypot(p, mass) / p**2 * np.sqrt(x) * (1 + 0.038 * np.log(x))
    by_error, by_matter = np.sqrt(k**2 + (1 + k) ** 2 + 1) * sigma, behind * theta
    assert (by_matter > 1.5 * by_error).mean() > 0.9
    # The core: single scatters make tails.
    core = np.diff(np.quantile(deviation / np.hypot(by_error, by_matter), [0.1587, 0.8413]))[0] / 2
    assert core == pytest.approx(1.0, abs=0.1)


def columns_by_layer(event: Event, made: Particles, layers: list[int], axis: int) -> Float64[ndarray, "n m"]:
    """A coordinate of each muon's hit on each cylinder of the innermost barrel; NaN where it has none or two."""
    assert event.truth is not None
    assert event.hits.geometry_id is not None
    place = event.hits.geometry_id >> np.uint64(36)
    out = np.full((len(made), len(layers)), np.nan)
    for column, layer in enumerate(layers):
        on = np.flatnonzero(place == np.uint64(3 << 20 | layer))
        row = np.searchsorted(made.particle_id, event.truth.particle_id[on])
        alone = np.bincount(row, minlength=len(made))[row] == 1
        out[row[alone], column] = event.hits.position[on[alone], axis]
    mine: Float64[ndarray, "n m"] = out[made.primary]
    return mine


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
