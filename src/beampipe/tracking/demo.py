"""The main job on the shipped events: find the tracks, score them, time them, draw them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from beampipe.tracking.data import shipped_events
from beampipe.tracking.display import show_event
from beampipe.tracking.evaluation.results import Evaluation, write_evaluation
from beampipe.tracking.evaluation.scoring import evaluate, tracks_of
from beampipe.tracking.finders import named_finders
from beampipe.tracking.models import DEFAULT_MODEL, TrackerModel

__all__ = ["run_tracking_demo"]


def run_tracking_demo(
    folder: Path,
    pipelines: Sequence[str],
    *,
    mu: int = 200,
    threads: int = 1,
    model: str | Path | TrackerModel = DEFAULT_MODEL,
    progress: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Evaluate `pipelines` on the shipped events and draw the first one with the first pipeline.

    Args:
        folder: folder of ``event.png``, ``event.html`` and ``evaluation.json``.
        pipelines: names of `beampipe.tracking.PIPELINES`.
        mu: pile-up of the shipped events: 0, 60 or 200.
        threads: number of threads of each pipeline.
        model: tracker model of the pipelines: the name of a shipped one, or a folder.
        progress: called after each event.

    Returns:
        Efficiency, fakes, duplicates and times.
    """
    events = shipped_events(mu)
    finders = named_finders(pipelines, threads=threads, model=model)
    result = evaluate(
        finders,
        events,
        sample=f"shipped events, ttbar with mu = {mu}" if mu else "shipped events, one soft collision each",
        threads=threads,
        progress=progress,
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_evaluation(folder / "evaluation.json", result)
    event = next(shipped_events(mu))
    tracks = tracks_of(finders[pipelines[0]], event.hits)
    for ending in ("png", "html"):
        show_event(event, tracks, folder / f"event.{ending}")
    return result
