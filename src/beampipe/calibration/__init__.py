"""Quark/gluon tagging calibration: scale factors from ROOT files.

from beampipe.calibration import Factors, RunSettings, load_configuration, run_calibration

configuration = load_configuration(Path("dijets.toml"))
run_calibration(configuration, RunSettings("processes", workers=4))
factors = Factors.read(configuration.output / "factors.json")
factors.at(tagger="n_trk", working_point=0.5, flavour="quark", quantity="efficiency", pt=700.0).nominal

Stages meet on disk: inspect -> bookkeeping -> select -> predict -> fill -> merge -> reweight -> extract -> factors ->
report. The rooms:

ntuple      ROOT files as they are read: columns, baskets, bookkeeping of weights
jets        selected jets and their variations
tagger      scores of jets: models here or behind Triton
histograms  exact histograms, and what they say of quarks and gluons
method      the matrix method: re-weighting, inversion, scale factors, uncertainties
tasks       the work as tasks: what there is to do, one chunk of it, what workers need
report      plots, tables, corrections and the HTML page
simulation  samples to try all this on

"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from beampipe.calibration.config import Bootstrap, Configuration, Energy, InputSample, Tagger, load_configuration
    from beampipe.calibration.demo import DEMO_CONFIGURATION, run_demo
    from beampipe.calibration.explanation import explain
    from beampipe.calibration.jets.regions import Regions
    from beampipe.calibration.jets.selection import DijetSelection
    from beampipe.calibration.method.factors import FactorInBin, Factors, ScaleFactor
    from beampipe.calibration.method.systematics import Systematic
    from beampipe.calibration.run import plan_calibration, run_calibration
    from beampipe.calibration.tasks.workers import RunSettings

__all__ = [
    "DEMO_CONFIGURATION",
    "Bootstrap",
    "Configuration",
    "DijetSelection",
    "Energy",
    "FactorInBin",
    "Factors",
    "InputSample",
    "Regions",
    "RunSettings",
    "ScaleFactor",
    "Systematic",
    "Tagger",
    "explain",
    "load_configuration",
    "plan_calibration",
    "run_calibration",
    "run_demo",
]

_HOME: Final = {
    "Bootstrap": "config",
    "Configuration": "config",
    "DEMO_CONFIGURATION": "demo",
    "DijetSelection": "jets.selection",
    "Energy": "config",
    "FactorInBin": "method.factors",
    "Factors": "method.factors",
    "InputSample": "config",
    "Regions": "jets.regions",
    "RunSettings": "tasks.workers",
    "ScaleFactor": "method.factors",
    "Systematic": "method.systematics",
    "Tagger": "config",
    "explain": "explanation",
    "load_configuration": "config",
    "plan_calibration": "run",
    "run_calibration": "run",
    "run_demo": "demo",
}
"""Public name -> module of this package that it is in."""


def __getattr__(name: str) -> Any:
    """Public names are loaded when they are asked for: the command line should not wait for numba."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
