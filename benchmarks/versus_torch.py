"""Our pipeline against the same networks written down plainly in PyTorch: same weights, equal labels, then the ratio.

    python benchmarks/versus_torch.py [FILES] [--max-events 2] [--threads 2]

Measured with the given number of threads on both sides, then with one. The plain side (`plain_torch.py`) concatenates
and applies the networks, takes neighbours from scipy's k-d tree and components from scipy. Both sides share one
implementation of the pair features, our native one, which no plain program would have: the ratio is smaller for it.
Sums in another order may move a score across its cut; labels are compared as tracks, hit for hit, and a benchmark whose
labels differ on more than one hit in a thousand fails.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from diagnostics import hits_apart
from harness import CONSOLE, EVENTS, existing, options_of, print_header, report
from plain_torch import PlainTorch
from rich.table import Table
from samples import DEGRADATIONS, degraded, take

from beampipe.errors import FileError
from beampipe.tracking import kernels, stages
from beampipe.tracking.catalogue import PIPELINES
from beampipe.tracking.kernels.features import on_chains
from beampipe.tracking.kernels.reference import number_by_first_hit
from beampipe.tracking.kernels.weights import load_networks
from beampipe.tracking.loading import DEFAULT_MODEL_FOLDER, load_pipeline
from beampipe.tracking.models import weight_file
from beampipe.tracking.pipeline import Pipeline

SAMPLES = {"test200": ("exatrkx", 3, 8.0), "test60": ("exatrkx", 6, 4.0), "test0": ("exatrkx", 40, 3.0)}
"""File -> pipeline, events, ratio wanted. A pipeline of one pass: the plain side knows no other."""

TOLERATED = 1e-3
LONG = 4.0
"""Seconds from which a call is long enough to be timed once."""


def main() -> None:
    parser = options_of("versus_torch", __doc__, samples=list(SAMPLES), pipelines=["exatrkx"])
    parser.add_argument("--degradation", choices=DEGRADATIONS, default="default")
    parser.add_argument("--repeat", type=int, default=3, help="calls per event and side; the fastest counts")
    parser.add_argument("--hits", type=int, nargs=2, default=[200, 450], help="size of the small events of test0")
    options = parser.parse_args()
    begun = print_header("against plain PyTorch", options)
    rows: list[dict[str, Any]] = []
    for path in existing(options):
        for threads in sorted({options.threads, 1}, reverse=True):
            row = compare(path, threads, options)
            if row is not None:
                rows.append(row)
                report(options, begun, {"rows": rows})
    CONSOLE.print(table_of(rows))
    worst = max((row["hits_apart"] for row in rows), default=0.0)
    assert worst <= TOLERATED, f"labels differ on {worst:.2%} of the hits"


def compare(path: Path, threads: int, options: argparse.Namespace) -> dict[str, Any] | None:
    """Both sides on some events of one file, event by event in turn."""
    name, n_events, wanted = SAMPLES.get(path.stem, (options.pipelines[0], 4, None))
    try:
        ours, plain = sides(name, threads)
    except FileError as error:
        CONSOLE.print(f"{path.stem}: {options.pipelines[0]} in place of {name}: {error}", markup=False)
        name = options.pipelines[0]
        try:
            ours, plain = sides(name, threads)
        except FileError as other:
            CONSOLE.print(f"skipped: {path.stem}: {other}", markup=False)
            return None
    events = degraded(take(path, None), DEGRADATIONS[options.degradation], options.seed)
    if path.parent == EVENTS and path.stem == "test0":
        low, high = options.hits
        events = (event for event in events if low <= len(event.hits) <= high)
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "plain": []}
    stage_seconds: dict[str, list[dict[str, float]]] = {"ours": [], "plain": []}
    hits: list[int] = []
    apart: list[int] = []
    for event in islice(events, options.max_events or n_events):
        if not hits:  # warm up both
            ours.find(event.hits)
            plain.find(event.hits)
        result, time, cpu = fastest(lambda hits=event.hits: ours.find(hits), options.repeat)
        (labels, seconds), plain_time, plain_cpu = fastest(lambda hits=event.hits: plain.find(hits), options.repeat)
        times["ours"].append((time, cpu))
        times["plain"].append((plain_time, plain_cpu))
        stage_seconds["ours"].append(result.seconds)
        stage_seconds["plain"].append(seconds)
        hits.append(len(event.hits))
        same = np.array_equal(number_by_first_hit(result.track_id), number_by_first_hit(labels))
        apart.append(0 if same else hits_apart(result.track_id, labels))
    if not hits:
        CONSOLE.print(f"skipped: {path}: no event of the size asked for", markup=False)
        return None
    ratios = [(p[0] / o[0], p[1] / o[1]) for o, p in zip(times["ours"], times["plain"], strict=True)]
    return {
        "sample": path.stem,
        "degradation": options.degradation,
        "pipeline": name,
        "threads": threads,
        "events": len(hits),
        "hits": float(np.median(hits)),
        "ours_ms": 1e3 * float(np.median([wall for wall, _ in times["ours"]])),
        "plain_ms": 1e3 * float(np.median([wall for wall, _ in times["plain"]])),
        "ratio": float(np.median([wall for wall, _ in ratios])),
        "cpu_ratio": float(np.median([cpu for _, cpu in ratios])),
        "wanted": wanted,
        "events_equal": sum(n == 0 for n in apart),
        "hits_apart": sum(apart) / sum(hits),
        "stages_ms": {side: medians(per_event) for side, per_event in stage_seconds.items()},
    }


def sides(name: str, threads: int) -> tuple[Pipeline, PlainTorch]:
    """The pipeline and its plain counterpart, with the same weights and cuts."""
    ours = load_pipeline(name, threads=threads)
    pairs = next(stage for _, stage in ours.stages if isinstance(stage, stages.PairEdges))
    label = next(stage for _, stage in ours.stages if isinstance(stage, stages.ConnectComponents))

    def pair_features(position: np.ndarray, edge_index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        triplets, chi2 = kernels.triplets(position, edge_index, pairs.windows, pairs.threads)
        features = kernels.pair_features(triplets, chi2, edge_index.shape[1])
        stays = on_chains(features, pairs.min_hits)
        return np.flatnonzero(stays), features[stays]

    networks = load_networks(weight_file(DEFAULT_MODEL_FOLDER, str(PIPELINES[name].networks)))
    return ours, PlainTorch(networks, pair_features, label.min_hits, threads)


def fastest(call: Callable[[], Any], repeat: int) -> tuple[Any, float, float]:
    """Result, smallest wall time and smallest processor time [s]; a long call is not repeated."""
    walls, cpus, result = [], [], None
    for _ in range(repeat):
        wall, cpu = perf_counter(), process_time()
        result = call()
        walls.append(perf_counter() - wall)
        cpus.append(process_time() - cpu)
        if walls[-1] > LONG:
            break
    return result, min(walls), max(min(cpus), 1e-6)


def medians(per_event: list[dict[str, float]]) -> dict[str, float]:
    return {stage: 1e3 * float(np.median([item[stage] for item in per_event])) for stage in per_event[0]}


def table_of(rows: list[dict[str, Any]]) -> Table:
    table = Table(
        title="time per event against plain PyTorch, fastest of some calls, median over events; threads: of each side",
        caption="hits apart: on a track that the other side does not have, hit for hit; ratio: plain / ours, wall time;"
        " cpu ratio: of processor time",
    )
    for column in ("sample", "pipeline", "threads", "events", "hits", "ours ms", "plain ms", "ratio", "cpu ratio"):
        table.add_column(column, justify="left" if column in ("sample", "pipeline") else "right")
    for column in ("wanted", "events equal", "hits apart"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            f"{row['sample']} ({row['degradation']})",
            row["pipeline"],
            f"{row['threads']}",
            f"{row['events']}",
            f"{row['hits']:.0f}",
            f"{row['ours_ms']:.2f}",
            f"{row['plain_ms']:.2f}",
            f"{row['ratio']:.2f}",
            f"{row['cpu_ratio']:.2f}",
            "-" if row["wanted"] is None else f"{row['wanted']:g}",
            f"{row['events_equal']} of {row['events']}",
            f"{row['hits_apart']:.2e}",
        )
    return table


if __name__ == "__main__":
    main()
