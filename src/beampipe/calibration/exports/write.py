"""All files for other programs, each written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from beampipe.calibration.exports.archives import hepdata_documents, write_document
from beampipe.calibration.exports.corrections import write_components
from beampipe.calibration.exports.fits import write_cabinetry, write_modifiers
from beampipe.calibration.method.factors import Factors
from beampipe.calibration.method.joint import JointUncertainties, principal_components
from beampipe.files import write_whole

__all__ = ["CABINETRY", "COMPONENTS", "HEPDATA", "JOINT", "MODIFIERS", "write_exports", "write_joint"]

JOINT: Final = "joint.json"
"""Name of the file of the joint covariance and the signed shifts."""

COMPONENTS: Final = "components.json"
"""Name of the file of corrections with principal components, for correctionlib."""

MODIFIERS: Final = "pyhf_modifiers.json"
"""Name of the file of modifiers, for pyhf."""

CABINETRY: Final = "cabinetry.yml"
"""Name of the file of systematics, for cabinetry."""

HEPDATA: Final = "hepdata"
"""Name of the folder of a submission to HEPData."""


def write_exports(factors: Factors, joint: JointUncertainties, folder: Path) -> tuple[Path, ...]:
    """Write the files; returns their paths.

    Args:
        factors: the scale factors.
        joint: the uncertainties of all of them together.
        folder: folder of the files.

    Raises:
        MissingExtraError: correctionlib is not installed.
    """
    return (
        *write_joint(joint, folder),
        *(
            write_whole(folder / HEPDATA / name, partial(write_document, document))
            for name, document in hepdata_documents(factors, joint)
        ),
    )


def write_joint(
    joint: JointUncertainties, folder: Path, write: Callable[[Path], object] | None = None
) -> tuple[Path, ...]:
    """Write those of the files that need nothing but the uncertainties; returns their paths.

    Args:
        joint: the uncertainties of all scale factors together.
        folder: folder of the files.
        write: writes the first file, in place of `joint` itself.

    Raises:
        MissingExtraError: correctionlib is not installed.
    """
    components = principal_components(joint)
    return (
        write_whole(folder / JOINT, write or joint.write),
        write_whole(folder / COMPONENTS, lambda path: write_components(joint, components, path)),
        write_whole(folder / MODIFIERS, lambda path: write_modifiers(joint, components, path)),
        write_whole(folder / CABINETRY, lambda path: write_cabinetry(components, path)),
    )
