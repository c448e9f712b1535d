"""Stage 7, `report`: what a calibration found, for people and for programs.

gather      the results, read from the store
plots       figures of scale factors and their uncertainties against pT
closure     figures of shapes against labels, and of fractions of quarks
style       words, colours and names of files that figures share
tables      tables of the results and of what led to them
correction  scale factors as JSON for correctionlib, their covariance beside it
export      a ROOT file of histograms
page        one HTML page of everything, to be read without a network
write       all files of a report
"""

from beampipe.calibration.exports.corrections import read_correction, write_correction, write_covariance
from beampipe.calibration.report.write import write_report
from beampipe.calibration.results import Results, SampleResult, collect_results

__all__ = [
    "Results",
    "SampleResult",
    "collect_results",
    "read_correction",
    "write_correction",
    "write_covariance",
    "write_report",
]
