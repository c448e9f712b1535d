"""What the benchmarks share: options, finders by name, results of ACTS kept between runs, the report they write."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
from diagnostics import TruthFinder
from recording import CONSOLE, conditions, package_version, print_conditions, write_result
from rich.table import Table

from beampipe.errors import FileError, MissingExtraError
from beampipe.events import Event, Hits, Tracks
from beampipe.terminal import make_table
from beampipe.tracking.acts import ActsSettings, acts_settings
from beampipe.tracking.evaluation.results import Evaluation, FinderResult
from beampipe.tracking.finder import InOneThread, TrackFinder
from beampipe.tracking.truth import Selection

__all__ = [
    "CONSOLE",
    "EVENTS",
    "FAST_ACTS",
    "FIT",
    "Finders",
    "StoredActs",
    "existing",
    "figures",
    "figures_table",
    "open_finders",
    "options_of",
    "print_header",
    "report",
    "selection_of",
    "verdict",
]

EVENTS: Final = Path("runs/events")
TRUTH: Final = "truth"
FAST_ACTS: Final = "acts-fast"
FIT: Final = "+fit"
SEED_AND_FOLLOW: Final = ("seeding", "ckf")
"""Stages of ACTS that count when times are compared: its space points and start parameters come free."""


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
                from kalman_fit import KALMAN_FIT, KalmanFitted

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


def print_header(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Print and return the conditions; to be called before anything is measured."""
    begun = conditions(("numpy", "pyacts", "torch"), threads=options.threads)
    print_conditions(name, begun, f"; our finders: {options.threads} thread(s), ACTS: 1 thread")
    return begun


def report(options: argparse.Namespace, begun: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    """Write the JSON of a benchmark: conditions at the start, load at the end, and `body`."""
    write_result(options.output, begun, _plain(body))


def verdict(name: str, met: bool, words: str) -> dict[str, object]:
    """Print one line for a figure that is wanted; the entry for the JSON."""
    CONSOLE.print(f"{name}: {words}: {'met' if met else 'NOT met'}", style="green" if met else "red", markup=False)
    return {"name": name, "figure": words, "met": met}


def figures(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One row of figures per finder; times in ms, ratios to seeding and CKF of the fast ACTS setting.

    ``time`` is the median wall time of an event over the median processor time of ACTS on its one thread; ``cpu``
    compares processor times. Other work on the machine lengthens our wall time fully, the processor time of ACTS only
    as far as cores share caches and pipelines: `Finders.acts_loads` says how busy the machine was then.
    """
    fast = next((finder for finder in evaluation.finders if finder.name == FAST_ACTS), None)
    anchor = _median([_seed_and_follow(event.cpu_seconds) for event in fast.events]) if fast else None
    return [_figures(finder, anchor) for finder in evaluation.finders]


def _figures(finder: FinderResult, anchor: float | None) -> dict[str, Any]:
    done = [event for event in finder.events if event.error is None]
    acts = acts_settings(finder.name) is not None
    wall = [event.total for event in done]
    cpu = [_seed_and_follow(event.cpu_seconds) if acts else event.cpu for event in done]
    compared = _median(cpu if acts else wall)
    row: dict[str, Any] = {"finder": finder.name, "events": len(finder.events), "refused": len(finder.failed)}
    row["hits"] = _median([event.n_hits for event in finder.events])
    for rule, quality in (("double", finder.double), ("single", finder.single)):
        for what in ("efficiency", "displaced", "fakes", "duplicates"):
            proportion = getattr(quality, what)
            row[f"{what}_{rule}"] = proportion.value if proportion.total else None
            row[f"{what}_{rule}_interval"] = proportion.interval
    row["wall_ms"], row["cpu_ms"] = _ms(_median(wall)), _ms(_median(cpu))
    row["wall_p95_ms"] = _ms(float(np.percentile(wall, 95))) if wall else None
    row["time_ratio"] = compared / anchor if compared is not None and anchor else None
    row["cpu_ratio"] = _median(cpu) / anchor if cpu and anchor else None  # type: ignore[operator]
    row["stages_ms"] = {time.stage: _ms(time.median) for time in finder.stages}
    fitted = [event for event in done if "fitted" in event.counts]
    if fitted:
        fit_wall, fit_cpu = (
            [event.seconds["kalman_fit"] for event in fitted],
            [event.cpu_seconds["kalman_fit"] for event in fitted],
        )
        n_tracks = sum(event.counts["fitted"] for event in fitted)
        row["fit_wall_ms"], row["fit_cpu_ms"] = _ms(_median(fit_wall)), _ms(_median(fit_cpu))
        row["fit_cpu_ms_per_track"] = _ms(sum(fit_cpu) / n_tracks) if n_tracks else None
        row["fitted_fraction"] = n_tracks / max(1, sum(event.n_candidates for event in fitted))
    return row


def figures_table(title: str, rows: Sequence[Mapping[str, Any]], definition: str) -> Table:
    """Rows of `figures` as a table."""
    words = (
        f"{definition}. Time: median over events; ACTS: seeding + CKF only, cpu, one thread. ratio: wall time over that"
        f" of {FAST_ACTS}; cpu ratio: processor time of all our threads over it. (fit: ms an event, ms a track)"
    )
    quality = ("efficiency", "(single)", "displaced", "fakes", "(single)", "dupl.")
    table = make_table(title, ("finder",), (*quality, "ms (p95)", "cpu ms", "ratio", "cpu ratio", "fit"), caption=words)
    for row in rows:
        fit = f"{row['fit_cpu_ms']:.0f}, {row['fit_cpu_ms_per_track']:.3f}" if row.get("fit_cpu_ms_per_track") else ""
        table.add_row(
            str(row["finder"]) + (f" ({row['refused']} refused)" if row["refused"] else ""),
            _with_error(row, "efficiency_double"),
            _number(row["efficiency_single"], 4),
            _with_error(row, "displaced_double"),
            _number(row["fakes_double"], 4),
            _number(row["fakes_single"], 4),
            _number(row["duplicates_double"], 4),
            f"{_number(row['wall_ms'], 1)} ({_number(row['wall_p95_ms'], 1)})",
            _number(row["cpu_ms"], 1),
            _number(row["time_ratio"], 3),
            _number(row["cpu_ratio"], 3),
            fit,
        )
    return table


def _seed_and_follow(cpu_seconds: Mapping[str, float]) -> float:
    return sum(cpu_seconds.get(stage, 0.0) for stage in SEED_AND_FOLLOW)


def _with_error(row: Mapping[str, Any], name: str) -> str:
    if row[name] is None:
        return "-"
    low, high = row[f"{name}_interval"]
    return f"{row[name]:.4f} ± {(high - low) / 2:.4f}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None or np.isnan(seconds) else seconds * 1e3


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if len(values) else None


def _plain(value: Any) -> Any:
    """The same with NaN as null, and numbers and paths of other kinds as those of JSON."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
