"""The track fit: pulls, resolution beside the Kalman fit of ACTS on the same tracks, and its cost beside finding.

    python benchmarks/fit.py [FILES] [--max-events 4] [--degradation none default]

Tracks are those of `module_map` that match a particle by double majority. Widths are those of the core: half of the
range that holds the middle 68 %. Cost is processor time on one thread, of the second call on each event.

The fit is also compared with and without rejection of outliers, on the tracks that have at least seven hits before it.
*Wrong hit*: a hit of another particle than that of most hits. *Far off*: a parameter by more than five standard
deviations, among tracks that match a selected particle.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from time import process_time
from typing import Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from harness import begin_events, existing, options_of, selection_of
from recording import Figure, Reference, write_result
from samples import DEGRADATIONS, degraded, take
from tests.tracking.diagnostics import PARAMETER_NAMES, FitScores, core_width, joined, score_fits
from tests.tracking.kalman_fit import fit_tracks

from beampipe.events import MAX_OUTLIERS, FitStatus, TrackParameters, Tracks
from beampipe.tracking import Event, Selection, load_pipeline
from beampipe.tracking.acts.sequencer import FittedTracks
from beampipe.tracking.evaluation.matching import MIN_TRACK_HITS, Candidates, match
from beampipe.tracking.loading import load_track_fitter
from beampipe.tracking.truth import contributions, truth_of

FIELD: Final = 2.0


@dataclass
class Run:
    """What was measured on the events of one file."""

    ours: list[FitScores] = field(default_factory=list)
    theirs: list[FitScores] = field(default_factory=list)
    finding: float = 0.0
    fitting: float = 0.0
    kalman: float = 0.0
    tracks: int = 0
    outliers: dict[bool, Rejection] = field(default_factory=lambda: {False: Rejection(), True: Rejection()})


@dataclass
class Rejection:
    """Tracks of all events, fitted with or without rejection of outliers."""

    tracks: int = 0
    wrong_hit: int = 0
    suspect: int = 0
    far_off: int = 0
    compared: int = 0

    def add(self, event: Event, found: Tracks, fitted: Tracks, selection: Selection) -> None:
        """Add one event: tracks as they were found, and after the fit."""
        fits = fitted.parameters
        assert fits is not None
        counted = np.bincount(found.track_id[found.track_id >= 0], minlength=found.n_tracks) >= MIN_TRACK_HITS
        matches = match(Candidates.of(fitted), contributions(truth_of(event)), 1)
        self.tracks += int(np.count_nonzero(counted))
        self.wrong_hit += int(np.count_nonzero(counted[matches.track] & (matches.n_shared < matches.n_hits)))
        self.suspect += int(np.count_nonzero(counted & (fits.status == FitStatus.SUSPECT)))
        pull = score_fits(event, fitted, fits, FIELD, selection).pull
        self.compared += len(pull)
        self.far_off += int(np.count_nonzero((np.abs(pull) > 5).any(axis=1)))

    def shares(self) -> dict[str, float]:
        """Shares of the tracks by what is wrong with them."""
        return {
            "tracks with a wrong hit": self.wrong_hit / self.tracks,
            "suspect fits": self.suspect / self.tracks,
            "far off": self.far_off / self.compared,
        }


def main() -> None:
    parser = options_of("fit", __doc__, samples=["test60", "test200"], pipelines=["module_map"], max_events=4)
    parser.add_argument(
        "--degradation", nargs="+", choices=DEGRADATIONS, default=["none", "default"], help="what the hits lose"
    )
    options = parser.parse_args()
    options.threads = 1
    begun = begin_events("fit", options)
    result: list[Figure] = []
    for path in existing(options):
        for level in options.degradation:
            events = degraded(take(path, options.max_events), DEGRADATIONS[level], options.seed)
            result += figures(f"{path.stem}-{level}", measured(events, selection_of(options)))
    write_result(options.output, begun, result)


def measured(events: Iterable[Event], selection: Selection) -> Run:
    """Find, fit twice, compare with the particles."""
    finder, fitter, run = load_pipeline("module_map", threads=1), load_track_fitter(threads=1), Run()
    for event in events:
        tracks = finder.find(event.hits)
        begin = process_time()
        tracks = finder.find(event.hits)
        result = process_time()
        parameters = fitter(event.hits, tracks)
        run.finding, run.fitting = run.finding + result - begin, run.fitting + process_time() - result
        for reject, outliers in run.outliers.items():
            fitted = replace(fitter, reject_outliers=reject).add(event.hits, tracks)
            outliers.add(event, tracks, fitted, selection)
        run.tracks += tracks.n_tracks
        kalman = fit_tracks(event.hits, tracks.track_id)
        run.kalman += kalman.cpu_seconds["fit"]
        run.ours.append(score_fits(event, tracks, parameters, FIELD, selection))
        run.theirs.append(score_fits(event, tracks, as_parameters(kalman, tracks.n_tracks), FIELD, selection))
    return run


def as_parameters(fitted: FittedTracks, n_tracks: int) -> TrackParameters:
    """The Kalman fits with one row per track; NaN where there is none."""
    values, covariance = np.full((n_tracks, 5), np.nan), np.full((n_tracks, 5, 5), np.nan)
    chi2, n_hits = np.full(n_tracks, np.nan), np.zeros(n_tracks, np.int64)
    status = np.full(n_tracks, FitStatus.NOT_CONVERGED, np.int8)
    row = fitted.candidate
    values[row] = fitted.values
    covariance[row], chi2[row], n_hits[row] = fitted.covariance[:, :5, :5], fitted.chi2, fitted.n_measurements
    status[row] = FitStatus.FITTED
    return TrackParameters(values, covariance, chi2, n_hits, status, np.full((n_tracks, MAX_OUTLIERS), -1))


def figures(prefix: str, run: Run) -> list[Figure]:
    """Cost of the fit, pulls, resolution beside that of ACTS for the same tracks, and what rejection does."""
    ours, theirs = joined(run.ours), joined(run.theirs)
    both = ours.fitted & theirs.fitted
    ours, theirs = ours.take(both), theirs.take(both)
    kalman = Reference("Kalman fit of ACTS", 1e3 * run.kalman / len(run.ours))
    result = [
        Figure("fit of a track", 1e6 * run.fitting / run.tracks, "us"),
        Figure("fit of an event", 1e3 * run.fitting / len(run.ours), "ms", "lower", kalman),
        Figure("fit over finding", 100 * run.fitting / run.finding, "%"),
    ]
    ratios = core_width(ours.residual) / core_width(theirs.residual)
    for label, width, ratio in zip(PARAMETER_NAMES, core_width(ours.pull), ratios, strict=True):
        name = label.partition(" ")[0]
        result.append(Figure(f"width of pulls of {name}", float(width), "", "equal"))
        result.append(Figure(f"resolution of {name} over that of ACTS", float(ratio)))
    without = run.outliers[False].shares()
    result += [
        Figure(name, share, "", "lower", Reference("without rejection", without[name]))
        for name, share in run.outliers[True].shares().items()
    ]
    return [replace(figure, name=f"{prefix}: {figure.name}") for figure in result]


if __name__ == "__main__":
    main()
