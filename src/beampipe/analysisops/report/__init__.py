"""The page of a run: scores, cost, calibration of uncertainties, and the details behind each number.

`write_report` writes it. The page is static and self-contained; its style and scripts are in web.

run_data   reads a run, and decides what is shown of each assessment
formatting numbers as text
plots      figures
page       the page
"""

from beampipe.analysisops.report.page import write_report
from beampipe.analysisops.report.run_data import References

__all__ = ["References", "write_report"]
