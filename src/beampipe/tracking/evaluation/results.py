"""Results of an evaluation: proportions with intervals, times per stage, tables for JSON and for notebooks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy import ndarray
from scipy.special import betaincinv

from beampipe.arrays import Int64
from beampipe.errors import FileError, InputError, look_up
from beampipe.files import write_whole
from beampipe.lazy import import_name
from beampipe.notebook import Shown, html_table
from beampipe.tracking.evaluation.colliderml import ColliderMLCounts, ColliderMLScore
from beampipe.tracking.evaluation.matching import FORMULA
from beampipe.tracking.truth import Selection

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

FEWEST_EVENTS: Final = 4
"""With fewer events than this the scatter between events is not estimated, and captions state it."""

N_RESAMPLES: Final = 1000
"""Number of samples that a bootstrap draws."""

_ONE_SIGMA = 0.682689492137086


def clopper_pearson(passed: int, total: int, level: float = _ONE_SIGMA) -> tuple[float, float]:
    """Central interval of a binomial proportion that covers at least `level`.

    low = B(alpha/2; k, n-k+1), high = B(1-alpha/2; k+1, n-k), with B the quantile of the beta distribution and
    alpha = 1 - level; low = 0 at k = 0 and high = 1 at k = n. The interval is (0, 1) at n = 0.

    Source: C. Clopper, E. Pearson, Biometrika 26 (1934) 404; PDG review of statistics, section 40.4.2.5.

    Args:
        passed: number k of successes.
        total: number n of trials.
        level: coverage of the interval.

    Raises:
        InputError: not 0 <= k <= n, or the level is not in (0, 1).
    """
    if not (0 <= passed <= total and 0 < level < 1):
        raise InputError(f"interval: got {passed} of {total} at {level}, expected 0 <= k <= n and 0 < level < 1")
    tail = (1 - level) / 2
    low = float(betaincinv(passed, total - passed + 1, tail)) if passed > 0 else 0.0
    high = float(betaincinv(passed + 1, total - passed, 1 - tail)) if passed < total else 1.0
    return low, high


def errors_of(n_events: int) -> str:
    """How the errors of an evaluation of that many events were estimated, for captions."""
    method = (
        f"68 % interval by bootstrap over events ({N_RESAMPLES} samples; a lost vertex takes all its tracks along),"
        " never narrower than binomial (Clopper-Pearson)"
    )
    if n_events < FEWEST_EVENTS:
        return f"{method}; unreliable: got {n_events} event(s), expected {FEWEST_EVENTS} or more"
    return method


@dataclass(frozen=True)
class Proportion:
    """`passed` of `total`, pooled over events. The sum of two pools further and has no spread.

    Attributes:
        passed: number of successes.
        total: number of trials.
        spread: interval of the value at one sigma by `bootstrap` over events; None where it was not computed.
    """

    passed: int = 0
    total: int = 0
    spread: tuple[float, float] | None = field(default=None, compare=False)

    @classmethod
    def of(cls, body: dict[str, Any]) -> Proportion:
        """From the JSON of an evaluation."""
        ends = body.get("spread")
        return cls(body["passed"], body["total"], None if ends is None else (ends[0], ends[1]))

    @property
    def value(self) -> float:
        """passed / total; NaN where `total` is 0."""
        return self.passed / self.total if self.total else nan

    @property
    def binomial(self) -> tuple[float, float]:
        """Clopper-Pearson interval at one sigma (68.3 %), for independent trials."""
        return clopper_pearson(self.passed, self.total)

    @property
    def interval(self) -> tuple[float, float]:
        """Interval at one sigma: each end is that of `spread` or of `binomial`, whichever is farther out."""
        low, high = self.binomial
        if self.spread is None:
            return low, high
        return min(low, self.spread[0]), max(high, self.spread[1])

    def __add__(self, other: Proportion) -> Proportion:
        return Proportion(self.passed + other.passed, self.total + other.total)

    def __str__(self) -> str:
        if isnan(self.value):
            return "-"
        low, high = self.interval
        return f"{self.value:.4f} +{high - self.value:.4f} -{self.value - low:.4f}"


def bootstrap(
    passed: Int64[ndarray, "n_events n"], total: Int64[ndarray, "n_events n"], seed: int = 0
) -> list[Proportion]:
    """Proportions pooled over events, each with its spread from event to event.

    Events are drawn with replacement, as many as there are, `N_RESAMPLES` times; the spread is the central 68.3 % of
    the pooled proportions. All columns are drawn together. Samples with a total of 0 are left out.

    Source: B. Efron, Annals of Statistics 7 (1979) 1.

    Args:
        passed: successes of each event, one column per proportion.
        total: trials of each event.
        seed: seed of the draws.
    """
    n_events = len(total)
    times = np.random.default_rng(seed).multinomial(n_events, np.full(n_events, 1 / n_events), size=N_RESAMPLES)
    tail = (1 - _ONE_SIGMA) / 2
    proportions = []
    for k, n in zip(passed.T, total.T, strict=True):
        tried = times @ n
        values = (times @ k)[tried > 0] / tried[tried > 0]
        spread = np.quantile(values, [tail, 1 - tail]).tolist() if len(values) else None
        proportions.append(Proportion(int(k.sum()), int(n.sum()), None if spread is None else (spread[0], spread[1])))
    return proportions


@dataclass(frozen=True)
class StageTime:
    """Wall time of one stage over events.

    Attributes:
        stage: name of the stage.
        median: median time [s].
        p95: 95th percentile of the times [s].
        mean: mean time [s].
        n_events: number of events that were timed.
    """

    stage: str
    median: float
    p95: float
    mean: float
    n_events: int


def stage_time(stage: str, seconds: Sequence[float]) -> StageTime:
    """Median, 95th percentile and mean of times [s]; NaN where there are none."""
    if not seconds:
        return StageTime(stage, nan, nan, nan, 0)
    median, p95 = np.percentile(seconds, [50, 95])
    return StageTime(stage, float(median), float(p95), float(np.mean(seconds)), len(seconds))


_FORMAT: Final = "beampipe.evaluation/2"

EVALUATION_MARK: Final = '"format": "beampipe.evaluation/'
"""Text near the begin of the JSON file of an evaluation."""

_FEW: Final = 3
"""Largest number of finders in a one-line summary."""

_MOST_ROWS: Final = 8
"""Largest number of finders in a table of a notebook."""


@dataclass(frozen=True)
class Quality:
    """The rates of one majority rule, pooled over events.

    Attributes:
        efficiency: selected particles found / selected particles.
        displaced: efficiency for the displaced class.
        fakes: candidates that match nothing / candidates.
        duplicates: matched candidates beyond the first of their particle / candidates.
        wrong_hit: matched candidates with a hit that is not of their particle / matched candidates.
        purity: hits of their particle on matched candidates / hits on matched candidates.
        completeness: hits of their particle on matched candidates / hits of these particles.
    """

    efficiency: Proportion
    displaced: Proportion
    fakes: Proportion
    duplicates: Proportion
    wrong_hit: Proportion
    purity: Proportion
    completeness: Proportion

    @classmethod
    def of(cls, body: dict[str, Any]) -> Quality:
        """From the JSON of an evaluation."""
        return cls(**{name: Proportion.of(entry) for name, entry in body.items()})


@dataclass(frozen=True)
class Curve:
    """Efficiency in bins of one variable.

    Attributes:
        variable: name in `beampipe.tracking.evaluation.scoring.VARIABLES`.
        selection: particles that the curve counts.
        edges: n + 1 bin edges.
        total: number of selected particles per bin.
        single: number of particles found by single majority, per bin.
        double: number of particles found by double majority, per bin.
        spreads: by majority, the interval of each bin by bootstrap over events; None for an empty bin.
    """

    variable: str
    selection: Selection
    edges: tuple[float, ...]
    total: tuple[int, ...]
    single: tuple[int, ...]
    double: tuple[int, ...]
    spreads: dict[str, tuple[tuple[float, float] | None, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, body: dict[str, Any]) -> Curve:
        """From the JSON of an evaluation."""
        numbers = {name: tuple(body[name]) for name in ("edges", "total", "single", "double")}
        spreads = {
            rule: tuple(None if ends is None else (ends[0], ends[1]) for ends in bins)
            for rule, bins in body.get("spreads", {}).items()
        }
        return cls(variable=body["variable"], selection=Selection(**body["selection"]), spreads=spreads, **numbers)

    def proportions(self, majority: str = "double") -> tuple[Proportion, ...]:
        """Efficiency of each bin by ``"single"`` or ``"double"`` majority."""
        passed = self.single if majority == "single" else self.double
        spreads = self.spreads.get(majority) or (None,) * len(self.total)
        return tuple(map(Proportion, passed, self.total, spreads))


@dataclass(frozen=True)
class EventRecord:
    """One event of one finder.

    Attributes:
        event_id: number of the event.
        n_hits: number of hits of the event.
        n_candidates: tracks long enough to be candidates.
        n_reference: number of selected particles.
        n_found: number of selected particles found by double majority.
        seconds: [s] per stage, as reported by the finder.
        wall: elapsed time of the call [s].
        counts: numbers of hits, edges and so on, as reported by the finder.
        weight_found: TrackML weight of the hits of selected particles that lie on tracks of their particle.
        weight_total: TrackML weight of all hits of selected particles.
        error: why the finder refused the event, or None. Its particles then count as not found.
        cpu_seconds: processor time [s] of all threads: per stage if the finder reports it, else of the call as
            ``"call"``. Other work on the machine hardly lengthens it, so that runs at different times can be
            compared; threads that spin while they wait count.
        colliderml: fields of `beampipe.tracking.evaluation.colliderml.ColliderMLCounts` of the event.
    """

    event_id: int
    n_hits: int
    n_candidates: int
    n_reference: int
    n_found: int
    seconds: dict[str, float]
    wall: float
    counts: dict[str, int]
    error: str | None = None
    weight_found: float = 0.0
    weight_total: float = 0.0
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    colliderml: dict[str, int] = field(default_factory=dict)

    @property
    def cpu(self) -> float:
        """Processor time [s] of the event, all stages and threads."""
        return sum(self.cpu_seconds.values())

    @property
    def total(self) -> float:
        """Time [s] of the event: the sum of the stages, or the wall time where the finder names none."""
        stages = [value for stage, value in self.seconds.items() if stage != "total"]
        return sum(stages) if stages else self.wall


@dataclass(frozen=True, repr=False)
class FinderResult(Shown):
    """One finder on one sample.

    Attributes:
        name: name of the finder.
        single: efficiencies and rates by single majority.
        double: efficiencies and rates by double majority.
        curves: efficiency by each variable of `beampipe.tracking.evaluation.scoring.VARIABLES`.
        stages: times per stage and ``"total"``, warm events only.
        events: record of each event.
    """

    name: str
    single: Quality
    double: Quality
    curves: tuple[Curve, ...]
    stages: tuple[StageTime, ...]
    events: tuple[EventRecord, ...]

    @classmethod
    def of(cls, body: dict[str, Any]) -> FinderResult:
        """From the JSON of an evaluation."""
        return cls(
            name=body["name"],
            single=Quality.of(body["single"]),
            double=Quality.of(body["double"]),
            curves=tuple(map(Curve.of, body["curves"])),
            stages=tuple(StageTime(**stage) for stage in body["stages"]),
            events=tuple(EventRecord(**event) for event in body["events"]),
        )

    def facts(self) -> Mapping[str, object]:
        """Name, number of events, and the rates by double majority."""
        rates = {"efficiency": self.double.efficiency, "fakes": self.double.fakes, "duplicates": self.double.duplicates}
        return {"name": self.name, "events": len(self.events), **rates}

    @property
    def failed(self) -> tuple[EventRecord, ...]:
        """Events that the finder refused."""
        return tuple(event for event in self.events if event.error is not None)

    @property
    def colliderml(self) -> ColliderMLScore:
        """The metric of ColliderML over all events."""
        sums = Counter[str]()
        for event in self.events:
            sums.update(event.colliderml)
        return ColliderMLScore.of(ColliderMLCounts(**sums))

    @property
    def trackml(self) -> float:
        """TrackML score of the selected particles; NaN where there are none."""
        total = sum(event.weight_total for event in self.events)
        return sum(event.weight_found for event in self.events) / total if total else nan

    def curve(self, variable: str) -> Curve:
        """The curve of that variable."""
        return next(curve for curve in self.curves if curve.variable == variable)


@dataclass(frozen=True, repr=False)
class Evaluation(Shown):
    """Several finders on the same events.

    Attributes:
        sample: description of the events (file, degradation, seed).
        selection: particles of the headline.
        displaced: particles of the displaced class.
        min_track_hits: hits from which a track is a candidate.
        threads: number of threads that each finder had.
        finders: results, in the order given.
    """

    sample: str
    selection: Selection
    displaced: Selection
    min_track_hits: int
    threads: int
    finders: tuple[FinderResult, ...]

    def __getitem__(self, name: str) -> FinderResult:
        """The result of the finder of that name.

        Raises:
            UnknownNameError: there is none.
        """
        return look_up("finder", name, {finder.name: finder for finder in self.finders})

    @property
    def efficiency(self) -> float:
        """Efficiency of the first finder, by double majority: selected particles found / selected particles."""
        return self.finders[0].double.efficiency.value

    @property
    def fake_rate(self) -> float:
        """Share of the first finder's candidates that match no particle, by double majority."""
        return self.finders[0].double.fakes.value

    def to_pandas(self) -> DataFrame:
        """A table of pandas, one row per finder; needs pandas.

        The shares, by double majority, are `efficiency`, `displaced`, `fake_rate` and `duplicate_rate`, each with the
        ends of its interval (`_low`, `_high`). `seconds` is the median time of an event.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        from pandas import DataFrame

        rows = []
        for finder in self.finders:
            row: dict[str, object] = {"finder": finder.name, "events": len(finder.events)}
            for rate, share in vars(finder.double).items():
                name = {"fakes": "fake_rate", "duplicates": "duplicate_rate"}.get(rate, rate)
                low, high = share.interval
                row |= {name: share.value, f"{name}_low": low, f"{name}_high": high}
            rows.append({**row, "seconds": next((time.median for time in finder.stages if time.stage == "total"), nan)})
        return DataFrame(rows)

    def plot(self, *variables: str, majority: str = "double", dark: bool = False) -> Figure:
        """Efficiency of all finders against variables of the particles, one panel each, with its errors.

        Args:
            *variables: ``"pt"``, ``"eta"``, ``"vertex_z"``, ``"distance"`` or ``"origin"``; by default the first three.
            majority: ``"double"`` or ``"single"``.
            dark: draw on a dark ground.

        Raises:
            UnknownNameError: no such variable.
            MissingExtraError: matplotlib or mplhep is not installed.
        """
        figure: Figure = import_name("beampipe.tracking.evaluation.report:plot_efficiency")(
            self, variables or ("pt", "eta", "vertex_z"), majority, dark=dark
        )
        return figure

    def facts(self) -> Mapping[str, object]:
        """The sample, and the efficiency of each finder by double majority."""
        efficiencies = {finder.name: f"efficiency {finder.double.efficiency}" for finder in self.finders[:_FEW]}
        more = {"more finders": len(self.finders) - _FEW} if len(self.finders) > _FEW else {}
        return {"sample": self.sample, "events": self.n_events, **efficiencies, **more}

    def _repr_html_(self) -> str:
        heads = ("finder", "efficiency", "displaced", "fakes", "duplicates", "wrong hit", "particles", "tracks")
        rows = []
        for finder in self.finders:
            rates = finder.double
            shares = (rates.efficiency, rates.displaced, rates.fakes, rates.duplicates, rates.wrong_hit)
            rows.append((finder.name, *shares, rates.efficiency.total, rates.fakes.total))
        caption = f"{self.counted}; double majority; errors: {errors_of(self.n_events)}"
        return html_table(f"{self.sample}: {self.n_events} event(s)", rows, heads, caption=caption, most=_MOST_ROWS)

    @property
    def n_events(self) -> int:
        """Events scored."""
        return len(self.finders[0].events) if self.finders else 0

    @property
    def counted(self) -> str:
        """The selection of particles in the efficiency, and of tracks that are scored."""
        return f"particles: {self.selection}; tracks: >= {self.min_track_hits} hits"

    @property
    def definition(self) -> str:
        """The definitions to be printed with every number of this evaluation."""
        return (
            f"{self.counted}; displaced: {self.displaced.min_origin:g} <= r < {self.displaced.max_origin:g} mm,"
            f" {'primary' if self.displaced.primary_only else 'any'};"
            f" single: > 50 % of the track's hits from the particle; double: also > 50 % of the particle's hits on the"
            f" track; {FORMULA}; errors: {errors_of(self.n_events)}"
        )


def write_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Write `evaluation_body` as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(evaluation_body(evaluation), indent=1, allow_nan=False) + "\n"
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def evaluation_body(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as JSON types; proportions also have their value and interval, which `read_evaluation` ignores."""
    body = {"format": _FORMAT, "definition": evaluation.definition, **asdict(evaluation)}
    for finder, result in zip(body["finders"], evaluation.finders, strict=True):
        for rule in ("single", "double"):
            for name, entry in finder[rule].items():
                proportion: Proportion = getattr(getattr(result, rule), name)
                # JSON has no NaN: a proportion of nothing has no value.
                entry["value"] = proportion.value if proportion.total else None
                entry["low"], entry["high"] = proportion.interval
        finder["trackml"] = None if isnan(result.trackml) else result.trackml
        finder["colliderml"] = asdict(result.colliderml)
    return body


def read_evaluation(path: Path) -> Evaluation:
    """Read what `write_evaluation` wrote.

    Raises:
        FileError: the file is missing or is something else.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["format"] != _FORMAT:
            raise ValueError(f"format {body['format']!r}")
        return Evaluation(
            sample=body["sample"],
            selection=Selection(**body["selection"]),
            displaced=Selection(**body["displaced"]),
            min_track_hits=body["min_track_hits"],
            threads=body["threads"],
            finders=tuple(FinderResult.of(finder) for finder in body["finders"]),
        )
    except FileNotFoundError:
        raise FileError(f"{path}: no such file, expected the JSON that an evaluation wrote") from None
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(
            f"{path}: got something else ({error!r}), expected the JSON that an evaluation wrote"
        ) from error
