"""Run the shipped calibration and apply a scale factor to a jet: python examples/scale_factors.py FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from beampipe.calibration import DEMO_CONFIGURATION, Factors, RunSettings, load_configuration, run_calibration


def main() -> None:
    """Print the quark scale factor of a jet of 700 GeV, with what it is made of."""
    folder = Path(sys.argv[1])
    run_calibration(load_configuration(DEMO_CONFIGURATION, output=folder), RunSettings("processes", workers=2))
    factors = Factors.read(folder / "factors.json")
    quark = factors.at(tagger="n_trk", working_point=0.5, flavour="quark", quantity="efficiency", pt=700.0)
    print(f"SF_q at 700 GeV: {quark.nominal:.3f} +- {quark.total:.3f}")
    for name, uncertainty in quark.sources.items():
        print(f"  {name}: {uncertainty:.3f}")


if __name__ == "__main__":
    main()
