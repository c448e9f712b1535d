"""Objects that analyses select: tight, isolated leptons and photons, jets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from beampipe.analysisops.agents.analyses.opened import Opened

__all__ = ["JETS", "LEPTONS", "PHOTONS", "four_vectors", "leptons", "opposite_pairs", "photons"]

LEPTONS: Final = ("pt", "eta", "phi", "e", "charge", "type", "ptcone20", "isTightID")
PHOTONS: Final = ("pt", "eta", "phi", "e", "ptcone20", "isTightID")
JETS: Final = ("pt", "eta", "phi", "e", "btag_quantile")


def leptons(
    opened: Opened,
    role: str,
    *,
    pt: float,
    kind: int | None = None,
    more: Sequence[str] = (),
    file: int | None = None,
) -> str:
    """Events with their tight, isolated leptons.

    Args:
        opened: the files.
        role: role of the files.
        pt: smallest transverse momentum [GeV].
        kind: 11 or 13; None for both.
        more: other columns to load, by standard name.
        file: place of one file of the role; None for all.
    """
    events = opened.load(role, [f"lep_{name}" for name in LEPTONS] + [*more], file=file)
    cuts = f"lep_pt > {pt:g} and lep_isTightID and lep_ptcone20 < 0.1 * lep_pt"
    if kind is not None:
        cuts += f" and lep_type == {kind}"
    return opened.thin(events, "lep", LEPTONS, cuts)


def photons(opened: Opened, role: str, *, pt: float) -> str:
    """Events with their tight, isolated photons above a transverse momentum [GeV]."""
    events = opened.load(role, [f"photon_{name}" for name in PHOTONS])
    return opened.thin(
        events, "photon", PHOTONS, f"photon_pt > {pt:g} and photon_isTightID and photon_ptcone20 < 0.1 * photon_pt"
    )


def four_vectors(collection: str) -> dict[str, str]:
    """The columns of a collection that tools of masses take."""
    return {name: f"{collection}_{name}" for name in ("pt", "eta", "phi", "e")}


def opposite_pairs(opened: Opened, events: str, pairing: str = "opposite_charge", **more: Any) -> str:
    """Events with a pair of leptons of opposite charge, and its ``mass`` [GeV]; what is in `more` goes to the tool."""
    return opened.made(
        "calc_dilepton_mass_tool",
        events=events,
        **four_vectors("lep"),
        charge="lep_charge",
        pairing=pairing,
        **more,
    )
