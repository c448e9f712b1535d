"""Trains one weight file: windows, networks or an ablation for the Generic detector, or tables of the track fit.

    python tools/train_part.py module_map train200_even.parquet -o module_map.safetensors
    python tools/train_part.py fit train200.parquet --windows module_map.safetensors --field 2 -o fit.safetensors
    python tools/train_part.py ablation_full train200_even.parquet -o full.safetensors \\
        --validation train200_odd.parquet --windows module_map.safetensors --start exatrkx.safetensors
"""

from __future__ import annotations

import argparse
import json
from itertools import chain
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file

from beampipe.simulation.degradation import Degradation, degrade
from beampipe.tracking.formats import open_events
from beampipe.tracking.models import FIT_STEM
from beampipe.tracking.training.edge_networks import Building, GnnConfig
from beampipe.tracking.training.fit_tables import train_fit_tables
from beampipe.tracking.training.networks import Embedding, FilterNetwork
from beampipe.tracking.training.recipe import FirstNetworks, TrainingRecipe, recipe, train
from beampipe.tracking.training.samples import KinematicWindows
from beampipe.tracking.training.windows import WINDOW_RECIPES, learn_windows, write_windows
from beampipe.tracking.windows import load_windows

LOSSES = (Degradation(0.0, 0.0, 0.0), Degradation(0.02, 0.01, 0.0), Degradation(0.05, 0.02, 0.0))
"""Degradations that events get in turn, so that there are tracks with and without missing hits."""


def _short(gnn: GnnConfig) -> TrainingRecipe:
    """A variant of the ablation: all take about equal CPU time, on graphs of the same events."""
    return TrainingRecipe(gnn=gnn, graph_events=40)


ABLATIONS: Final = {
    "ablation_full": _short(GnnConfig(steps=1500)),
    "ablation_one_step": _short(GnnConfig(message_steps=1, steps=2500)),
    "ablation_no_message_passing": _short(GnnConfig(message_steps=0, steps=3500)),
    "ablation_no_pair_features": _short(GnnConfig(pair_features=False, steps=1500)),
}
"""The variants of the ablation, to be started from the shipped file."""


def first_networks(weights: Path) -> FirstNetworks:
    """Embedding and filter of a weight file, and their cuts, which are on its card."""
    stored: dict[str, torch.Tensor] = load_file(weights)
    config = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))["config"]
    embedding, edge_filter = Embedding(config["embedding_hidden"]), FilterNetwork(config["filter_hidden"])
    for prefix, network in (("embedding.", embedding), ("filter.", edge_filter)):
        network.load_state_dict({k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)})
    windows = KinematicWindows(config["kappa_max"], config["z0_max"])
    building = Building(config["radius"], config["max_neighbours"], windows, config["filter_cut"])
    return FirstNetworks(embedding, edge_filter, building)


def main() -> None:
    """Train, and write the weight file with its card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="module_map, module_map_soft, fit, exatrkx, exatrkx_soft or an ablation")
    parser.add_argument("files", type=Path, nargs="+", help="files of clean events to train on")
    parser.add_argument("-o", "--output", type=Path, required=True, help="safetensors file to write, with its card")
    parser.add_argument("--validation", type=Path, help="for networks: file of events that fix radius and cuts")
    parser.add_argument("--windows", type=Path, help="for networks and the fit: learned windows")
    parser.add_argument("--field", type=float, help="for the fit: magnetic field [T]")
    parser.add_argument("--start", type=Path, help="for networks: weights whose embedding and filter are kept")
    parser.add_argument("--log", type=Path, help="file to append the metrics to, one JSON object a line")
    options = parser.parse_args()
    if options.name in WINDOW_RECIPES:
        needed, allowed = set(), set()
    elif options.name == FIT_STEM:
        needed = allowed = {"windows", "field"}
    else:
        needed, allowed = {"validation", "windows"}, {"validation", "windows", "start", "log"}
    for name in ("validation", "windows", "field", "start", "log"):
        given = getattr(options, name) is not None
        if given and name not in allowed:
            parser.error(f"{options.name}: --{name} has no effect")
        if name in needed and not given:
            parser.error(f"{options.name}: --{name} is missing")

    files = sorted(options.files)
    events = chain.from_iterable(map(open_events, files))
    names = [path.name for path in files]
    inputs = {name: getattr(options, name) for name in ("validation", "windows", "start")}
    inputs_given = "".join(f" --{name} {path.name}" for name, path in inputs.items() if path is not None)
    inputs_given += "" if options.field is None else f" --field {options.field:g}"
    command = f"python tools/train_part.py {options.name} {' '.join(names)}{inputs_given} -o {options.output.name}"
    about = {"command": command, "data": names}
    if options.name in WINDOW_RECIPES:
        config = WINDOW_RECIPES[options.name]
        degraded = [degrade(event, LOSSES[k % 3], seed=k, run_seed=k) for k, event in enumerate(events)]
        write_windows(options.output, learn_windows(degraded, config), config, {"events": len(degraded), **about})
    elif options.name == FIT_STEM:
        train_fit_tables(events, load_windows(options.windows).layers, options.output, about, options.field)
    else:
        train(
            ABLATIONS.get(options.name) or recipe(options.name),
            events,
            open_events(options.validation),
            load_windows(options.windows),
            options.output,
            log=options.log,
            first=None if options.start is None else first_networks(options.start),
            about=about,
        )
    print(f"{options.output}: {options.name}")


if __name__ == "__main__":
    main()
