"""Codes of partons as PDG numbers, and what is unlikely enough to be an error: labels and pT of a whole range."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.calibration.layout.settings import Labels, Layout
from beampipe.calibration.ntuple.lists import lossless
from beampipe.errors import FileError

__all__ = [
    "HIGHEST_PT",
    "LOWEST_PT",
    "allowed_unmatched",
    "median_of",
    "pdg_numbers",
    "pt_complaint",
    "unmatched_complaint",
]

_PDG: Final = (1, 4, 5, 21)
"""PDG numbers that stand for light, charm and bottom quarks and for gluons."""

HIGHEST_PT: Final = 7000.0
"""Half of the energy of the largest collider [GeV]: no jet has more pT."""

LOWEST_PT: Final = 5.0
"""Median pT of leading jets [GeV] below which nobody reconstructs jets."""

_SIGMAS: Final = 5.0
"""By how many standard deviations a share must exceed its limit to be an error, so that few jets do not decide."""


def pdg_numbers(path: Path, branch: str, codes: ndarray, labels: Labels) -> Any:
    """int8 PDG numbers of partons without sign, 0 for none.

    Raises:
        FileError: codes have signs, and the layout does not say so.
    """
    codes = lossless(path, branch, codes, "int64")
    known = {code: pdg for group, pdg in zip(labels.partons, _PDG, strict=True) for code in group}
    if not labels.signed:
        mirrored = [-code for code in known if code > 0 and -code not in known and -code not in labels.none]
        negative = np.isin(codes, mirrored)
        if negative.any():
            raise FileError(
                f"{path}: branch {branch!r}: got signed labels: {int(negative.sum())} of {codes.size} are negative,"
                f" e.g. {int(codes[negative][0])}, expected none; set layout.labels.signed = true if these are"
                " antiquarks, or list the codes under layout.labels.none",
                path=path,
                name=branch,
            )
    looked_up = np.abs(codes) if labels.signed else codes
    out = np.zeros(codes.shape, np.int8)
    for code, pdg in known.items():
        out[looked_up == code] = pdg
    return out


def allowed_unmatched(n: int, layout: Layout) -> float:
    """How many of n labels of leading jets may be no parton."""
    limit = layout.labels.max_unmatched
    return float(n * limit + _SIGMAS * np.sqrt(n * limit * (1 - limit)))


def unmatched_complaint(pdg: ndarray, codes: ndarray, layout: Layout) -> str:
    """What is wrong with the labels of leading jets: too many have no parton. Empty if nothing is.

    Args:
        pdg: PDG numbers of the jets, as by `pdg_numbers`.
        codes: their codes in the file, for the message.
        layout: has the limit.
    """
    n, limit = pdg.size, layout.labels.max_unmatched
    unmatched = int(np.count_nonzero(pdg == 0))
    if unmatched <= allowed_unmatched(n, layout) or n == 0:
        return ""
    seen, counts = np.unique(codes[pdg == 0], return_counts=True)
    most = ", ".join(f"{code} ({count})" for count, code in sorted(zip(counts, seen, strict=True), reverse=True)[:4])
    return (
        f"got {unmatched} of {n} leading jets ({100 * unmatched / n:.1f} %) with labels that are no parton: {most};"
        f" expected at most {100 * limit:g} %: list the codes under layout.labels.light, charm, bottom or gluon, or"
        " raise layout.labels.max_unmatched"
    )


def median_of(values: ndarray) -> float:
    """The value with as many below as above it, of two the upper one. numpy's own would load its masked arrays."""
    return float(np.partition(values, len(values) // 2)[len(values) // 2])


def pt_complaint(leading: ndarray, layout: Layout) -> str:
    """What is wrong with the pT of leading jets [GeV, as far as the layout is right]. Empty if nothing is."""
    if len(leading) == 0:
        return ""
    median = median_of(leading)
    if median > HIGHEST_PT:
        looks, unit = "MeV" if layout.energy_unit == "GeV" else "another unit", "MeV"
    elif 0 < median < LOWEST_PT and layout.unit != 1:
        looks, unit = "GeV", "GeV"
    elif 0 <= median < LOWEST_PT:
        looks, unit = "TeV", "TeV"
    else:
        return ""
    number = median / layout.unit
    low, high = LOWEST_PT / layout.unit, HIGHEST_PT / layout.unit
    return (
        f"got a median leading pT of {number:.4g} in the file, which looks like {looks}, expected {low:g} to {high:g}"
        f" with layout.energy_unit = {layout.energy_unit!r};"
        f" set layout.energy_unit = {unit!r}"
    )
