"""Scale factors as corrections for `correctionlib` that keep their correlations: one shift per principal component.

There is one correction per tagger and quantity, with the inputs of `beampipe.calibration.report.correction`; its input
`systematic` is ``nominal``, ``pcK_up`` or ``pcK_down``. Component K is one nuisance parameter of all corrections: it
moves all taggers, flavours, working points, quantities and bins at once. The squares of all shifts add up to the
covariance. Evaluation fails outside the bins of pT, and in bins that have no valid error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.calibration.exports.nodes import binning, category, schema_of_corrections, write_corrections
from beampipe.calibration.method.factors import FLAVOUR_NAMES, QUANTITIES, FactorKey
from beampipe.calibration.method.joint import JointUncertainties

__all__ = ["write_components"]


def write_components(joint: JointUncertainties, components: Float64[ndarray, "k n"], path: Path) -> None:
    """Write the corrections as JSON.

    Args:
        joint: the scale factors.
        components: shifts by principal component, from `principal_components`.
        path: the file to write.

    Raises:
        MissingExtraError: correctionlib is not installed.
    """
    nominal = np.where(joint.valid, joint.nominal, np.nan)
    shifted = {"nominal": nominal}
    for k, one in enumerate(components):
        shifted |= {f"pc{k}_up": nominal + one, f"pc{k}_down": nominal - one}
    corrections = [
        _correction(joint, shifted, tagger, quantity)
        for tagger in dict.fromkeys(key.tagger for key in joint.keys)
        for quantity in QUANTITIES
    ]
    text = "Quark/gluon tagging: data / simulation. pcK is one nuisance parameter of all corrections in this file."
    write_corrections(text, corrections, path)


def _correction(joint: JointUncertainties, shifted: dict[str, Any], tagger: str, quantity: str) -> Any:
    schema = schema_of_corrections()
    points = dict.fromkeys(key.working_point for key in joint.keys if key.tagger == tagger)

    def at_flavour(flavour: str, values: Float64[ndarray, " n"]) -> Any:
        keys = {f"{wp:g}": FactorKey(tagger, wp, flavour, quantity) for wp in points}
        return category(
            "working_point",
            {wp: binning(values[joint.part(key)].tolist(), joint.pt_edges) for wp, key in keys.items()},
        )

    def at_systematic(values: Float64[ndarray, " n"]) -> Any:
        return category("flavour", {flavour: at_flavour(flavour, values) for flavour in FLAVOUR_NAMES})

    names = ("systematic", "flavour", "working_point")
    inputs = [schema.Variable(name=name, type="string") for name in names]
    return schema.Correction(
        name=f"{tagger}_{quantity}",
        version=1,
        description="Scale factor, shifted by principal components of the joint covariance.",
        inputs=[*inputs, schema.Variable(name="pt", type="real", description="transverse momentum of the jet [GeV]")],
        output=schema.Variable(name="scale_factor", type="real", description="data / simulation"),
        data=category("systematic", {name: at_systematic(values) for name, values in shifted.items()}),
    )
