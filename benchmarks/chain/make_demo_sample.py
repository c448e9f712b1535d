"""Makes the ntuples that the demo adds to its own: `python benchmarks/chain/make_demo_sample.py [--workers 2]`.

They come from a chain with the settings of the demo and another seed. Simulation and store lie in a scratch folder.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import beampipe.terminal.scripts  # noqa: F401

from beampipe.calibration import RunSettings
from beampipe.chain.run import make_ntuples
from beampipe.chain.settings import SHIPPED, shipped_settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=SHIPPED, help="folder of the ntuples")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        ntuples = make_ntuples(shipped_settings(Path(scratch)), RunSettings("processes", options.workers))
        for name, path in ntuples.items():
            shutil.copyfile(path, options.output / f"{name}.root")
            print(options.output / f"{name}.root")


if __name__ == "__main__":
    main()
