"""Scale factors and their covariance for other programs: correctionlib, pyhf, cabinetry, HEPData, ROOT.

`beampipe.calibration.method.joint` writes and reads the covariance itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.calibration.exports.archives import write_hepdata
    from beampipe.calibration.exports.corrections import (
        read_correction,
        write_components,
        write_correction,
        write_covariance,
    )
    from beampipe.calibration.exports.fits import cabinetry_systematics, pyhf_modifiers, write_modifiers
    from beampipe.calibration.exports.write import write_exports, write_joint

__all__ = [
    "cabinetry_systematics",
    "pyhf_modifiers",
    "read_correction",
    "write_components",
    "write_correction",
    "write_covariance",
    "write_exports",
    "write_hepdata",
    "write_joint",
    "write_modifiers",
]

__getattr__, __dir__ = loader(
    __name__,
    {
        "archives": ["write_hepdata"],
        "corrections": ["read_correction", "write_components", "write_correction", "write_covariance"],
        "fits": ["cabinetry_systematics", "pyhf_modifiers", "write_modifiers"],
        "write": ["write_exports", "write_joint"],
    },
)
