"""Taggers of quark and gluon jets beside each other: `python benchmarks/calibration/tagger.py`.

It needs `pip install '.[calibration,simulation,train]'`. It simulates dijets with constituents and trains on three in
four of the selected events; complete files of events and of weights are kept. On the other events it measures the
rejection of gluons at half of the quarks, with errors by bootstrap over events, of

    constituents   the network of tracks and neutral constituents; its weights are those that come with the package
    tracks         the same network, trained without neutral constituents
    boosted        boosted trees of n_trk, width, C1, pT and |eta|
    n_trk          the number of tracks

The weights are beside the JSON file.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Final

import beampipe.terminal.scripts  # noqa: F401

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share
from recording import CONSOLE, Figure, Reference, begin, parser_of, write_result

from beampipe.calibration.config import Configuration, InputSample
from beampipe.calibration.tasks.runtime import RunSettings
from beampipe.calibration.training import boosted_scores, network_scores, performance, train_network_on, training_jets
from beampipe.jets.network_training import NetworkRecipe
from beampipe.simulation.ntuples import simulate_dijets, simulate_toy

SAMPLE: Final = "nominal2"


def main() -> None:
    parser = parser_of(__doc__, "calibration_tagger")
    parser.add_argument("--samples", type=Path, default=Path("runs/calibration/constituents"))
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--files", type=int, default=6, help="per slice of hard pT")
    parser.add_argument("--seed", type=int, default=101, help="of the simulation")
    parser.add_argument("--epochs", type=int, default=NetworkRecipe().epochs)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    begun = begin("taggers of constituents, boosted trees and numbers of tracks")
    recipe = NetworkRecipe(epochs=options.epochs)
    make = partial(simulate_dijets, SAMPLE, options.samples / SAMPLE, options.events, seed=options.seed)
    files = make(files=options.files, workers=options.workers, constituents=True)
    data = simulate_toy(options.output.parent / "tagger_data", 1000, kind="data", dataset="data")  # required, not used
    samples = {"nominal": InputSample("nominal", tuple(files)), "data": InputSample("data", tuple(data), "data")}
    configuration = Configuration(options.output.parent / "tagger_store", samples)
    settings = RunSettings("processes", options.workers)
    jets, read_constituents = training_jets(configuration, settings, lambda what, total: nullcontext(lambda: None))
    every = read_constituents()
    scores = {}
    for name, constituents in (("constituents", every), ("tracks", every.only(every.charged))):
        weights = options.output.parent / f"{name}.safetensors"
        if weights.exists():
            scores[name] = network_scores(weights, jets, constituents)
        else:
            scores[name] = train_network_on(jets, constituents, weights, 1, recipe, print_loss)
    scores["boosted"] = boosted_scores(jets)
    result = performance(jets, scores)

    gains = result.gain()
    boosted = Reference("boosted trees", result.rejection["boosted"].value)
    auc = Reference("boosted trees", result.auc["boosted"])
    figures = []
    for name in ("constituents", "tracks", "n_trk"):
        rejection = result.rejection[name]
        figures.append(Figure(f"{name}: gluon rejection", rejection.value, "", "higher", boosted, rejection.error))
        figures.append(Figure(f"{name}: AUC", result.auc[name], "", "higher", auc))
    ratios = {f"{name} over boosted trees": gains[name] for name in ("constituents", "tracks")}
    ratios["with over without neutral constituents"] = result.gain("tracks")["constituents"]
    figures += [Figure(name, ratio.value, "", "higher", spread=ratio.error) for name, ratio in ratios.items()]
    write_result(options.output, begun, figures, jets=result.n_jets, held_out=result.n_held_out)


def print_loss(loss: float) -> None:
    CONSOLE.print(f"mean loss of the epoch: {loss:.4f}")


if __name__ == "__main__":
    main()
