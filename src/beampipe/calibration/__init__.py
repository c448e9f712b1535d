"""Quark/gluon tagging calibration: scale factors from ROOT files.

from beampipe.calibration import RunSettings, load_configuration, run_calibration

run_calibration(load_configuration(Path("dijets.toml")), RunSettings("processes", workers=4))

Stages meet on disk: select -> predict -> fill -> reweight -> extract -> factors -> report.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from beampipe.calibration.config import Configuration, load_configuration
    from beampipe.calibration.method.factors import Factors, ScaleFactor
    from beampipe.calibration.run import RunSettings, run_calibration

__all__ = ["Configuration", "Factors", "RunSettings", "ScaleFactor", "load_configuration", "run_calibration"]

_HOME: Final = {
    "Configuration": "config",
    "Factors": "method.factors",
    "ScaleFactor": "method.factors",
    "RunSettings": "run",
    "load_configuration": "config",
    "run_calibration": "run",
}


def __getattr__(name: str) -> Any:
    """Public names are loaded when they are asked for: the command line should not wait for numba."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
