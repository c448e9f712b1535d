"""Score track finders on events: efficiency, fakes, duplicates and times, also by variables of the particles."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter, process_time
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy import ndarray
from scipy.spatial import cKDTree

from beampipe.arrays import Float, Int64
from beampipe.columns import is_sampled
from beampipe.errors import BeampipeError, ConfigError, InputError, LayoutWarning, ShapeError, expect_type, look_up
from beampipe.events import NO_TRACK, ON_AXIS, BeamSpot, Event, Events, Hits, Particles, Tracks, Truth
from beampipe.lazy import import_name
from beampipe.tracking.evaluation.colliderml import colliderml_counts
from beampipe.tracking.evaluation.matching import Candidates, HitWeights, hit_weights, match, weight_found
from beampipe.tracking.evaluation.results import (
    Curve,
    Evaluation,
    EventRecord,
    FinderResult,
    Quality,
    bootstrap,
    stage_time,
)
from beampipe.tracking.finder import InOneThread, TrackFinder
from beampipe.tracking.truth import (
    HEADLINE,
    Contributions,
    Selection,
    contributions,
    other_field,
    select_particles,
    truth_of,
    vertices_about_beam_spot,
)

_ORIGIN: Final = (0.0, 2.0, 5.0, 10.0, 20.0, 30.0, 50.0, 75.0, 100.0, 150.0, 200.0)

_TURN: Final = 2 * np.pi

_FEWEST_PARTICLES: Final = 300
"""Particles with hits of which some should pass a selection."""

_LARGE_PT: Final = 100.0
"""Particles above this pT [GeV] are rare, so that a larger cut may be in MeV."""

_MANY_OF_ONE: Final = 100
"""More hits than this are on no track, unless it is wrong."""


@dataclass(frozen=True)
class Variable:
    """A variable of particles. Values beyond an end are counted in the bin at that end.

    Attributes:
        name: name of the variable in results, tables and files.
        axis: label of the axis in pictures, with the unit.
        values: function from the selected particles of one event to one value per particle.
        edges: function from the selection of the headline to the bin edges.
        any_origin: whether particles of any origin are counted, not only those of the headline.
        logarithmic: whether the axis is logarithmic.
    """

    name: str
    axis: str
    values: Callable[[Particles], ndarray]
    edges: Callable[[Selection], tuple[float, ...]]
    any_origin: bool = False
    logarithmic: bool = False


def pt_edges(min_pt: float) -> tuple[float, ...]:
    """Bin edges of pT [GeV] that begin where the selection does; the last bin takes all above 20 GeV."""
    above = [edge for edge in (0.3, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0) if edge > min_pt * 1.001]
    return (min_pt, *above, float(max(50.0, 2 * min_pt)))


def nearest_distance(particles: Particles) -> Float[ndarray, " n_particles"]:
    """Distance of each particle to the nearest other one, sqrt(deta^2 + dphi^2); infinite for a single particle.

    Directions are those of production. In the core of a jet the distance is small, and clusters may merge.
    """
    if len(particles) < 2:
        return np.full(len(particles), np.inf)
    phi = np.arctan2(particles.momentum[:, 1], particles.momentum[:, 0]).astype(np.float64)
    direction = np.stack([particles.eta.astype(np.float64), np.mod(phi, _TURN) % _TURN], axis=1)
    # A period of 0 means that the coordinate is not periodic.
    distance, _ = cKDTree(direction, boxsize=np.array([0.0, _TURN])).query(direction, k=[2])
    return np.asarray(distance).reshape(-1)


def _symmetric(largest: float) -> tuple[float, ...]:
    """Edges of twelve even bins about 0."""
    return tuple(np.linspace(-largest, largest, 13).tolist())


VARIABLES: Final[Mapping[str, Variable]] = MappingProxyType(
    {
        variable.name: variable
        for variable in (
            Variable("pt", "$p_T$ [GeV]", lambda of: of.pt, lambda cuts: pt_edges(cuts.min_pt), logarithmic=True),
            Variable("eta", r"$\eta$", lambda of: of.eta, lambda cuts: _symmetric(cuts.max_abs_eta)),
            Variable("vertex_z", "vertex z [mm]", lambda of: of.vertex[:, 2], lambda _: _symmetric(240.0)),
            Variable(
                "distance",
                r"$\Delta R$ to the nearest track",
                nearest_distance,
                lambda _: tuple(np.geomspace(1e-3, 1.0, 13).tolist()),
                logarithmic=True,
            ),
            Variable(
                "origin", "radius of origin [mm]", lambda of: of.origin_radius, lambda _: _ORIGIN, any_origin=True
            ),
        )
    }
)
"""The variables by name: pT, pseudorapidity, vertex, distance to the nearest track, and radius of origin."""


def require_variables(names: Iterable[str]) -> None:
    """Refuse names that are none of `VARIABLES`.

    Raises:
        UnknownNameError: no variable of that name.
    """
    for name in names:
        look_up("variable", name, VARIABLES)


TOTAL: Final = "total"
"""Name of the sum over stages in tables of times."""


@dataclass(frozen=True, eq=False)
class _Reference:
    """The particles of one selection in one event, and their rows in `Contributions`."""

    row: Int64[ndarray, " n"]
    particles: Particles


@dataclass(frozen=True, eq=False)
class _EventTruth:
    """The truth of one event as scoring needs it, computed once for all finders.

    Attributes:
        event: the event.
        owners: which particles made which hit.
        headline: particles of the headline.
        displaced: particles of the displaced class.
        anywhere: particles of any origin.
        values: variable -> one value per particle of its reference.
        weights: weights of the hits for the TrackML score.
    """

    event: Event
    owners: Contributions
    headline: _Reference
    displaced: _Reference
    anywhere: _Reference
    values: dict[str, ndarray]
    weights: HitWeights

    @classmethod
    def of(cls, event: Event, selection: Selection, displaced: Selection, anywhere: Selection) -> _EventTruth:
        truth = truth_of(event)
        owners, particles = contributions(truth), truth.particles

        def reference(which: Selection) -> _Reference:
            keep = select_particles(event, which, owners)
            return _Reference(owners.row(particles.particle_id[keep]), particles.take(keep))

        of_headline, of_anywhere = reference(selection), reference(anywhere)
        values = {
            name: variable.values((of_anywhere if variable.any_origin else of_headline).particles)
            for name, variable in VARIABLES.items()
        }
        weights = hit_weights(event, owners, of_headline.row)
        return cls(event, owners, of_headline, reference(displaced), of_anywhere, values, weights)

    def reference(self, variable: Variable) -> _Reference:
        """The particles that the curve of a variable counts."""
        return self.anywhere if variable.any_origin else self.headline


@dataclass(frozen=True, eq=False)
class _FinderCall:
    """Tracks and times [s] of one call of a finder; `error` is the reason where there are no tracks."""

    tracks: Tracks
    candidates: Candidates
    wall: float
    cpu_seconds: dict[str, float]
    error: str | None = None

    @classmethod
    def run(cls, finder: TrackFinder, event: Event) -> _FinderCall:
        """Call the finder; an event that it refuses gives no tracks and an `error`."""
        start, cpu_start = perf_counter(), process_time()
        try:
            tracks = tracks_of(finder, event.hits)
            wall, cpu = perf_counter() - start, process_time() - cpu_start
            return cls(tracks, Candidates.of(tracks), wall, tracks.cpu_seconds or {"call": cpu})
        except BeampipeError as error:
            nothing = Tracks(np.full(len(event.hits), NO_TRACK, np.int64))
            candidates = Candidates.from_labels(nothing.track_id)
            return cls(nothing, candidates, perf_counter() - start, {}, f"{error}")


@dataclass(frozen=True)
class _Tally:
    """Counts of one finder, one entry per event.

    Attributes:
        edges: edges of the bins of each variable.
        rates: (2, 7, 2) counts: single and double majority; the rates of `Quality`; passed and all.
        curves: variable -> (3, n_bins) counts: all, found by single, found by double majority.
        events: record of each event.
    """

    edges: Mapping[str, tuple[float, ...]]
    rates: list[ndarray] = field(default_factory=list)
    curves: dict[str, list[ndarray]] = field(default_factory=dict)
    events: list[EventRecord] = field(default_factory=list)

    def add(self, truth: _EventTruth, call: _FinderCall, min_track_hits: int) -> None:
        """Add one event."""
        matches = match(call.candidates, truth.owners, min_track_hits)
        rates = []
        for double, is_found in ((False, matches.found_single), (True, matches.found_double)):
            reference = (truth.headline.row, truth.displaced.row)
            matched = matches.double if double else matches.single
            n_hits, n_shared = matches.n_hits[matched], matches.n_shared[matched]
            n_own = int(n_shared.sum())
            rates.append(
                [
                    *((np.count_nonzero(is_found[row]), len(row)) for row in reference),
                    (matches.n_fakes(double), len(matches)),
                    (matches.n_duplicates(double), len(matches)),
                    (np.count_nonzero(n_shared < n_hits), len(n_hits)),
                    (n_own, n_hits.sum()),
                    (n_own, truth.owners.n_hits[matches.particle[matched]].sum()),
                ]
            )
        self.rates.append(np.array(rates, np.int64))
        for name, variable in VARIABLES.items():
            row, edges = truth.reference(variable).row, self.edges[name]
            # Values beyond an end go to the bin there.
            which = np.clip(np.searchsorted(edges, truth.values[name], side="right") - 1, 0, len(edges) - 2)
            masks = (np.ones(len(row), np.bool_), matches.found_single[row], matches.found_double[row])
            counts = np.stack([np.bincount(which[mask], minlength=len(edges) - 1) for mask in masks])
            self.curves.setdefault(name, []).append(counts)
        self.events.append(
            EventRecord(
                event_id=truth.event.event_id,
                n_hits=len(truth.event.hits),
                n_candidates=len(matches),
                n_reference=len(truth.headline.row),
                n_found=int(np.count_nonzero(matches.found_double[truth.headline.row])),
                seconds={stage: float(value) for stage, value in call.tracks.seconds.items()},
                wall=call.wall,
                counts={what: int(value) for what, value in call.tracks.counts.items()},
                error=call.error,
                weight_found=weight_found(truth.weights, truth.owners, call.candidates),
                weight_total=truth.weights.total,
                cpu_seconds=call.cpu_seconds,
                colliderml=asdict(colliderml_counts(truth.event, call.candidates, truth.owners)),
            )
        )

    def result(self, name: str, selections: Mapping[str, Selection]) -> FinderResult:
        """All events together.

        Args:
            name: name of the finder.
            selections: variable -> particles that its curve counts.
        """
        rates = np.stack(self.rates)
        single, double = (Quality(*bootstrap(rates[:, rule, :, 0], rates[:, rule, :, 1])) for rule in range(2))
        curves = tuple(
            _curve(variable, selections[variable], self.edges[variable], np.stack(counts))
            for variable, counts in self.curves.items()
        )
        # Times per stage in the order of the pipeline, then their sum; refused events are not timed.
        timed = [event for event in self.events if event.error is None]
        stages = dict.fromkeys(stage for event in timed for stage in event.seconds if stage != TOTAL)
        times = [stage_time(stage, [e.seconds[stage] for e in timed if stage in e.seconds]) for stage in stages]
        if timed:
            times.append(stage_time(TOTAL, [event.total for event in timed]))
        return FinderResult(name, single, double, curves, tuple(times), tuple(self.events))


def _curve(variable: str, selection: Selection, edges: tuple[float, ...], counts: ndarray) -> Curve:
    """The curve of (n_events, 3, n_bins) counts."""
    spreads = {
        rule: tuple(interval.spread for interval in bootstrap(counts[:, row], counts[:, 0]))
        for row, rule in ((1, "single"), (2, "double"))
    }
    total, single, double = (tuple(row.tolist()) for row in counts.sum(axis=0))
    return Curve(variable, selection, edges, total, single, double, spreads)


def tracks_of(finder: TrackFinder, hits: Hits) -> Tracks:
    """The tracks that a finder finds, after a check of their length.

    Raises:
        ShapeError: there is not one label for each hit.
        TypeError: the finder returns something else than `Tracks`.
    """
    tracks = finder.find(hits)
    call = "return Tracks(track_id), with the track of each hit as int64 and -1 for none"
    expect_type(f"{type(finder).__name__}.find", tracks, Tracks, call)
    require_labels(hits, tracks)
    return tracks


def require_labels(hits: Hits, tracks: Tracks) -> None:
    """Refuse tracks of other hits, and labels that are no numbers of tracks.

    Raises:
        ShapeError: there is not one label for each hit.
        InputError: numbers of tracks are left out.

    Warns:
        RuntimeWarning: one track has a fifth of all hits, as if its label meant none.
    """
    if len(tracks.track_id) != len(hits):
        raise ShapeError(f"track_id: got {len(tracks.track_id)} labels, expected {len(hits)}, one per hit")
    if tracks.candidates is not None or tracks.n_tracks > len(hits):  # which `Candidates` refuses
        return
    size = np.bincount(tracks.track_id[tracks.track_id != NO_TRACK], minlength=1)
    if not size.all() and tracks.n_tracks:
        raise InputError(
            f"track_id: got no hit on track {int(np.argmin(size))} of {len(size)}, expected tracks numbered from 0"
            " without gaps, -1 for hits on none"
        )
    if size.max() > max(_MANY_OF_ONE, 0.2 * len(hits)):
        warnings.warn(
            f"track_id: got {size.max()} of {len(hits)} hits on track {int(np.argmax(size))}, expected a few on each;"
            " is that the label of hits on no track? It is -1 here",
            RuntimeWarning,
            stacklevel=3,
        )


def evaluate(
    finders: str | TrackFinder | Sequence[str | TrackFinder] | Mapping[str, TrackFinder],
    events: Iterable[Event] | str | Path,
    *,
    sample: str | None = None,
    selection: Selection | None = None,
    displaced: Selection | None = None,
    min_track_hits: int | None = None,
    beam_spot: BeamSpot = ON_AXIS,
    threads: int = 1,
    warm_up: int = 1,
    progress: Callable[[], None] | None = None,
) -> Evaluation:
    """Score finders on the same events, event by event, so that all of them see the same state of the machine.

    >>> evaluation = evaluate(load_pipeline("module_map"), shipped_events(0), sample="no pile-up")
    >>> evaluation
    Evaluation(sample: no pile-up, events: 20, module_map: efficiency 1.0000 +0.0000 -0.0132)

    Particles count by the distance of their origin from the beam line: that of the first tracks which do not come from
    the axis (`Tracks.beam_spot`), else `beam_spot`.

    Args:
        finders: one finder, several, or several by name, or names that `named_finders` accepts; without a name each is
            called as its pipeline or its class.
        events: events with truth, read once, one at a time; or their path.
        sample: description of the events (file, degradation, seed); the name of their file if not given.
        selection: particles that the headline efficiency counts; by default primary ones with pT > 1 GeV on as many
            layers as the model of the finders says (`Tracks.min_hits`), or seven.
        displaced: particles of the displaced class; by default the same cuts with origin from
            `selection.max_origin` to 100 mm.
        min_track_hits: hits from which a track is a candidate; as many as `selection` has layers if not given.
        beam_spot: beam line of the events, where no finder states another one than the axis.
        threads: number of threads of each finder, recorded in the result.
        warm_up: extra calls on the first event whose times are not used.
        progress: function that is called after each event.

    Raises:
        ConfigError: the models of the finders count from different numbers of hits, and no `selection` is given.
        InputError: an event has no truth, or there is no event.
        TypeError: these are no finders, or no events; the message names the right call.

    Warns:
        LayoutWarning: momenta and curvatures mean another field than that of a finder.
        RuntimeWarning: a finder refused events; or `selection` counts from more layers than the model, and
            `min_track_hits` is not given.
    """
    by_name = _by_name(finders)
    events = _several(events)
    if sample is None:
        sample = events.source if isinstance(events, Events) else "events"
    chosen = HEADLINE if selection is None else selection
    edges = {name: variable.edges(chosen) for name, variable in VARIABLES.items()}
    tallies = {name: _Tally(edges) for name in by_name}
    in_other_field = False
    n_events = n_particles = n_hits = 0
    for event in events:
        truth_of(event, with_field=is_sampled(n_events + 1))  # fails before any finder is called
        calls = {}
        for name, finder in by_name.items():
            for _ in range(warm_up if n_events == 0 else 0):
                _FinderCall.run(finder, event)
            calls[name] = _FinderCall.run(finder, event)
        in_other_field = in_other_field or _warn_of_other_field(event, calls)
        stated = {name: each.tracks.min_hits for name, each in calls.items() if each.tracks.min_hits is not None}
        if selection is None:
            chosen = _as_stated(chosen, stated, n_events)
        elif min_track_hits is None and n_events == 0:
            _warn_of_more(chosen.min_layers, min(stated.values(), default=chosen.min_layers))
        wide = replace(chosen, min_origin=0.0, max_origin=edges["origin"][-1], primary_only=False)
        lines = (each.tracks.beam_spot for each in calls.values() if each.tracks.beam_spot != ON_AXIS)
        about_line = vertices_about_beam_spot(event, next(lines, beam_spot))
        far = chosen.displaced() if displaced is None else displaced
        truth = _EventTruth.of(about_line, chosen, far, wide)
        for name, tally in tallies.items():
            tally.add(truth, calls[name], chosen.min_layers if min_track_hits is None else min_track_hits)
        n_events += 1
        n_particles, n_hits = n_particles + len(truth.owners.particle_id), n_hits + len(event.hits)
        if progress is not None:
            progress()
    if n_events == 0:
        raise InputError(f"evaluation of {sample}: got no event, expected at least one")
    selections = {name: wide if variable.any_origin else chosen for name, variable in VARIABLES.items()}
    results = tuple(tally.result(name, selections) for name, tally in tallies.items())
    for name, refused in ((result.name, result.failed) for result in results if result.failed):
        lost = f"{name} refused {len(refused)} of {n_events} events, whose particles count as not found"
        warnings.warn(f"{lost}; the first: {refused[0].error}", RuntimeWarning, stacklevel=2)
    _warn_of_none(results[0].double.efficiency.total, chosen, sample, n_particles, n_hits)
    fewest = chosen.min_layers if min_track_hits is None else min_track_hits
    return Evaluation(sample, chosen, far, fewest, threads, results)


def _warn_of_other_field(event: Event, calls: Mapping[str, _FinderCall]) -> bool:
    """Warn of an event that is not of the field of a finder; returns whether there was reason to."""
    for name, each in calls.items():
        if words := other_field(event, each.tracks.magnetic_field):
            warnings.warn(f"evaluate: {name}: {words}", LayoutWarning, stacklevel=3)
            return True
    return False


def _warn_of_more(counted: int, stated: int) -> None:
    """Warn of a selection that counts from more layers than the model of the finders."""
    if stated < counted:
        warnings.warn(
            f"evaluate: got a selection that counts from {counted} layers and hits on, where the model counts from"
            f" {stated} on; give Selection(min_layers={stated}), or min_track_hits={counted}",
            RuntimeWarning,
            stacklevel=3,
        )


def _warn_of_none(counted: int, selection: Selection, sample: str, n_particles: int, n_hits: int) -> None:
    """Warn of a selection that none of many particles passes, or of hits of no particle."""
    few = 0 < n_particles < _FEWEST_PARTICLES and selection.min_pt < _LARGE_PT
    if n_hits and not counted and not few:
        warnings.warn(
            f"evaluation of {sample}: no particle is {selection}, of {n_particles} that made hits; pT is in GeV, the"
            " origin in mm from the beam line (beam_spot)",
            RuntimeWarning,
            stacklevel=3,
        )


def _as_stated(selection: Selection, stated: Mapping[str, int], n_events: int) -> Selection:
    """The selection with as many layers as the finders state hits, if they agree with each other and earlier events."""
    numbers = set(stated.values()) | ({selection.min_layers} if n_events and stated else set())
    if len(numbers) > 1:
        of_each = ", ".join(f"{name} {number}" for name, number in stated.items())
        raise ConfigError(
            f"evaluate: got finders that count tracks from different numbers of hits ({of_each}), expected one; state"
            f" it: selection=Selection(min_layers={min(numbers)})"
        )
    return replace(selection, min_layers=numbers.pop()) if numbers else selection


def _several(events: Any) -> Iterable[Event]:
    """Events, or those of a path."""
    if isinstance(events, Event):
        raise TypeError("evaluate: got Event, expected events; call evaluate(finder, [event])")
    opened = import_name("beampipe.tracking.formats.registry:open_events")
    several: Iterable[Event] = opened(events) if isinstance(events, str | Path) else events
    return several


def _by_name(finders: object) -> dict[str, TrackFinder]:
    """One finder, several, or several by name; those of one name are numbered."""
    by_name: dict[str, Any] = dict(finders) if isinstance(finders, Mapping) else {}
    several = [] if isinstance(finders, Mapping) else finders if isinstance(finders, list | tuple) else [finders]
    if names := [finder for finder in several if isinstance(finder, str)]:
        by_name = import_name("beampipe.tracking.finder_names:named_finders")(names)
    for finder in (finder for finder in several if not isinstance(finder, str)):
        name = getattr(finder, "name", type(finder).__name__)
        number = sum(other.split(" #")[0] == name for other in by_name) + 1
        by_name[name if number == 1 else f"{name} #{number}"] = finder
    if not by_name:
        raise TypeError("evaluate: got no finder, expected one or more; call evaluate(load_pipeline(), events)")
    for finder in by_name.values():
        if isinstance(finder, str | type) or not callable(getattr(finder, "find", None)):
            raise TypeError(
                f"evaluate: got {repr(finder)[:60]}, expected a finder; call evaluate(load_pipeline(), events)"
            )
    return by_name


def compare(
    tracks: Tracks | Event | Truth,
    truth: Event | Truth | Tracks | None = None,
    *,
    selection: Selection | None = None,
    min_track_hits: int | None = None,
    name: str = "tracks",
) -> Evaluation:
    """Score the tracks of one event by its truth: efficiency, fakes and duplicates, as a notebook shows them.

    >>> event = shipped_events(0)[0]
    >>> compare(load_pipeline("module_map").find(event), event)
    Evaluation(sample: event 0, events: 1, tracks: efficiency 1.0000 +0.0000 -0.2313)

    With few particles the errors are large, and one event does not show the scatter between events: `evaluate`
    scores finders on many. Times are those that the tracks carry.

    Args:
        tracks: tracks of the event; tracks and truth may also be given in the other order.
        truth: the event, or its truth; then the tracks must be those of a finder, which know their hits. By default the
            event that the tracks were found in.
        selection: particles that the efficiency counts; as for `evaluate` if not given.
        min_track_hits: hits from which a track is a candidate; as for `evaluate` if not given.
        name: name of the finder in tables.

    Raises:
        InputError: the event has no truth.
        ShapeError: the tracks are of another number of hits.
        TypeError: these are not tracks and truth.
    """
    if isinstance(truth, Tracks):
        tracks, truth = truth, tracks
    if truth is None and isinstance(tracks, Tracks):
        truth = tracks.event_for("found_in(event)")
    if not isinstance(tracks, Tracks) or not isinstance(truth, Event | Truth):
        raise TypeError(
            f"compare: got {type(tracks).__name__} and {type(truth).__name__}, expected tracks and an event;"
            " call compare(finder.find(event), event)"
        )
    if isinstance(truth, Event):
        event = truth
    elif tracks.event is None:
        raise TypeError("compare: got tracks that no finder made, and truth alone; call compare(tracks, event)")
    else:
        event = replace(tracks.event, truth=truth)
    require_labels(event.hits, tracks)
    if tracks.event is not None and not np.array_equal(tracks.event.hits.position, event.hits.position):
        raise InputError(
            f"compare: got tracks that were found in other hits (event {tracks.event.event_id}), expected those of"
            f" event {event.event_id}, in the same order"
        )
    return evaluate(
        {name: _FoundTracks(tracks)},
        [event],
        sample=f"event {event.event_id}",
        selection=selection,
        min_track_hits=min_track_hits,
        warm_up=0,
    )


@dataclass(frozen=True, eq=False, repr=False)
class _FoundTracks(InOneThread):
    """A finder that returns given tracks."""

    tracks: Tracks

    def find(self, hits: Hits, /) -> Tracks:
        return self.tracks
