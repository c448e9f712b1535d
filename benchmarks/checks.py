"""Checks that need real events: order of the hits, scrambled truth, our scoring against that of ACTS, edges by stage.

    python benchmarks/checks.py [FILES] [--max-events 1]

Fails if hits in another order give other tracks, if scrambled truth is found, or if ACTS counts other numbers on the
same tracks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from diagnostics import EdgeScore, edge_table, permuted_hits_check, score_stages, scrambled_truth
from harness import (
    CONSOLE,
    Finders,
    existing,
    open_finders,
    options_of,
    print_header,
    report,
    selection_of,
)
from numpy import ndarray
from rich.table import Table
from samples import DEGRADATIONS, degraded, take

from beampipe.events import Event
from beampipe.tracking.evaluation.matching import MIN_TRACK_HITS, Candidates, match
from beampipe.tracking.evaluation.scoring import evaluate, tracks_of
from beampipe.tracking.pipeline import Pipeline
from beampipe.tracking.truth import contributions, select_particles

sys.path.insert(0, str(Path(__file__).parents[1]))  # the truth matching of ACTS stands with the tests
from tests.tracking.acts.truth_matching import acts_truth_matching


def main() -> None:
    pipelines = ["module_map", "exatrkx", "exatrkx_walk", "acts"]
    parser = options_of("checks", __doc__, samples=["test60"], pipelines=pipelines, max_events=1)
    parser.add_argument("--degradation", choices=DEGRADATIONS, default="default")
    options = parser.parse_args()
    begun = print_header("checks", options)
    finders = open_finders(options)
    rows: list[dict[str, Any]] = []
    edges: dict[str, Any] = {}
    for path in existing(options):
        chosen = degraded(take(path, options.max_events), DEGRADATIONS[options.degradation], options.seed)
        events = list(chosen)
        rows += [check(finders, name, path, events, options) for name in finders.by_name]
        for name, finder in finders.by_name.items():
            if isinstance(finder, Pipeline):
                scores = stage_scores(finder, events, options)
                CONSOLE.print(f"{name}, {path.stem}, {len(events)} events, true edges: of {selection_of(options)}")
                CONSOLE.print(edge_table(scores))
                edges[name] = {stage: asdict(score) for stage, score in scores.items()}
    CONSOLE.print(table_of(rows, options))
    report(options, begun, {"rows": rows, "edges": edges})
    failed = [row["finder"] for row in rows if not row["passed"]]
    assert not failed, f"failed: {', '.join(failed)}"


def check(finders: Finders, name: str, path: Path, events: list[Event], options: argparse.Namespace) -> dict[str, Any]:
    """All checks of one finder."""
    finder = finders.by_name[name]
    order = permuted_hits_check(finder, events[0].hits, options.seed)
    blind = evaluate(
        {name: finder},
        [scrambled_truth(events[0], options.seed)],
        sample="scrambled",
        selection=selection_of(options),
        warm_up=0,
    )
    scrambled = blind.finders[0].double.efficiency
    ours, theirs = count_both_ways(finder, events, options)
    return {
        "finder": name,
        "file": path.stem,
        "events": len(events),
        "hits": len(events[0].hits),
        "permuted_hits_changed": order.n_changed,
        "scrambled_efficiency": scrambled.value,
        "ours": ours,
        "acts": theirs,
        "passed": order.same and scrambled.value < 0.01 and ours == theirs,
    }


def count_both_ways(
    finder: Any, events: list[Event], options: argparse.Namespace
) -> tuple[dict[str, int], dict[str, int]]:
    """Particles asked for and found, candidates, fakes and duplicates: as we count them and as ACTS counts them."""
    lists, request, everyone = [], [], []
    ours = dict.fromkeys(_COUNTS, 0)
    for event in events:
        assert event.truth is not None
        candidates = Candidates.of(tracks_of(finder, event.hits))
        known = contributions(event.truth)
        chosen = select_particles(event, selection_of(options), known)
        rows = known.row(event.truth.particles.particle_id[chosen])
        order = np.argsort(candidates.track, kind="stable")
        split = np.split(candidates.hit[order], np.searchsorted(candidates.track[order], range(1, candidates.n_tracks)))
        lists.append([hits for hits in split if len(hits) >= MIN_TRACK_HITS])
        request.append(chosen)
        everyone.append(np.ones(len(chosen), np.bool_))
        matches = match(candidates, known)
        ours["candidates"] += len(matches)
        ours["asked"] += len(rows)
        for rule, double in (("single", False), ("double", True)):
            result = matches.found_double if double else matches.found_single
            ours[f"found_{rule}"] += int(np.count_nonzero(result[rows]))
            ours[f"fakes_{rule}"] += matches.n_fakes(double)
            ours[f"duplicates_{rule}"] += matches.n_duplicates(double)
    theirs = dict.fromkeys(_COUNTS, 0)
    for rule, double in (("single", False), ("double", True)):
        of_asked = acts_truth_matching(events, lists, request, double)
        of_all = acts_truth_matching(events, lists, everyone, double)
        theirs["candidates"], theirs["asked"] = of_all.tracks, of_asked.particles
        theirs[f"found_{rule}"], theirs[f"fakes_{rule}"] = of_asked.found, of_all.fakes
        theirs[f"duplicates_{rule}"] = of_all.duplicates
    return ours, theirs


_COUNTS = (
    "candidates",
    "asked",
    "found_single",
    "found_double",
    "fakes_single",
    "fakes_double",
    "duplicates_single",
    "duplicates_double",
)


def stage_scores(pipeline: Pipeline, events: list[Event], options: argparse.Namespace) -> dict[str, EdgeScore]:
    """Edge efficiency and purity after each stage that leaves a graph, pooled over events."""
    total: dict[str, EdgeScore] = {}
    for event in events:
        graphs: dict[str, ndarray] = {}

        def keep(name: str, arrays: Mapping[str, Any] | None, graphs: dict[str, ndarray] = graphs) -> None:
            edge_index = None if arrays is None or name == "gnn" else arrays.get("edge_index")
            if arrays is None or edge_index is None:
                return
            graphs[name] = edge_index
            if "track_id" in arrays:
                inner, outer = arrays["track_id"][edge_index]
                graphs[name] = edge_index[:, (inner == outer) & (inner >= 0)]

        pipeline.staged().find(event.hits, hook=keep)
        for stage_name, score in score_stages(event, graphs, selection_of(options)).items():
            total[stage_name] = total.get(stage_name, EdgeScore()) + score
    return total


def table_of(rows: list[dict[str, Any]], options: argparse.Namespace) -> Table:
    table = Table(
        title="checks on real events",
        caption=f"first event: hits in another order, scrambled truth; all: counts of ours / of ACTS on the same tracks"
        f" (>= {MIN_TRACK_HITS} hits). Particles: {selection_of(options)}",
    )
    table.add_column("finder")
    for name in ("hits", "permuted: hits changed", "scrambled: efficiency", *(c.replace("_", " ") for c in _COUNTS)):
        table.add_column(name, justify="right")
    table.add_column("passed")
    for row in rows:
        table.add_row(
            row["finder"],
            f"{row['hits']}",
            f"{row['permuted_hits_changed']}",
            f"{row['scrambled_efficiency']:.4f}",
            *(f"{row['ours'][count]} / {row['acts'][count]}" for count in _COUNTS),
            "yes" if row["passed"] else "[red]no[/red]",
        )
    return table


if __name__ == "__main__":
    main()
