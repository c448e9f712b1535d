"""Scale factors and their covariance for other programs, each file to be read by what it was written for.

write       all of these files
nodes       what corrections for correctionlib are made of, here and in the report
components  corrections for correctionlib, shifted by principal components of the covariance
likelihood  modifiers for pyhf, which share the names of their nuisance parameters
cabinetry   systematics for cabinetry, of the same names
hepdata     tables for HEPData

`beampipe.calibration.method.joint` writes and reads the covariance itself.
"""

from beampipe.calibration.exports.archives import write_hepdata
from beampipe.calibration.exports.corrections import write_components
from beampipe.calibration.exports.fits import cabinetry_systematics, pyhf_modifiers, write_modifiers
from beampipe.calibration.exports.write import write_exports, write_joint

__all__ = [
    "cabinetry_systematics",
    "pyhf_modifiers",
    "write_components",
    "write_exports",
    "write_hepdata",
    "write_joint",
    "write_modifiers",
]
