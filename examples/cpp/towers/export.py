"""Exports the model: python export.py BUILD FOLDER, with the folder where CMake built it and that of the repository."""

import sys
from pathlib import Path

from beampipe.triton import ModelSettings, export_repository

build, folder = map(Path, sys.argv[1:])
export_repository(
    folder,
    [
        ModelSettings(
            "towers",
            f"{Path(__file__).with_name('towers.py')}:Towers",
            parameters={"N_ETA": "100", "N_PHI": "64"},
            backend="towers",
            libraries=(build / "libtriton_towers.so",),
            instances=2,
            max_batch_size=16,
        )
    ],
)
