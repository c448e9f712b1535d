"""The page of a run: scores, cost, calibration of uncertainties, and the details behind each number.

`write_report` writes it. The page is static and self-contained; its style and scripts are in the folder ``web``.

run_data   reads a run, and selects the details of each assessment for the page
formatting numbers as text
plots      figures
page       the page
"""

from beampipe.analysisops.report.page import write_report
from beampipe.analysisops.report.run_data import References

__all__ = ["References", "write_report"]
