"""Detectors that nobody here made: windows learned from events of a layout, beside the best settings of ACTS on it.

    python benchmarks/foreign_layouts.py [LAYOUTS] [--train 30] [--test 10] [--mu 60]

Each layout is a TOML file of `beampipe tracking simulate --detector`. Training and test events are simulated once and
kept under ``runs/events``; they share no collision. ACTS gets seeds from the volumes and radii of `SEEDS`, which were
chosen by hand: more volumes find more and cost more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import beampipe.terminal.scripts  # noqa: F401

from harness import CONSOLE, EVENTS, figures, options_of, print_header, report

from beampipe.events import Event
from beampipe.simulation.acts_geometry import build_detector
from beampipe.simulation.degradation import Degradation, degrade
from beampipe.simulation.detector import Detector, DetectorLayout, detector_modules, read_layout
from beampipe.simulation.primaries import EventGenerator
from beampipe.simulation.run import simulate_events
from beampipe.tracking.acts import ACTS_EFFICIENT, ActsTrackFinder
from beampipe.tracking.acts.sequencer import ActsDetector
from beampipe.tracking.catalogue import Walk, pipeline_spec
from beampipe.tracking.evaluation.report import print_evaluation
from beampipe.tracking.evaluation.scoring import evaluate
from beampipe.tracking.finder import TrackFinder
from beampipe.tracking.formats import open_events
from beampipe.tracking.formats.parquet import write_simulated
from beampipe.tracking.loading import build_pipeline
from beampipe.tracking.training.windows import WindowConfig, learn_windows
from beampipe.tracking.truth import Selection
from beampipe.tracking.windows import save_windows

LAYOUTS: Final = (Path("examples/detectors/compact.toml"), Path("examples/detectors/longbar.toml"))
SEEDS: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "compact": {
        "pixels": {"seed_volumes": (2, 3, 4), "delta_r_max": 130.0, "seed_r_max": 200.0, "impact_max": 2.5},
        "pixels, inner strips": {"seed_volumes": (2, 3, 4, 5, 6, 7), "delta_r_max": 180.0, "seed_r_max": 360.0},
    },
    "longbar": {
        "inner barrel": {"seed_volumes": (3,), "delta_r_max": 130.0, "seed_r_max": 200.0, "impact_max": 2.5},
        "all": {"seed_volumes": (3, 5, 6, 7), "delta_r_max": 260.0, "seed_r_max": 450.0, "impact_max": 2.5},
    },
}


class Fewest(NamedTuple):
    """Layers on which a particle must have hits to count, and hits from which a track is a candidate."""

    layers: int = 7
    hits: int = 7


FEWEST: Final = {"longbar": Fewest(6, 5)}
"""For detectors in which the usual seven are all that there are: there, one lost hit would excuse any finder."""

TAUGHT: Final = (Degradation(0.0, 0.0, 0.0), Degradation(0.02, 0.01, 0.0), Degradation(0.05, 0.02, 0.0))


def main() -> None:
    parser = options_of("foreign_layouts", __doc__, samples=[], pipelines=["module_map"])
    parser.set_defaults(events=list(LAYOUTS))
    parser.add_argument("--train", type=int, default=30, help="events to learn from")
    parser.add_argument("--test", type=int, default=10, help="events to find tracks in")
    parser.add_argument("--mu", type=float, default=60.0, help="pile-up collisions per event")
    options = parser.parse_args()
    begun = print_header("foreign_layouts", options)
    body: dict[str, Any] = {"layouts": []}
    for path in options.events:
        layout = read_layout(path)
        train = simulated(layout, "train", options.train, options.mu, 3)
        test = simulated(layout, "test", options.test, options.mu, 11)
        modules, fewest = detector_modules(layout), FEWEST.get(layout.name, Fewest())
        with tempfile.TemporaryDirectory() as folder:
            finders: dict[str, TrackFinder] = {
                "module_map": learned(layout, train, fewest, Path(folder), options.threads)
            }
            finders |= acts_finders(layout, fewest)
            result = evaluate(
                finders,
                (
                    degrade(event, seed=options.seed, run_seed=options.seed, modules=modules)
                    for event in open_events(test)
                ),
                sample=f"{layout.name}, mu = {options.mu:g}, default degradation",
                selection=Selection(min_pt=options.min_pt, min_layers=fewest.layers),
                min_track_hits=fewest.hits,
                threads=options.threads,
            )
        print_evaluation(result, CONSOLE)
        body["layouts"].append({"file": path, "definition": result.definition, "finders": figures(result)})
        report(options, begun, body)


def simulated(layout: DetectorLayout, kind: str, n: int, mu: float, seed: int) -> Path:
    """Events of a layout, made unless they are there."""
    path = EVENTS / f"{layout.name}-mu{mu:g}-{kind}{n}.parquet"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        generator = EventGenerator(pileup=mu, pool_size=20_000 if kind == "train" else 2000).at(layout.vertex)
        write_simulated(path, simulate_events(n, generator, Detector.of(layout), seed=seed))
    return path


def learned(layout: DetectorLayout, train: Path, fewest: Fewest, folder: Path, threads: int) -> TrackFinder:
    """The pipeline of windows, its windows learned here."""
    modules = detector_modules(layout)

    def events() -> Iterator[Event]:
        for k, event in enumerate(open_events(train)):
            yield degrade(event, TAUGHT[k % len(TAUGHT)], seed=k, run_seed=k, modules=modules)

    # A curvature is a momentum in a field; few events have few tracks in each triple of layers.
    usual = WindowConfig()
    config = replace(usual, kappa_max=usual.kappa_max * abs(layout.field_T) / 2, min_triplets=8)
    save_windows(learn_windows(events(), config), folder / "module_map.safetensors")
    spec = replace(pipeline_spec("module_map"), segmentation=Walk(min_hits=min(6, fewest.hits), penalty=0.5))
    return build_pipeline(spec, threads, folder)


def acts_finders(layout: DetectorLayout, fewest: Fewest) -> dict[str, TrackFinder]:
    """ACTS with each choice of seeds for the layout."""
    if layout.name not in SEEDS:
        return {}
    where = ActsDetector(layout.field_T, build_detector(layout).geometry, f"the detector {layout.name!r}")
    tuned = replace(
        ACTS_EFFICIENT,
        field_z=layout.field_T,
        seed_z_max=2700.0,
        middle_r_max=300.0,
        measurements_min=fewest.hits,
    )
    return {
        f"ACTS, seeds: {name}": ActsTrackFinder(replace(tuned, **seeds), where=where)
        for name, seeds in SEEDS[layout.name].items()
    }


if __name__ == "__main__":
    main()
