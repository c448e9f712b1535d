"""The toy detector against what it says of itself."""

from __future__ import annotations

import numpy as np
import pytest

from beampipe.simulation.jet_detector import (
    LESS_EFFICIENT,
    MORE_FAKES,
    efficiency,
    fakes,
    reconstruct,
    resolution,
    response,
)
from beampipe.simulation.jets import ParticleJets
from beampipe.simulation.random_numbers import keys

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
