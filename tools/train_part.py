"""Trains one weight file for the Generic detector: windows, networks, or a variant of the ablation.

    python tools/train_part.py module_map train200_even.parquet -o module_map.safetensors
    python tools/train_part.py ablation_full train200_even.parquet -o full.safetensors \\
        --validation train200_odd.parquet --windows module_map.safetensors --start exatrkx.safetensors
"""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path

from beampipe.simulation.degradation import Degradation, degrade
from beampipe.tracking.formats import open_events
from beampipe.tracking.training.recipe import recipe, train
from beampipe.tracking.training.windows import WINDOW_RECIPES, learn_windows, write_windows
from beampipe.tracking.windows import load_windows

LOSSES = (Degradation(0.0, 0.0, 0.0), Degradation(0.02, 0.01, 0.0), Degradation(0.05, 0.02, 0.0))
"""Degradations that events get in turn, so that there are tracks with and without missing hits."""


def main() -> None:
    """Train, and write the weight file with its card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="module_map, module_map_soft, exatrkx, exatrkx_soft or an ablation")
    parser.add_argument("files", type=Path, nargs="+", help="files of clean events to train on")
    parser.add_argument("-o", "--output", type=Path, required=True, help="safetensors file to write, with its card")
    parser.add_argument("--validation", type=Path, help="for networks: file of events that fix radius and cuts")
    parser.add_argument("--windows", type=Path, help="for networks: learned windows, for features of edge pairs")
    parser.add_argument("--start", type=Path, help="for networks: weights whose embedding and filter are kept")
    parser.add_argument("--log", type=Path, help="file to append the metrics to, one JSON object a line")
    options = parser.parse_args()

    files = sorted(options.files)
    events = chain.from_iterable(map(open_events, files))
    names = [path.name for path in files]
    inputs = {name: getattr(options, name) for name in ("validation", "windows", "start")}
    given = "".join(f" --{name} {path.name}" for name, path in inputs.items() if path is not None)
    command = f"python tools/train_part.py {options.name} {' '.join(names)}{given} -o {options.output.name}"
    about = {"command": command, "data": names}
    if options.name in WINDOW_RECIPES:
        config = WINDOW_RECIPES[options.name]
        degraded = [degrade(event, LOSSES[k % 3], seed=k, run_seed=k) for k, event in enumerate(events)]
        write_windows(options.output, learn_windows(degraded, config), config, {"events": len(degraded), **about})
    elif options.validation is None or options.windows is None:
        parser.error(f"{options.name}: expected --validation and --windows")
    else:
        train(
            recipe(options.name),
            events,
            open_events(options.validation),
            load_windows(options.windows),
            options.output,
            log=options.log,
            echo=True,
            start=options.start,
            about=about,
        )
    print(f"{options.output}: {options.name}")


if __name__ == "__main__":
    main()
