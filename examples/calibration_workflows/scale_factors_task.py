"""Scale factors as a task of law, which others may require:

python -m luigi --module scale_factors_task ScaleFactors --calibration dijets.toml --folder results --local-scheduler
"""

from __future__ import annotations

from pathlib import Path

import law
import luigi

from beampipe.calibration import Configuration, RunSettings, is_calibrated, load_configuration, run_calibration


class ScaleFactors(law.Task):
    """Scale factors of one configuration. It is complete if they are those of the files and cuts of now."""

    calibration = luigi.Parameter()
    folder = luigi.Parameter()
    processes = luigi.IntParameter(default=1, significant=False)

    @property
    def configuration(self) -> Configuration:
        """The configuration, with results in the folder."""
        return load_configuration(Path(self.calibration), output=Path(self.folder))

    def output(self) -> law.LocalFileTarget:
        return law.LocalFileTarget(str(Path(self.folder) / "factors.json"))

    def complete(self) -> bool:
        return is_calibrated(self.configuration)

    def run(self) -> None:
        run_calibration(self.configuration, RunSettings("processes", self.processes))
