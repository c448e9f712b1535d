"""Pipelines of several passes: what each pass adds, in efficiency, in fakes and in time.

    python benchmarks/passes.py [FILES] [--max-events 4] [--pipelines module_map_soft module_map_displaced]

The figures of a pipeline stand beside those of the passes before it. Added tracks are those of its last pass alone.
The TrackML score is that of primary particles with pT > 0.3 GeV; its formula stands below the table. Times are
processor times of one thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from time import process_time
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from harness import CONSOLE, existing, options_of, print_header, report
from numpy import ndarray
from samples import DEGRADATIONS, degraded, sample_name, take

from beampipe.arrays import Int64
from beampipe.terminal import make_table
from beampipe.tracking import PIPELINES, Event, build_pipeline
from beampipe.tracking.catalogue import PipelineSpec
from beampipe.tracking.evaluation.matching import FORMULA, Candidates, hit_weights, match, weight_found
from beampipe.tracking.truth import HEADLINE, Contributions, Selection, contributions, select_particles, truth_of

SOFT: Final = replace(HEADLINE, min_pt=0.3)
CLASSES: Final[Mapping[str, Selection]] = {
    "pT > 1": HEADLINE,
    "pT > 0.3": SOFT,
    "2-100 mm": HEADLINE.displaced(),
    "5-10 mm": replace(HEADLINE, min_origin=5.0, max_origin=10.0, primary_only=False),
}
COLUMNS: Final = ("pipeline", *CLASSES, "0.3 < pT < 1", "fakes", "fakes added", "TrackML", "time [s]", "time, relative")


def main() -> None:
    pipelines = ["module_map_soft", "module_map_displaced"]
    options = options_of("passes", __doc__, samples=["test200"], pipelines=pipelines, max_events=4).parse_args()
    begun = print_header("passes", options)
    body: dict[str, Any] = {"samples": []}
    levels = DEGRADATIONS["default"]
    for path in existing(options):
        events = list(degraded(take(path, options.max_events), levels, options.seed))
        specs = dict.fromkeys(spec for name in options.pipelines for spec in PIPELINES[name].passes)
        rows = [row_of(spec, events) for spec in specs]
        for row in rows:
            row["time, relative"] = row["time [s]"] / rows[0]["time [s]"]
        table = make_table(f"{sample_name(path, levels, options.seed)}: {len(events)} events", COLUMNS)
        for row in rows:
            table.add_row(*(f"{row[name]:.4f}" if name != "pipeline" else row[name] for name in COLUMNS))
        table.caption = FORMULA
        CONSOLE.print(table)
        body["samples"].append({"sample": path.stem, "rows": rows})
    report(options, begun, body)


def row_of(spec: PipelineSpec, events: Iterable[Event]) -> dict[str, Any]:
    """Figures of a pipeline over all events."""
    whole = build_pipeline(spec, 1)
    before = None if spec.after is None else build_pipeline(spec.after, 1, check=False)
    sums: dict[str, ndarray] = {}
    seconds = 0.0
    for event in events:
        begun = process_time()
        tracks = whole.find(event.hits)
        seconds += process_time() - begun
        earlier = None if before is None else before.find(event.hits).track_id
        for name, counts in counts_of(event, tracks.track_id, earlier).items():
            sums[name] = sums.get(name, np.zeros(2)) + counts
    sums["0.3 < pT < 1"] = sums["pT > 0.3"] - sums["pT > 1"]
    shares = {name: float(got / of) if of else float("nan") for name, (got, of) in sums.items()}
    return {"pipeline": spec.name, **shares, "time [s]": seconds}


def counts_of(
    event: Event, track_id: Int64[ndarray, " n_hits"], earlier: Int64[ndarray, " n_hits"] | None
) -> dict[str, tuple[float, float]]:
    """What was found of what is there, and fakes of candidates, by name.

    Args:
        event: event with truth.
        track_id: labels of all passes.
        earlier: labels of the passes before the last one; None if there are none.
    """
    known = contributions(truth_of(event))
    candidates = Candidates.from_labels(track_id)
    matches = match(candidates, known)
    counts: dict[str, tuple[float, float]] = {}
    for name, selection in CLASSES.items():
        wanted = rows_of(event, known, selection)
        counts[name] = (int(matches.found_double[wanted].sum()), len(wanted))
    of_last = np.ones(int(track_id.max(initial=-1)) + 1, np.bool_)
    if earlier is not None:
        of_last[track_id[earlier >= 0]] = False
        assert len(of_last) == int(earlier.max(initial=-1)) + 1 + of_last.sum(), "a pass changed the tracks before it"
    fake = ~matches.double
    counts["fakes"] = (int(fake.sum()), len(matches))
    counts["fakes added"] = (int((fake & of_last[matches.track]).sum()), int(of_last[matches.track].sum()))
    weights = hit_weights(event, known, rows_of(event, known, SOFT))
    counts["TrackML"] = (weight_found(weights, known, candidates), weights.total)
    return counts


def rows_of(event: Event, known: Contributions, selection: Selection) -> Int64[ndarray, " n"]:
    """Rows in `known` of the particles of a selection."""
    truth = truth_of(event)
    return known.row(truth.particles.particle_id[select_particles(event, selection, known)])


if __name__ == "__main__":
    main()
