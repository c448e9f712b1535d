"""Scale factors and their covariance for other programs: correctionlib, pyhf, HEPData, ROOT.

`beampipe.calibration.method.joint` writes and reads the covariance itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.calibration.exports.corrections import read_correction as read_correction
    from beampipe.calibration.exports.corrections import write_components as write_components
    from beampipe.calibration.exports.corrections import write_correction as write_correction
    from beampipe.calibration.exports.write import pyhf_modifiers as pyhf_modifiers
    from beampipe.calibration.exports.write import write_exports as write_exports
    from beampipe.calibration.exports.write import write_hepdata as write_hepdata
    from beampipe.calibration.exports.write import write_joint as write_joint
    from beampipe.calibration.exports.write import write_modifiers as write_modifiers

__getattr__, __dir__, __all__ = loader(__name__)
