"""One event as a figure of matplotlib: x-y and r-z, tracks coloured by pT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, LogNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from numpy import ndarray

from beampipe.arrays import Bool, Float32
from beampipe.errors import look_up
from beampipe.events import Event, Tracks
from beampipe.figures import ground, metadata_of
from beampipe.figures.picture import Picture
from beampipe.files import write_whole
from beampipe.lazy import import_name
from beampipe.notebook import listed_options
from beampipe.tracking.display.drawn import DetectorChoice, DrawnDetector, Polylines, drawn_detector, event_lines
from beampipe.tracking.evaluation.matching import fake_tracks, matched_particles

PT_COLOURS: Final = (
    LinearSegmentedColormap.from_list("pt", ["#a9bfe3", "#3f78cf", "#1398ac", "#4caf62", "#d9a900", "#8f3d00"]),
    LinearSegmentedColormap.from_list("pt_dark", ["#3a5490", "#4287f0", "#22c1d6", "#4fd08a", "#efe65a", "#ff9420"]),
)
"""Colours of tracks by pT on a light and on a dark ground, as in ``display.css``; the colour-blind see them differ."""
PARTICLES: Final = ListedColormap(
    ["#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7a4fbf", "#00868b", "#9c5a1e"]
)
"""Colours of particles, repeated; none is that of fakes."""
COLOURED_BY: Final = {"pt": "", "truth": "a colour for each particle", "finder": ""}
"""What the colour of a track may mean -> the words of it in the title."""
PT_RANGE: Final = (0.5, 20.0)
"""Ends of the colour scale [GeV]."""
PT_TICKS: Final = (0.5, 1, 2, 5, 10, 20)

HIT: Final = "#5b6b82", "#8fa3c4"
"""Colour of hits on a light and on a dark ground, as all that follow."""
FAKE: Final = "#e01f45", "#ff4a68"
TRUTH: Final = "#c8cfda", "#414c5e"
DETECTOR: Final = "#d3d9e3", "#2c3545"
STYLE: Final[Any] = {
    "font.family": "sans-serif",
    "font.size": 10.5,
    "mathtext.fontset": "dejavusans",
    "axes.linewidth": 0.8,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "xtick.minor.visible": True,
    "ytick.minor.visible": True,
    "agg.path.chunksize": 20000,
}


def _draw_into(
    figure: Figure | SubFigure,
    event: Event,
    tracks: Tracks,
    track_is_fake: Bool[ndarray, " n_tracks"] | None,
    *,
    min_pt: float = 1.0,
    show_truth: bool = False,
    detector: DetectorChoice = None,
    field: float | None = None,
    color: str = "pt",
    dark: bool = False,
    name: str = "",
    number: int = 0,
) -> None:
    """Both views of an event, their legend and title; the name and number are those of the finder."""
    meaning = look_up("color", color, COLOURED_BY)
    xyz = event.hits.xyz
    drawn = drawn_detector(detector, event.hits)
    lines, truth = event_lines(event, tracks, track_is_fake, drawn.field if field is None else field, show_truth)
    chosen = (lines.pt >= min_pt) & (lines.length > 1)
    shown = lines.take(chosen)
    if color == "pt":
        colours = PT_COLOURS[dark](_norm()(shown.pt))
    else:
        kinds = matched_particles(event, tracks)[chosen] if color == "truth" else np.full(len(shown), number)
        colours = PARTICLES(kinds % PARTICLES.N)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    rz = np.stack([xyz[:, 2], event.hits.position[:, 0]], axis=1)
    for axes, points in ((left, xyz[:, :2]), (right, rz)):
        if truth is not None:
            _add_lines(axes, points, truth.take(truth.pt >= min_pt), color=TRUTH[dark], linewidth=3.2, zorder=1)
        _draw(axes, points, shown, colours, dark)
    _draw_detector(left, right, drawn, DETECTOR[dark])
    radius = 1.04 * float(max(np.hypot(xyz[:, 0], xyz[:, 1]).max(initial=1.0), drawn.boxes[:, 1].max(initial=1.0)))
    half_length = 1.04 * float(max(np.abs(xyz[:, 2]).max(initial=1.0), drawn.boxes[:, 3].max(initial=1.0)))
    left.set(xlim=(-radius, radius), ylim=(-radius, radius), aspect="equal", xlabel="x [mm]", ylabel="y [mm]")
    right.set(xlim=(-half_length, half_length), ylim=(0, radius), xlabel="z [mm]", ylabel="r [mm]")
    if color == "pt":
        scale = _add_lines(right, rz, shown.take(np.zeros(len(shown), np.bool_)), cmap=PT_COLOURS[dark], norm=_norm())
        bar = figure.colorbar(scale, ax=right, label=r"$p_T$ of the track [GeV]", pad=0.015, aspect=32, extend="both")
        bar.set_ticks(PT_TICKS, labels=[f"{pt:g}" for pt in PT_TICKS])
        bar.ax.tick_params(which="minor", length=0)
    counted = lines.take(lines.length >= drawn.min_track_hits)
    title = ", ".join(filter(None, (f"Event {event.event_id}", name, meaning)))
    _annotate(figure, event, counted, track_is_fake is not None, truth is not None, min_pt, drawn, title, dark=dark)


@listed_options(_draw_into)
def plot_event(
    event: Event,
    tracks: Tracks,
    track_is_fake: Bool[ndarray, " n_tracks"] | None = None,
    *,
    dpi: int = 80,
    dark: bool = False,
    **options: Any,
) -> Figure:
    """The figure that `draw_event` writes, with the same arguments."""
    with rc_context(STYLE | ground(dark=dark)):
        figure = Picture(figsize=(14, 5.8), dpi=dpi, layout="constrained")
        _draw_into(figure, event, tracks, track_is_fake, dark=dark, **options)
    return figure


@listed_options(plot_event)
def compare_plot(
    event: Event | Tracks,
    finders: str | Tracks | Sequence[str | Tracks] = ("module_map", "exatrkx_walk"),
    *,
    detector: DetectorChoice = None,
    dpi: int = 80,
    dark: bool = False,
    **options: Any,
) -> Figure:
    """Draw the tracks of several finders in one event, one below the other.

    >>> picture = compare_plot(shipped_events(0)[0], ["module_map", "exatrkx_walk"])

    Args:
        event: the event; or the first of two tracks of one event, and `finders` the other.
        finders: names of finders as for `find_tracks`, or tracks that were found in the event.
        detector: as for `draw_event`, as are `dpi`, `dark` and the other options.
        dpi: pixels per inch of a picture of 14 x 5.8 inches for each finder.
        dark: draw on a dark ground.
        options: further ones of `draw_event`.

    Raises:
        TypeError: tracks have no event.
        BeampipeError: any error of `find_tracks`.
    """
    several = [finders] if isinstance(finders, str | Tracks) else list(finders)
    if isinstance(event, Tracks):
        several = [event, *several]
        event = event.event_for("found_in(event)")
    drawn = drawn_detector(detector, event.hits)
    with rc_context(STYLE | ground(dark=dark)):
        figure = Picture(figsize=(14, 5.8 * len(several)), dpi=dpi, layout="constrained")
        for number, part in enumerate(figure.subfigures(len(several), 1, squeeze=False)[:, 0]):
            tracks, name = several[number], f"tracks {number + 1}"
            if isinstance(tracks, str):
                tracks, name = import_name("beampipe.tracking.batch:find_tracks")(event, tracks), tracks
            fake = fake_tracks(event, tracks, drawn.min_track_hits)
            _draw_into(part, event, tracks, fake, detector=drawn, dark=dark, name=name, number=number, **options)
    return figure


@listed_options(plot_event)
def draw_event(
    path: str | Path,
    event: Event,
    tracks: Tracks,
    *,
    track_is_fake: Bool[ndarray, " n_tracks"] | None = None,
    dpi: int = 160,
    **options: Any,
) -> Figure:
    """Draw x-y and r-z into a file: layers and hits faintly, tracks coloured by pT, fakes dashed in red.

    >>> event = shipped_events(0)[0]
    >>> picture = draw_event("event.png", event, load_pipeline("module_map").find(event))

    Args:
        path: file to write; its ending, ``.png``, ``.pdf`` or ``.svg``, is its format. An existing one is replaced.
        event: event that is drawn.
        tracks: tracks that were found in it.
        track_is_fake: (n_tracks,) True for a track that belongs to no particle; None without truth.
        min_pt: lowest pT of a track that is drawn [GeV].
        show_truth: also draw the simulated particles, as a broad pale line under the tracks.
        detector: detector whose layers are drawn, by whose field pT is estimated, and whose shortest tracks count: a
            tracker model, its name or its folder, or a detector's TOML file. If not given, the shipped model that the
            hits fit; without one, no layers, 2 T and seven hits.
        field: solenoidal field, for the pT of found tracks [T]; that of the detector if not given.
        color: what the colour of a track means: ``"pt"``, its particle (``"truth"``) or its ``"finder"``.
        dpi: pixels per inch of a picture of 14 x 5.8 inches.
        dark: draw on a dark ground.

    Returns:
        The figure, which a notebook shows, too; `Event.plot` makes it without a file.

    Raises:
        ShapeError: the tracks are of another event, or `track_is_fake` is of other tracks.
    """
    figure = plot_event(event, tracks, track_is_fake, dpi=dpi, **options)
    kind = Path(path).suffix.removeprefix(".")
    write_whole(Path(path), lambda part: figure.savefig(part, format=kind, metadata=metadata_of(figure, kind)))
    return figure


def _norm() -> LogNorm:
    return LogNorm(*PT_RANGE)


def _draw_detector(across: Axes, along: Axes, detector: DrawnDetector, colour: str) -> None:
    """The layers behind all else: cylinders as circles in x-y, cylinders and discs as lines in r-z."""
    turn = np.linspace(0, 2 * np.pi, 181)
    unit = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    lines = detector.lines()
    circles = [radius * unit for radius in lines[detector.is_barrel, 0, 1]]
    for axes, shapes in ((across, circles), (along, list(lines))):
        axes.add_collection(LineCollection(shapes, color=colour, linewidth=1.4, zorder=-1))


def _draw(axes: Axes, points: Float32[ndarray, "n_hits 2"], lines: Polylines, colours: ndarray, dark: bool) -> None:
    """One view: all hits, then the good tracks with their hits, then the fakes on top."""
    # The fewer hits, the larger their dots: 0.9 points where there are 100 000 of them.
    size = float(np.clip(0.9 + 0.55 * (5 - np.log10(max(len(points), 1))), 0.9, 2.5))
    axes.plot(
        *points.T, ".", color=HIT[dark], markersize=size, markeredgewidth=0, alpha=0.45, rasterized=True, zorder=0
    )
    good, fake, colours = lines.take(~lines.fake), lines.take(lines.fake), colours[~lines.fake]
    # The more tracks, the thinner the lines, so that a full event stays legible.
    fine = float(np.clip(np.log10(max(len(good), 1) / 150), 0, 1))
    # Soft tracks first, so that the few hard ones lie on top.
    order = np.argsort(good.pt, kind="stable")
    rows = good.split()
    collection = LineCollection(
        [points[rows[i]] for i in order],
        colors=colours[order],
        linewidth=1.0 - 0.55 * fine,
        alpha=0.9,
        zorder=2,
    )
    collection.set_zorder(2)
    axes.add_collection(collection)
    of_hits = np.repeat(colours, good.length, axis=0)
    axes.scatter(points[good.hit, 0], points[good.hit, 1], s=2.4 - 1.4 * fine, c=of_hits, linewidth=0, zorder=3)
    _add_lines(axes, points, fake, color=FAKE[dark], linewidth=1.2 - 0.4 * fine, linestyle=(0, (4, 2)), zorder=4)


def _add_lines(axes: Axes, points: Float32[ndarray, "n_hits 2"], lines: Polylines, **style: Any) -> LineCollection:
    collection = LineCollection([points[hit] for hit in lines.split()], **style)
    axes.add_collection(collection)
    return collection


def _annotate(
    figure: Figure | SubFigure,
    event: Event,
    counted: Polylines,
    fakes_known: bool,
    truth_drawn: bool,
    min_pt: float,
    detector: DrawnDetector,
    title: str,
    *,
    dark: bool,
) -> None:
    """Title and legend. Tracks and fakes are counted like those of `evaluate`, with as many hits at least."""
    cut = f"pT ≥ {min_pt:g} GeV"
    is_shown = counted.pt >= min_pt
    n_shown, n_fake = int(is_shown.sum()), int(counted.fake[is_shown].sum())
    entries = [(Line2D([], [], color=HIT[dark], marker="o", markersize=3, linewidth=0), f"{len(event.hits):,} hits")]
    if len(counted):
        label = f"{n_shown:,} tracks with {cut} and {detector.min_track_hits} or more hits"
        if n_shown < len(counted):
            label += f"; {len(counted) - n_shown:,} softer ones not drawn"
        entries.append((Line2D([], [], color=PT_COLOURS[dark](0.6), linewidth=2), label))
    if fakes_known:
        style: Any = {"color": FAKE[dark], "linewidth": 1.6, "linestyle": (0, (4, 2))}
        entries.append((Line2D([], [], **style), f"{n_fake:,} of the drawn ones fake"))
    if truth_drawn:
        entries.append((Line2D([], [], color=TRUTH[dark], linewidth=4), f"simulated particles ({cut})"))
    if len(detector.boxes):
        entries.append((Line2D([], [], color=DETECTOR[dark], linewidth=1.4), f"{len(detector.boxes)} layers"))
    handles, labels = zip(*entries, strict=True)
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=len(entries),
        frameon=False,
        handlelength=2.2,
        columnspacing=3,
    )
    figure.suptitle(title, x=0.012, ha="left", fontsize=14, fontweight="bold")
