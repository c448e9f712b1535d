"""What the benchmarks of events share: options, finders by name, results of ACTS kept between runs, figures."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
from recording import CONSOLE, Figure, Reference, begin, package_version
from tests.tracking.diagnostics import TruthFinder

from beampipe.errors import FileError, MissingExtraError
from beampipe.events import Event, Hits, Tracks
from beampipe.tracking.acts import ActsSettings, acts_settings
from beampipe.tracking.evaluation.results import Evaluation, FinderResult, Proportion
from beampipe.tracking.finder import InOneThread, TrackFinder
from beampipe.tracking.truth import Selection

EVENTS: Final = Path("runs/events")
TRUTH: Final = "truth"
FAST_ACTS: Final = "acts-fast"
FIT: Final = "+fit"


def options_of(
    name: str, about: str | None, *, samples: Sequence[str], pipelines: Sequence[str], max_events: int | None = None
) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has.

    Args:
        name: name of the benchmark, for its output file.
        about: docstring of the benchmark.
        samples: names of the files in `EVENTS` that are used where none is given.
        pipelines: names of the finders that are used where none is given.
        max_events: largest number of events of each file where no number is given.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    files = [EVENTS / f"{sample}.parquet" for sample in samples]
    add = parser.add_argument
    add("events", nargs="*", type=Path, default=files, help="Parquet files of clean simulated events")
    add(
        "--pipelines",
        nargs="+",
        default=list(pipelines),
        metavar="NAME",
        help="pipelines, acts, acts-fast and the like, or truth",
    )
    add("--threads", type=int, default=2, help="threads of our finders (ACTS does not split an event)")
    add("--max-events", type=int, default=max_events, help="events per file; all if neither is given")
    add("--seed", type=int, default=1, help="seed of the degradation")
    add("--min-pt", type=float, default=1.0, help="pT of the particles to be found [GeV]")
    add("--output", type=Path, default=Path(f"runs/bench/{name}.json"), help="JSON; pictures go beside it")
    add("--cache", type=Path, default=Path("runs/bench/cache"), help="folder for results of ACTS")
    add("--fresh", action="store_true", help="run and time ACTS again instead of taking its stored results")
    return parser


def existing(options: argparse.Namespace) -> list[Path]:
    """The event files that are there; the others are named in a line. Without any the benchmark ends, as an error."""
    results = [path for path in options.events if path.is_file()]
    for path in options.events:
        if path not in results:
            CONSOLE.print(f"skipped: {path} is not there; make it: python benchmarks/make_events.py", markup=False)
    if not results:
        sys.exit(
            "got no events, expected a file of them; make them: python benchmarks/make_events.py, extra simulation"
        )
    return results


def selection_of(options: argparse.Namespace) -> Selection:
    """Particles to be found."""
    return Selection(min_pt=options.min_pt)


class StoredActs(InOneThread):
    """ACTS as a finder that keeps its answers, with their times, in a folder under a digest of hits and settings.

    Args:
        settings: what ACTS is told.
        folder: where results are kept.
        fresh: do not read results of earlier runs.
    """

    def __init__(self, settings: ActsSettings, folder: Path, fresh: bool) -> None:
        from beampipe.tracking.acts import ActsTrackFinder

        self._finder = ActsTrackFinder(settings)
        self._folder, self._fresh, self._warm = folder, fresh, False
        self._done: set[Path] = set()
        self.loads: list[float] = []

    def find(self, hits: Hits, /) -> Tracks:
        """Hit lists, labels and times; the hand-over of the hits is in none of the times."""
        path = self._folder / f"acts-{self._digest(hits)}.npz"
        if not path.is_file() or (self._fresh and path not in self._done):
            self._run(hits, path)
        self._done.add(path)
        with np.load(path, allow_pickle=False) as stored:
            notes = json.loads(str(stored["notes"]))
            ends = np.cumsum(stored["lengths"])[:-1]
            lists = np.split(stored["rows"], ends) if len(stored["lengths"]) else []
            tracks = Tracks(stored["track_id"], notes["seconds"], notes["counts"], lists, notes["cpu_seconds"])
        self.loads.append(notes["load_average"])
        return tracks

    def _digest(self, hits: Hits) -> str:
        digest = sha256(f"{self._finder.settings!r} {package_version('pyacts')}".encode())
        for column in (hits.geometry_id, hits.local, hits.variance):
            digest.update(b"" if column is None else np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()[:32]

    def _run(self, hits: Hits, path: Path) -> None:
        if not self._warm:
            self._finder.find(hits.take(np.arange(min(len(hits), 1000))))
            self._warm = True
        result = self._finder.find(hits)
        lists = result.candidates or ()
        notes = {
            "seconds": result.seconds,
            "cpu_seconds": result.cpu_seconds,
            "counts": result.counts,
            "load_average": os.getloadavg()[0],
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(
            part,
            rows=np.concatenate([np.empty(0, np.int64), *lists]),
            lengths=np.array([len(rows) for rows in lists], np.int64),
            track_id=result.track_id,
            notes=np.array(json.dumps(notes)),
        )
        part.replace(path)


@dataclass(frozen=True)
class Finders:
    """Opened finders by name; pass events through `watching` so that the truth finder can see them."""

    by_name: dict[str, TrackFinder]
    truth: TruthFinder

    def watching(self, events: Iterable[Event]) -> Iterator[Event]:
        """The same events."""
        return self.truth.watching(events)

    def acts_loads(self) -> dict[str, tuple[float, float]]:
        """Per preset of ACTS, smallest and largest load average at which its times were taken."""
        stored = {name: finder.loads for name, finder in self.by_name.items() if isinstance(finder, StoredActs)}
        return {name: (min(loads), max(loads)) for name, loads in stored.items() if loads}


def open_finders(options: argparse.Namespace, names: Sequence[str] | None = None) -> Finders:
    """Open finders by name; what lacks its weights is named in a line and left out.

    ``acts``, ``acts-fast`` and the like are settings of ACTS, ``truth`` is the perfect answer in labels, and
    ``NAME+fit`` a pipeline with the Kalman fit of ACTS on its candidates.
    """
    truth = TruthFinder()
    by_name: dict[str, TrackFinder] = {}
    for name in options.pipelines if names is None else names:
        try:
            if name == TRUTH:
                by_name[name] = truth
            elif (settings := acts_settings(name)) is not None:
                by_name[name] = StoredActs(settings, options.cache, options.fresh)
            elif name.endswith(FIT):
                from tests.tracking.kalman_fit import KALMAN_FIT, KalmanFitted

                bare = name.removesuffix(FIT)
                by_name[bare + KALMAN_FIT] = KalmanFitted(_pipeline(bare, options.threads))
            else:
                by_name[name] = _pipeline(name, options.threads)
        except (FileError, MissingExtraError) as error:
            CONSOLE.print(f"skipped: {name}: {error}", markup=False)
    return Finders(by_name, truth)


def _pipeline(name: str, threads: int) -> TrackFinder:
    from beampipe.tracking import load_pipeline

    finder: TrackFinder = load_pipeline(name, threads=threads, device="cpu")
    return finder


def begin_events(title: str, options: argparse.Namespace) -> dict[str, Any]:
    """Conditions of a benchmark of events; to be called before anything is measured."""
    note = f"; our finders: {options.threads} thread(s), ACTS: 1 thread"
    return begin(title, ("numpy", "pyacts", "torch"), note)


def quality_figures(evaluation: Evaluation, prefix: str, judge: str, clock: str) -> list[Figure]:
    """Efficiency, fakes (double majority) and median time of an event of each finder.

    Args:
        evaluation: finders on the same events.
        prefix: name of the sample.
        judge: setting of ACTS whose efficiency and fakes are the reference of ours.
        clock: setting of ACTS whose time is the reference of the others.
    """
    by_name = {finder.name: finder for finder in evaluation.finders}
    figures = []
    for name, finder in by_name.items():
        other = by_name.get(judge) if acts_settings(name) is None else None
        for what in ("efficiency", "fakes"):
            proportion: Proportion = getattr(finder.double, what)
            low, high = proportion.interval
            reference = Reference(judge, getattr(other.double, what).value) if other else None
            title = f"{prefix}: {name} {what}"
            figures.append(
                Figure(
                    title, proportion.value, "", "lower" if what == "fakes" else "higher", reference, (high - low) / 2
                )
            )
        reference = Reference(clock, median_ms(by_name[clock])) if clock in by_name and name != clock else None
        figures.append(Figure(f"{prefix}: {name} time", median_ms(finder), "ms", "lower", reference))
    return figures


def median_ms(finder: FinderResult) -> float:
    """Median time of the events that a finder did not refuse [ms]."""
    return 1e3 * float(np.median([event.total for event in finder.events if event.error is None]))
