"""Stage 7, `report`: what a calibration found, for people and for programs.

gather      results out of the store
plots       scale factors and their uncertainties against pT; closure: shapes, fractions
tables      the same and all that led to it in numbers
correction  JSON of correctionlib, covariance beside it
export      ROOT file of histograms
page        one HTML page of everything, readable without a network
write       all of them
"""

from beampipe.calibration.report.correction import read_correction, write_correction, write_covariance
from beampipe.calibration.report.gather import Results, SampleResult, gather
from beampipe.calibration.report.write import write_report

__all__ = [
    "Results",
    "SampleResult",
    "gather",
    "read_correction",
    "write_correction",
    "write_covariance",
    "write_report",
]
