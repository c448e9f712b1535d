"""Quark/gluon tagging calibration: scale factors (data / simulation) of taggers from ROOT files::

    from beampipe.calibration import Factors, RunSettings, load_configuration, run_calibration

    configuration = load_configuration("dijets.toml")
    run_calibration(configuration, RunSettings("processes", workers=4))
    factors = Factors.read(configuration.output / "factors.json")
    factors.at(tagger="n_trk", working_point=0.5, flavour="quark", quantity="efficiency", pt=700.0).nominal

Each stage stores its results on disk, where the next one reads them: inspect -> bookkeeping -> select -> predict ->
fill -> merge -> reweight -> extract -> factors -> report. The modules and packages::

    config      configuration: samples, cuts, taggers, systematics
    taggers     kinds of taggers, and how they score jets
    layout      which branch of a ROOT file holds which column; presets of known formats
    ntuple      reading ROOT files: columns, baskets, bookkeeping of weights
    events      selected events, tagger scores, variations of jets, exact histograms
    method      the matrix method: re-weighting, inversion, scale factors, uncertainties
    tasks       the plan of a run, and the tasks that workers execute
    results     stages 4 to 6, and the numbers that reports need
    run         runs all stages
    exports     files for other programs: correctionlib, pyhf, HEPData, ROOT
    report      figures, tables and the HTML page
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.calibration.config import Bootstrap as Bootstrap
    from beampipe.calibration.config import Configuration as Configuration
    from beampipe.calibration.config import DijetSelection as DijetSelection
    from beampipe.calibration.config import Energy as Energy
    from beampipe.calibration.config import InputSample as InputSample
    from beampipe.calibration.config import Regions as Regions
    from beampipe.calibration.config import ShiftSettings as ShiftSettings
    from beampipe.calibration.config import Systematic as Systematic
    from beampipe.calibration.config import load_configuration as load_configuration
    from beampipe.calibration.explanation import explain as explain
    from beampipe.calibration.method.factors import FactorInBin as FactorInBin
    from beampipe.calibration.method.factors import Factors as Factors
    from beampipe.calibration.method.factors import ScaleFactor as ScaleFactor
    from beampipe.calibration.recognition import Inspection as Inspection
    from beampipe.calibration.recognition import inspect_ntuple as inspect_ntuple
    from beampipe.calibration.run import DEMO_CONFIGURATION as DEMO_CONFIGURATION
    from beampipe.calibration.run import is_calibrated as is_calibrated
    from beampipe.calibration.run import plan_calibration as plan_calibration
    from beampipe.calibration.run import run_calibration as run_calibration
    from beampipe.calibration.run import run_demo as run_demo
    from beampipe.calibration.taggers import Tagger as Tagger
    from beampipe.calibration.tasks.runtime import RunSettings as RunSettings

__getattr__, __dir__, __all__ = loader(__name__)
