"""The track fit: pulls, resolution beside the Kalman fit of ACTS on the same tracks, and its cost beside finding.

    python benchmarks/fit.py [FILES] [--max-events 4] [--degradation none default]
    python benchmarks/fit.py --gun generic odd FOLDER [--gun-events 400]

Tracks are those of `module_map` that match a particle by double majority. Widths are those of the core: half of the
range that holds the middle 68 %. Cost is processor time on one thread, of the second call on each event.

The fit is also compared with and without rejection of outliers, on the tracks that have at least seven hits before it.
*Wrong hit*: a hit of another particle than that of most hits. *Far off*: a parameter by more than five standard
deviations, among tracks that match a selected particle.

With `--gun`, particles of 1 GeV to 1 TeV cross the detectors of tracker models, and the true hits of each are
fitted: muons, pions, electrons. Figures are the worst bin of pT and abs(eta), which fluctuates upwards, with its error
by bootstrap over tracks; all bins are in the details of the result. *Wrong charge*: muons of more than 1 TeV.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from pathlib import Path
from time import process_time
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from harness import DEGRADATIONS, begin_events, degraded, existing, options_of, selection_of, take
from numpy import ndarray
from recording import Figure, Reference, write_result
from tests.tracking.diagnostics import PARAMETER_NAMES, FitScores, TruthFinder, core_width, joined, score_fits
from tests.tracking.kalman_fit import fit_batch, fit_tracks

from beampipe.arrays import Bool
from beampipe.events import MAX_OUTLIERS, FitStatus, TrackParameters, Tracks
from beampipe.simulation.detector import Detector
from beampipe.simulation.primaries import EventGenerator, Gun
from beampipe.simulation.run import simulate_events
from beampipe.tracking import Event, Selection, load_pipeline
from beampipe.tracking.acts.layouts import acts_detector
from beampipe.tracking.acts.sequencer import FittedTracks
from beampipe.tracking.evaluation.matching import MIN_TRACK_HITS, Candidates, match
from beampipe.tracking.loading import load_track_fitter
from beampipe.tracking.models import load_model
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
    parser.add_argument("--gun", nargs="+", metavar="MODEL", help="models whose detectors single particles cross")
    parser.add_argument("--gun-events", type=int, default=400, help="events of 20 particles of each kind")
    options = parser.parse_args()
    options.threads = 1
    begun = begin_events("fit", options)
    if options.gun:
        shot = [gun_figures(model, options.gun_events, options.seed) for model in options.gun]
        bins = [entry for _, more in shot for entry in more]
        write_result(options.output, begun, [figure for figures, _ in shot for figure in figures], bins=bins)
        return
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


PARTICLES: Final = {"muon": 13, "pion": 211, "electron": 11}
PT_EDGES: Final = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
ETA_EDGES: Final = (0.0, 1.0, 2.0, 3.0)
FEWEST_TRACKS: Final = 100
"""Fewest tracks of a bin."""
STIFF: Final = 1000.0
"""Momentum [GeV] above which charges are compared."""

Bin = dict[str, Any]
"""Name of a bin, number of its tracks, and five numbers each, by parameter."""


def gun_figures(model: str, n_events: int, seed: int) -> tuple[list[Figure], list[Bin]]:
    """Single particles in the detector of a model: ours beside ACTS, in all and in bins of pT and abs(eta)."""
    layout = load_model(model).detector_layout
    where = None if layout is None else acts_detector(layout)
    fitter = load_track_fitter(model, threads=1)
    result: list[Figure] = []
    bins: list[Bin] = []
    for name, pdg in PARTICLES.items():
        gun = EventGenerator(pileup=0, hard="gun", gun=Gun(20, pdg, (PT_EDGES[0], PT_EDGES[-1]), *ETA_EDGES[::3]))
        simulated = simulate_events(n_events, gun, None if layout is None else Detector.of(layout), seed=seed)
        events = [event for event, _ in simulated]
        truth = TruthFinder()
        tracks = [truth.find(event.hits) for event in truth.watching(events)]
        field_z = float(fitter.tables.field[0])
        kalman = fit_batch([event.hits for event in events], [t.track_id for t in tracks], field_z, where=where)
        fits = [fitter(event.hits, found) for event, found in zip(events, tracks, strict=True)]
        theirs = [as_parameters(fit, found.n_tracks) for fit, found in zip(kalman, tracks, strict=True)]
        pair = tuple(
            joined([score_fits(*scored, field_z) for scored in zip(events, tracks, each, strict=True)])
            for each in (fits, theirs)
        )
        fitted = pair[0].fitted & pair[1].fitted
        prefix = f"{Path(model).name}, {name}"
        figures, more = in_bins(prefix, pair[0].take(fitted), pair[1].take(fitted), name == "muon")
        result, bins = result + figures, bins + more
    return result, bins


def in_bins(prefix: str, ours: FitScores, theirs: FitScores, with_charge: bool) -> tuple[list[Figure], list[Bin]]:
    """The worst ratio of widths to ACTS over all bins with enough tracks, pulls of all tracks; and every bin."""
    bins: list[Bin] = []
    random, eta = np.random.default_rng(1), np.abs(ours.eta)
    for (pt_low, pt_high), (eta_low, eta_high) in product(pairwise(PT_EDGES), pairwise(ETA_EDGES)):
        row = np.flatnonzero((ours.pt >= pt_low) & (ours.pt < pt_high) & (eta >= eta_low) & (eta < eta_high))
        if len(row) < FEWEST_TRACKS:
            continue
        drawn = [row, *random.choice(row, (100, len(row)))]
        ratios = np.array([core_width(ours.residual[i]) / core_width(theirs.residual[i]) for i in drawn])
        bins.append(
            {
                "bin": f"{prefix}, pT {pt_low:g}-{pt_high:g} GeV, abs(eta) {eta_low:g}-{eta_high:g}",
                "tracks": len(row),
                "resolution over ACTS": ratios[0],
                "error": ratios[1:].std(axis=0),
                "pulls": core_width(ours.pull[row]),
                "pulls of ACTS": core_width(theirs.pull[row]),
            }
        )
    pulls, result = (core_width(ours.pull), core_width(theirs.pull)), []
    for k, label in enumerate(PARAMETER_NAMES):
        name = label.partition(" ")[0]
        if bins:
            worst = max(bins, key=lambda entry: entry["resolution over ACTS"][k])
            ratio, error = float(worst["resolution over ACTS"][k]), float(worst["error"][k])
            result.append(Figure(f"{prefix}: resolution of {name} over that of ACTS, worst bin", ratio, spread=error))
        acts = Reference("Kalman fit of ACTS", float(pulls[1][k]))
        result.append(Figure(f"{prefix}: width of pulls of {name}", float(pulls[0][k]), "", "equal", acts))
    stiff = ours.pt * np.cosh(eta) > STIFF
    if with_charge and stiff.any():
        wrong = [float(np.mean(wrong_charge(fits)[stiff])) for fits in (ours, theirs)]
        acts = Reference("Kalman fit of ACTS", wrong[1])
        result.append(Figure(f"{prefix}, above 1 TeV: wrong charge", wrong[0], reference=acts))
    return result, bins


def wrong_charge(fits: FitScores) -> Bool[ndarray, " n"]:
    """Whether the fitted q/p has another sign than the charge."""
    true = fits.charge / (fits.pt * np.cosh(fits.eta))
    return np.asarray(np.sign(fits.residual[:, 4] + true) != np.sign(true))


if __name__ == "__main__":
    main()
