"""Quark/gluon tagging calibration: scale factors (data / simulation) of taggers from ROOT files::

    from beampipe.calibration import Factors, RunSettings, load_configuration, run_calibration

    configuration = load_configuration("dijets.toml")
    run_calibration(configuration, RunSettings("processes", workers=4))
    factors = Factors.read(configuration.output / "factors.json")
    factors.at(tagger="n_trk", working_point=0.5, flavour="quark", quantity="efficiency", pt=700.0).nominal

Each stage stores its results on disk, where the next one reads them: inspect -> bookkeeping -> select -> predict ->
fill -> merge -> reweight -> extract -> factors -> report. The modules and packages::

    config      configuration: samples, cuts, taggers, systematics
    layout      which branch of a ROOT file holds which column; presets of known formats
    ntuple      reading ROOT files: columns, baskets, bookkeeping of weights
    events      selected events, tagger scores, variations of jets, exact histograms
    method      the matrix method: re-weighting, inversion, scale factors, uncertainties
    tasks       the plan of a run, and the tasks that workers execute
    run         runs all stages
    exports     files for other programs: correctionlib, pyhf, cabinetry, HEPData, ROOT
    report      figures, tables and the HTML page
    simulation  simulated samples and toys
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.calibration.config import (
        Bootstrap,
        Configuration,
        DijetSelection,
        Energy,
        InputSample,
        Regions,
        ShiftSettings,
        Systematic,
        Tagger,
        load_configuration,
    )
    from beampipe.calibration.demo import DEMO_CONFIGURATION, run_demo
    from beampipe.calibration.explanation import explain
    from beampipe.calibration.method.factors import FactorInBin, Factors, ScaleFactor
    from beampipe.calibration.recognition import Inspection, inspect_ntuple
    from beampipe.calibration.run import is_calibrated, plan_calibration, run_calibration
    from beampipe.calibration.tasks.runtime import RunSettings

__all__ = [
    "DEMO_CONFIGURATION",
    "Bootstrap",
    "Configuration",
    "DijetSelection",
    "Energy",
    "FactorInBin",
    "Factors",
    "InputSample",
    "Inspection",
    "Regions",
    "RunSettings",
    "ScaleFactor",
    "ShiftSettings",
    "Systematic",
    "Tagger",
    "explain",
    "inspect_ntuple",
    "is_calibrated",
    "load_configuration",
    "plan_calibration",
    "run_calibration",
    "run_demo",
]

__getattr__, __dir__ = loader(
    __name__,
    {
        "config": [
            "Bootstrap",
            "Configuration",
            "DijetSelection",
            "Energy",
            "InputSample",
            "Regions",
            "ShiftSettings",
            "Systematic",
            "Tagger",
            "load_configuration",
        ],
        "demo": ["DEMO_CONFIGURATION", "run_demo"],
        "explanation": ["explain"],
        "method.factors": ["FactorInBin", "Factors", "ScaleFactor"],
        "recognition": ["Inspection", "inspect_ntuple"],
        "run": ["is_calibrated", "plan_calibration", "run_calibration"],
        "tasks.runtime": ["RunSettings"],
    },
)
