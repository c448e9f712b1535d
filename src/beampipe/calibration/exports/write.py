"""All files for other programs, each written atomically."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from beampipe.calibration.exports.archives import write_hepdata, write_root
from beampipe.calibration.exports.corrections import (
    write_components,
    write_correction,
    write_mc_to_mc,
)
from beampipe.calibration.exports.fits import write_modifiers
from beampipe.calibration.method.joint import JointUncertainties, principal_components
from beampipe.calibration.results import Results, other_samples
from beampipe.files import write_whole

CORRECTIONS: Final = "corrections.json"
"""Name of the file of corrections, for correctionlib."""

BETWEEN: Final = "mc_to_mc.json"
"""Name of the file of factors from simulation to simulation."""

ROOT: Final = "histograms.root"
"""Name of the ROOT file."""

JOINT: Final = "joint.json"
"""Name of the file of the joint covariance and the signed shifts."""

COMPONENTS: Final = "components.json"
"""Name of the file of corrections with principal components, for correctionlib."""

MODIFIERS: Final = "pyhf_modifiers.json"
"""Name of the file of modifiers, for pyhf."""

HEPDATA: Final = "hepdata"
"""Name of the folder of a submission to HEPData."""


JOINT_EXPORTS: Final = (JOINT, COMPONENTS, MODIFIERS)
"""Names of the files that `write_joint` writes."""

EXPORTS: Final = (CORRECTIONS, BETWEEN, *JOINT_EXPORTS)
"""Names of the files with text that `write_exports` writes."""

EXPORT_MARKS: Final = (
    '"description": "Quark/gluon tagging',
    '"description":"Quark/gluon tagging',
    '"description":"Simulation to simulation',
    '"about": {"order": "bins of pt_edges',
    '"about": "samples for pyhf',
)
"""Texts near the begin of these files that identify them, for `beampipe.files.require_ours`."""


def write_exports(results: Results, folder: Path) -> tuple[Path, ...]:
    """Write all files for other programs; returns their paths.

    Args:
        results: results of the calibration.
        folder: folder of the files.

    Raises:
        MissingExtraError: pydantic is not installed.
        ConfigError: a source of uncertainty is called ``stat`` or ``total``.
    """
    factors = results.factors
    paths = [
        write_whole(folder / CORRECTIONS, lambda path: write_correction(factors, path)),
        write_whole(folder / ROOT, lambda path: write_root(results, path)),
        *write_joint(results.joint, folder),
        *write_hepdata(factors, results.joint, folder / HEPDATA),
    ]
    if other_samples(results):
        paths.append(write_whole(folder / BETWEEN, lambda path: write_mc_to_mc(results, path)))
    return tuple(paths)


def write_joint(
    joint: JointUncertainties, folder: Path, write: Callable[[Path], object] | None = None
) -> tuple[Path, ...]:
    """Write the files that need only the joint uncertainties; returns their paths.

    Args:
        joint: the uncertainties of all scale factors together.
        folder: folder of the files.
        write: writes the first file; by default `joint.write`.

    Raises:
        MissingExtraError: pydantic is not installed.
    """
    components = principal_components(joint)
    return (
        write_whole(folder / JOINT, write or joint.write),
        write_whole(folder / COMPONENTS, lambda path: write_components(joint, components, path)),
        write_whole(folder / MODIFIERS, lambda path: write_modifiers(joint, components, path)),
    )
