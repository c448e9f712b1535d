"""Observables of jets that no branch has, derived from their constituents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64
from beampipe.calibration.layout.settings import Layout
from beampipe.calibration.ntuple.lists import Basket, read_lists
from beampipe.errors import FileError

__all__ = ["derive", "observables"]


def derive(path: Path, tree: Any, layout: Layout, start: int, stop: int) -> dict[str, Basket]:
    """n_trk, width and c1 of all jets of a range, by the definition in `Constituents`.

    Raises:
        FileError: a branch cannot be read, or branches do not fit together.
    """
    asked, n_events = layout.constituents, stop - start

    def read(branch: str) -> tuple[ndarray, ndarray]:
        """Number of members of each list, and all members."""
        baskets = list(read_lists(path, tree, branch, start, stop))
        counts = np.concatenate([np.diff(basket.offsets) for basket in baskets])
        return counts, np.concatenate([basket.numbers for basket in baskets])

    counts, values = {}, {}
    for key, branch in asked.branches.items():
        counts[key], values[key] = read(branch)
    for key in counts:
        as_in = "jet" if key == "link" else "pt"
        if key != "jet" and not np.array_equal(counts[key], counts[as_in]):
            raise FileError(
                f"{path}: branch {asked.branches[key]!r}: got {counts[key].sum()} numbers, expected"
                f" {counts[as_in].sum()} as in {asked.branches[as_in]!r}",
                path=path,
                name=asked.branches[key],
            )
    n_jets, jet_eta = read(layout.branches.eta[0])
    _, jet_phi = read(layout.branches.phi[0])
    first_jet, first = (np.concatenate([[0], np.cumsum(each)]) for each in (n_jets, counts["pt"]))
    event = np.repeat(np.arange(n_events), counts["jet"])
    local = values["jet"].astype(np.int64)
    member = first[event] + values["link"].astype(np.int64) if asked.link else np.arange(len(local))
    kept = (local >= 0) & (local < n_jets[event])
    if np.any((member[kept] < first[event][kept]) | (member[kept] >= first[event + 1][kept])):
        raise FileError(
            f"{path}: branch {asked.link or asked.jet!r}: got numbers of constituents that are not there", path=path
        )
    owner, member = (first_jet[event] + local)[kept], member[kept]
    columns = {key: values[key][member].astype(np.float64) for key in ("pt", "eta", "phi")}
    columns["pt"] *= layout.unit
    counted = columns["pt"] > asked.min_pt
    if asked.charged:
        counted &= values["charge"][member] != 0
    order = np.argsort(owner[counted], kind="stable")
    pt, eta, phi = (columns[key][counted][order] for key in ("pt", "eta", "phi"))
    offsets = np.searchsorted(owner[counted][order], np.arange(len(jet_eta) + 1)).astype(np.int64)
    n_trk, width, c1 = observables(
        offsets, pt, eta, phi, jet_eta.astype(np.float64), jet_phi.astype(np.float64), asked.beta
    )
    lists = first_jet.astype(np.int64)
    found = {"n_trk": n_trk, "width": width.astype(np.float32), "c1": c1.astype(np.float32)}
    return {name: Basket(0, lists, content) for name, content in found.items()}


def observables(
    offsets: Int64[ndarray, " n_1"],
    pt: Float64[ndarray, " m"],
    eta: Float64[ndarray, " m"],
    phi: Float64[ndarray, " m"],
    jet_eta: Float64[ndarray, " n"],
    jet_phi: Float64[ndarray, " n"],
    beta: float,
) -> tuple[Int64[ndarray, " n"], Float64[ndarray, " n"], Float64[ndarray, " n"]]:
    """What tells quark jets from gluon jets: number, width and C1 of the constituents of each jet.

    The definitions are in `Constituents`; C1 is that of A. J. Larkoski, G. P. Salam, J. Thaler, JHEP 06 (2013) 108.
    Width and C1 are 0 without constituents. What a jet gets does not depend on the jets beside it.

    Args:
        offsets: first constituent of each jet.
        pt: transverse momenta of constituents, in any unit.
        eta: pseudorapidities of constituents.
        phi: azimuths of constituents [rad].
        jet_eta: pseudorapidities of jets.
        jet_phi: azimuths of jets [rad].
        beta: exponent of the distance in C1.
    """
    n_trk = np.diff(offsets)
    owner = np.repeat(np.arange(len(n_trk)), n_trk)
    total = np.bincount(owner, pt, len(n_trk))
    distance = _distance(eta - jet_eta[owner], phi - jet_phi[owner])
    moment, pairs = np.bincount(owner, pt * distance, len(n_trk)), np.zeros(len(n_trk))
    for step in range(1, int(n_trk.max(initial=0))):  # a constituent and the one `step` places on, in all jets at once
        one = np.flatnonzero(owner[:-step] == owner[step:])
        other = one + step
        terms = pt[one] * pt[other] * _distance(eta[one] - eta[other], phi[one] - phi[other]) ** beta
        pairs += np.bincount(owner[one], terms, len(n_trk))
    some = total > 0
    width = np.divide(moment, total, out=np.zeros(len(total)), where=some)
    return n_trk, width, np.divide(pairs, total**2, out=np.zeros(len(total)), where=some)


def _distance(eta: Float64[ndarray, " m"], phi: Float64[ndarray, " m"]) -> Float64[ndarray, " m"]:
    """Distance in eta and phi."""
    found: ndarray = np.hypot(eta, (phi + np.pi) % (2 * np.pi) - np.pi)
    return found
