"""Makes the Pythia samples: `python benchmarks/calibration/make_samples.py`.

About an hour on one core; complete files are kept.

Then pseudo-data from the independent sample, in which each track is kept with 93 % chance.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import beampipe.terminal.scripts  # noqa: F401

from beampipe.simulation.ntuples import inject, simulate_dijets

FOLDER = Path("runs/calibration")
SEED = 20240901
SAMPLES = {
    "nominal": (90_000, 4),
    "nominal2": (45_000, 2),
    "fsr_up": (18_000, 1),
    "fsr_down": (18_000, 1),
    "vincia": (18_000, 1),
    "thermal": (18_000, 1),
    "lund": (18_000, 1),
    "monash": (18_000, 1),
    "me_proxy": (18_000, 1),
    "colour_reconnection": (18_000, 1),
    "pdf_cteq6l1": (18_000, 1),
    "pdf_mstw": (18_000, 1),
    "pdf_nnpdf31lo": (18_000, 1),
}
"""Number of events to generate and number of files per slice, by name of the sample."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    for name, (events, files) in SAMPLES.items():
        made = simulate_dijets(name, FOLDER / "samples" / name, events, seed=SEED, files=files, workers=options.workers)
        print(f"{name}: {len(made)} files")
    source = sorted((FOLDER / "samples" / "nominal2").glob("*.root"))
    print(f"pseudo-data: {len(inject(source, FOLDER / 'pseudo', 'fewer_tracks'))} files")


if __name__ == "__main__":
    main()
