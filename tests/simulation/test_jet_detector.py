"""The toy detector against what it says of itself."""

from __future__ import annotations

import numpy as np
import pytest

from beampipe.random_numbers import keys
from beampipe.simulation.jet_detector import (
    LESS_EFFICIENT,
    MORE_FAKES,
    efficiency,
    fakes,
    jet_constituents,
    reconstruct,
    resolution,
    response,
)
from beampipe.simulation.jets import ParticleJets

N_TRACKS, N_NEUTRALS = 20, 6


def same_jets(n: int, pt: float, eta: float) -> ParticleJets:
    """n events with one jet each, of tracks on a ring around its axis."""
    angle = np.tile(np.linspace(0, 2 * np.pi, N_TRACKS, endpoint=False), n)
    return ParticleJets(
        event=np.arange(n),
        number=np.zeros(n, dtype=np.int64),
        pt=np.full(n, pt),
        eta=np.full(n, eta),
        phi=np.zeros(n),
        label=np.full(n, 21),
        offset=np.arange(n + 1) * N_TRACKS,
        track_pt=np.full(n * N_TRACKS, 5.0),
        track_eta=eta + 0.2 * np.cos(angle),
        track_phi=0.2 * np.sin(angle),
        track_number=np.tile(np.arange(N_TRACKS), n),
        neutral_offset=np.arange(n + 1) * N_NEUTRALS,
        neutral_pt=np.full(n * N_NEUTRALS, 20.0),
        neutral_eta=eta + np.tile([0.0, 0.01, 0.1, 0.11, 0.2, 0.25], n) + 0.001,
        neutral_phi=np.full(n * N_NEUTRALS, 0.001),
        photon=np.tile([True, True, False, False, True, True], n),
    )


@pytest.mark.parametrize(("pt", "eta"), [(500.0, 0.0), (1500.0, 1.5)])
def test_means_are_those_of_the_formulas(pt: float, eta: float) -> None:
    n = 20_000
    jets = same_jets(n, pt, eta)
    seen = reconstruct(jets, keys(np.arange(n)))
    one = slice(0, N_TRACKS)
    result = efficiency(jets.track_eta[one], np.full(N_TRACKS, 0.2), np.full(N_TRACKS, pt)).sum()
    fake = fakes(np.array([eta]), np.array([pt]))[0]
    assert seen.n_trk.mean() == pytest.approx(result + fake, abs=0.06)
    assert seen.n_trk_eff.mean() == pytest.approx(result * (1 - LESS_EFFICIENT) + fake, abs=0.06)
    assert (seen.n_trk_fake - seen.n_trk).mean() == pytest.approx(fake * MORE_FAKES, rel=0.1)
    relative = seen.pt / pt
    assert relative.mean() == pytest.approx(response(np.array([eta]))[0], abs=0.002)
    assert relative.std() == pytest.approx(resolution(np.array([pt]))[0], rel=0.03)


def test_variations_share_the_tracks_of_the_nominal() -> None:
    seen = reconstruct(same_jets(2000, 800.0, 1.0), keys(np.arange(2000)))
    assert (seen.n_trk_eff <= seen.n_trk).all()
    assert (seen.n_trk_fake >= seen.n_trk).all()
    # A tenth of the spread that independent tracks would give.
    assert (seen.n_trk - seen.n_trk_eff).std() < seen.n_trk.std()


def test_tracking_worsens_away_from_the_centre_and_in_cores() -> None:
    eta = np.array([0.0, 1.0, 2.0, 2.6])
    far, pt = np.full(4, 0.3), np.full(4, 1000.0)
    assert (np.diff(efficiency(eta, far, pt)) < 0).all()
    assert efficiency(eta, far, pt)[3] == 0
    assert (efficiency(eta, 0 * far, pt)[:3] < efficiency(eta, far, pt)[:3]).all()
    assert (np.diff(fakes(eta[:3], pt[:3])) > 0).all()
    assert (np.abs(response(np.linspace(-4, 4, 81)) - 1) < 0.01).all()


def test_neutral_constituents_are_sums_of_cells() -> None:
    n = 4000
    seen = jet_constituents(same_jets(n, 800.0, 0.0), keys(np.arange(n)))
    owner = np.repeat(np.arange(n), np.diff(seen.offset))
    assert (np.diff(seen.pt)[np.diff(owner) == 0] <= 0).all(), "pT falls within a jet"
    neutral = ~seen.charged
    np.testing.assert_array_equal(np.bincount(owner[neutral]), 4)
    one_cell = {0.0125: (40.0, 0.10, 0.01), 0.15: (40.0, 0.60, 0.05), 0.2125: (20.0, 0.10, 0.01)}
    for eta, (energy, stochastic, constant) in one_cell.items():
        of_cell = seen.pt[neutral & np.isclose(seen.eta, eta)] * np.cosh(eta)
        assert len(of_cell) == n
        want = np.hypot(stochastic * np.sqrt(energy), constant * energy)
        assert of_cell.mean() == pytest.approx(energy, rel=0.02)
        assert of_cell.std() == pytest.approx(want, rel=0.06)


def test_tracks_are_those_that_are_counted() -> None:
    jets, key = same_jets(500, 1200.0, 1.0), keys(np.arange(500))
    counted, every = reconstruct(jets, key), jet_constituents(jets, key)
    tracks = every.only(every.charged)
    for name, n_trk in {"nominal": "n_trk", "trk_eff": "n_trk_eff", "trk_fake": "n_trk_fake"}.items():
        np.testing.assert_array_equal(np.diff(tracks.of_variation(name).offset), getattr(counted, n_trk))
    assert (counted.n_trk_eff < counted.n_trk).any()
    assert (counted.n_trk_fake > counted.n_trk).any()
