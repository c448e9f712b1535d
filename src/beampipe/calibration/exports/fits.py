"""Scale factors as nuisance parameters for pyhf, one per principal component of the joint covariance.

A sample with a histogram in the bins of jet pT, with one tagged jet per entry, has y_p SF_p entries in bin p. Component
k shifts this by y_p c_kp: a ``histosys`` modifier with the same name in every sample and channel, so that they share
the nuisance parameter.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.calibration.method.factors import FactorKey
from beampipe.calibration.method.joint import JointUncertainties
from beampipe.errors import InputError

COMPONENT_NAME: Final = "quark_gluon_pc{}"
"""Name of the nuisance parameter of a component."""


def pyhf_modifiers(
    joint: JointUncertainties, components: Float64[ndarray, "k n"], key: FactorKey, yields: Float64[ndarray, " p"]
) -> tuple[list[float], list[dict[str, Any]]]:
    """The ``data`` and ``modifiers`` of a sample in a workspace of pyhf.

    Args:
        joint: the scale factors.
        components: shifts by principal component, from `principal_components`.
        key: the scale factor of the sample's jets.
        yields: entries of the sample in the bins of pT before the scale factor.

    Raises:
        InputError: the number of yields differs from the number of bins, or a bin that is not published has entries.
    """
    part = joint.part(key)
    nominal, shifts = joint.nominal[part], components[:, part]
    if yields.shape != nominal.shape:
        raise InputError(
            f"yields: got {yields.shape[0]} bins, expected {len(nominal)}, those of pt_edges and eta_edges"
        )
    used = yields != 0
    lost = used & ~joint.published[part]
    if lost.any():
        raise InputError(
            f"yields: got entries in bins {np.flatnonzero(lost).tolist()} of {'/'.join(map(str, key))}, whose scale"
            " factor has no valid error or is not published; expected none there: leave them out"
        )
    data = np.where(used, yields * nominal, 0.0)
    moved = np.where(used, yields * shifts, 0.0)
    modifiers = [
        {
            "name": COMPONENT_NAME.format(k),
            "type": "histosys",
            "data": {"hi_data": (data + shift).tolist(), "lo_data": (data - shift).tolist()},
        }
        for k, shift in enumerate(moved)
    ]
    return data.tolist(), modifiers


def write_modifiers(joint: JointUncertainties, components: Float64[ndarray, "k n"], path: Path) -> None:
    """Write `pyhf_modifiers` of every scale factor for one entry per bin as JSON; bins that are not published hold 0.

    Args:
        joint: the scale factors.
        components: shifts by principal component, from `principal_components`.
        path: the file to write.
    """
    samples = []
    for key in joint.keys:
        ones = joint.published[joint.part(key)].astype(np.float64)
        data, modifiers = pyhf_modifiers(joint, components, key, ones)
        samples.append({**key._asdict(), "valid": (ones > 0).tolist(), "data": data, "modifiers": modifiers})
    plain = {
        "about": "samples for pyhf with one entry per bin of pt_edges before the scale factor; multiply data, hi_data"
        " and lo_data by your entries. Bins that are not valid hold 0: leave them out",
        "pt_edges": joint.pt_edges,
        **({"eta_edges": joint.eta_edges} if joint.eta_edges else {}),
        "samples": samples,
    }
    path.write_text(json.dumps(plain) + "\n", encoding="utf-8")
