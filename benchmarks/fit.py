"""The track fit: pulls, resolution beside the Kalman fit of ACTS on the same tracks, and its cost beside finding.

    python benchmarks/fit.py [FILES] [--max-events 4] [--degradation none default]

Tracks are those of `module_map` that match a particle by double majority. Widths are those of the core: half of the
range that holds the middle 68 %. Cost is processor time on one thread, of the second call on each event.

A second table compares the fit with and without rejection of outliers, on the tracks that have at least seven hits
before it. *Wrong hit*: a hit of another particle than that of most hits. *Far off*: a parameter by more than five
standard deviations, among tracks that match a selected particle. Efficiency and fakes are those of `evaluate`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from time import process_time
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from diagnostics import PARAMETER_NAMES, FitScores, core_width, joined, score_fits
from harness import CONSOLE, existing, options_of, print_header, report, selection_of
from kalman_fit import fit_tracks
from numpy import ndarray
from samples import DEGRADATIONS, degraded, take

from beampipe.events import MAX_OUTLIERS, FitStatus, TrackParameters, Tracks
from beampipe.terminal import make_table
from beampipe.tracking import Event, Selection, compare, load_pipeline
from beampipe.tracking.acts.sequencer import FittedTracks
from beampipe.tracking.evaluation.matching import MIN_TRACK_HITS, Candidates, match
from beampipe.tracking.evaluation.results import Proportion, Quality
from beampipe.tracking.loading import load_track_fitter
from beampipe.tracking.truth import contributions, truth_of

FIELD: Final = 2.0
ETA: Final = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
PT: Final = (1.0, 1.5, 3.0, 6.0, 1000.0)


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

    seconds: float = 0.0
    tracks: int = 0
    wrong_hit: int = 0
    suspect: int = 0
    far_off: int = 0
    compared: int = 0
    reduced_chi2: list[ndarray] = field(default_factory=list)
    quality: list[Quality] = field(default_factory=list)

    def add(self, event: Event, found: Tracks, fitted: Tracks, selection: Selection) -> None:
        """Add one event: tracks as they were found, and after the fit."""
        fits = fitted.parameters
        assert fits is not None
        counted = np.bincount(found.track_id[found.track_id >= 0], minlength=found.n_tracks) >= MIN_TRACK_HITS
        matches = match(Candidates.of(fitted), contributions(truth_of(event)), 1)
        self.tracks += int(np.count_nonzero(counted))
        self.wrong_hit += int(np.count_nonzero(counted[matches.track] & (matches.n_shared < matches.n_hits)))
        self.suspect += int(np.count_nonzero(counted & (fits.status == FitStatus.SUSPECT)))
        self.reduced_chi2.append((fits.chi2 / fits.ndf)[counted & (fits.status == FitStatus.FITTED)])
        pull = score_fits(event, fitted, fits, FIELD, selection).pull
        self.compared += len(pull)
        self.far_off += int(np.count_nonzero((np.abs(pull) > 5).any(axis=1)))
        self.quality.append(compare(fitted, event, selection=selection).finders[0].double)
        self.seconds += fitted.seconds["fit"]

    def figures(self) -> dict[str, float]:
        """Shares, means, and the time of an event."""
        efficiency, fakes = (
            sum((getattr(quality, name) for quality in self.quality), Proportion()) for name in ("efficiency", "fakes")
        )
        return {
            "tracks": self.tracks,
            "with a wrong hit": self.wrong_hit / self.tracks,
            "suspect": self.suspect / self.tracks,
            "mean chi2/ndf": float(np.concatenate(self.reduced_chi2).mean()),
            "far off": self.far_off / self.compared,
            "efficiency": efficiency.value,
            "fakes": fakes.value,
            "ms an event": 1e3 * self.seconds / len(self.quality),
        }


def main() -> None:
    parser = options_of("fit", __doc__, samples=["test60", "test200"], pipelines=["module_map"], max_events=4)
    parser.add_argument(
        "--degradation", nargs="+", choices=DEGRADATIONS, default=["none", "default"], help="what the hits lose"
    )
    options = parser.parse_args()
    options.threads = 1
    begun = print_header("fit", options)
    body: list[dict[str, Any]] = []
    for path in existing(options):
        for level in options.degradation:
            events = degraded(take(path, options.max_events), DEGRADATIONS[level], options.seed)
            body.append(
                {"file": path, "degradation": level, **shown(path, level, measured(events, selection_of(options)))}
            )
            report(options, begun, {"samples": body, "selection": str(selection_of(options))})


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


def shown(path: Path, level: str, run: Run) -> dict[str, Any]:
    """Print the table of one file and return its figures."""
    ours, theirs = joined(run.ours), joined(run.theirs)
    both = ours.fitted & theirs.fitted
    table = make_table(
        f"{path.stem}, degradation {level}: {len(ours)} tracks",
        ("tracks",),
        ("number", *(f"{name.partition(' ')[0]}: mean, width, of ACTS" for name in PARAMETER_NAMES), "chi2/ndf"),
        caption="pulls: mean and width of the core; then resolution over that of ACTS's Kalman fit of the same tracks",
    )
    bins = {"all": np.ones(len(ours), np.bool_)}
    bins |= {f"|eta| {low:g}-{high:g}": inside(np.abs(ours.eta), low, high) for low, high in pairwise(ETA)}
    bins |= {f"pT {low:g}-{high:g} GeV": inside(ours.pt, low, high) for low, high in pairwise(PT)}
    rows = {
        name: figures(ours.take(keep & both), theirs.take(keep & both)) for name, keep in bins.items() if keep.any()
    }
    for name, row in rows.items():
        columns = zip(row["pull_mean"], row["pull_width"], row["resolution_of_acts"], strict=True)
        cells = (f"{mean:+.3f} {width:.3f} {ratio:.3f}" for mean, width, ratio in columns)
        table.add_row(name, f"{row['tracks']}", *cells, f"{row['reduced_chi2']:.3f}")
    CONSOLE.print(table)
    share = run.fitting / run.finding
    n = len(run.ours)
    CONSOLE.print(
        f"fit: {1e3 * run.fitting / n:.1f} ms an event, {1e6 * run.fitting / run.tracks:.1f} us a track,"
        f" {share:.1%} of finding ({1e3 * run.finding / n:.0f} ms); Kalman fit of ACTS {1e3 * run.kalman / n:.0f} ms;"
        f" without fit: {np.count_nonzero(~ours.fitted)} ours, {np.count_nonzero(~theirs.fitted)} of ACTS",
        markup=False,
    )
    rejection = {reject: outliers.figures() for reject, outliers in run.outliers.items()}
    outliers = make_table("rejection of outliers", ("fit",), tuple(rejection[True]))
    for reject, row in rejection.items():
        outliers.add_row("with" if reject else "without", *(f"{value:.4g}" for value in row.values()))
    CONSOLE.print(outliers)
    times = {"fit_s": run.fitting, "finding_s": run.finding, "kalman_s": run.kalman, "share_of_finding": share}
    return {
        "events": n,
        "found_tracks": run.tracks,
        **times,
        "bins": rows,
        "outliers": rejection[True],
        "all_hits": rejection[False],
    }


def inside(values: ndarray, low: float, high: float) -> ndarray:
    return np.asarray((values >= low) & (values < high))


def figures(ours: FitScores, theirs: FitScores) -> dict[str, Any]:
    """Pulls, momentum and resolution of the same tracks."""
    return {
        "tracks": len(ours),
        "pull_mean": ours.pull_mean.tolist(),
        "pull_width": core_width(ours.pull).tolist(),
        "pull_mean_acts": theirs.pull_mean.tolist(),
        "pull_width_acts": core_width(theirs.pull).tolist(),
        "momentum_pull": ours.momentum_pull,
        "resolution": core_width(ours.residual).tolist(),
        "resolution_of_acts": (core_width(ours.residual) / core_width(theirs.residual)).tolist(),
        "reduced_chi2": float(np.median(ours.reduced_chi2)),
    }


if __name__ == "__main__":
    main()
