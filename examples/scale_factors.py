"""Run the shipped calibration and apply a scale factor to a jet: python examples/scale_factors.py FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from beampipe.calibration import Factors, RunSettings, load_configuration, run_calibration
from beampipe.calibration.demo import DEMO


def main() -> None:
    """Print the quark scale factor of a jet of 700 GeV, with what it is made of."""
    folder = Path(sys.argv[1])
    run_calibration(load_configuration(DEMO, output=folder), RunSettings("processes", workers=2))
    factors = Factors.read(folder / "factors.json")
    quark = factors.by_name["n_trk", 0.5, "quark", "efficiency"]
    place = next(k for k, edge in enumerate(factors.pt_edges[1:]) if edge > 700)
    print(f"SF_q at 700 GeV: {quark.nominal[place]:.3f} +- {quark.total[place]:.3f}")
    for name, values in quark.sources.items():
        print(f"  {name}: {values[place]:.3f}")


if __name__ == "__main__":
    main()
