"""The events of a load test, and what its pipeline makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from beampipe.serving.bench.points import BenchSample
from beampipe.tracking.data import shipped_events
from beampipe.tracking.evaluation.scoring import evaluate
from beampipe.tracking.events import Event
from beampipe.tracking.formats import open_events
from beampipe.tracking.pipelines.pipeline import Pipeline

__all__ = ["describe_sample", "load_samples"]


def load_samples(files: Sequence[Path], max_events: int, pile_up: Sequence[int]) -> Mapping[str, Sequence[Event]]:
    """Events by name of sample: those of files, or shipped ones if there are no files.

    Args:
        files: files of events, each a sample.
        max_events: largest number of events of each file.
        pile_up: levels of pile-up of the shipped events, each a sample.
    """
    if files:
        return {path.stem: list(islice(open_events(path), max_events)) for path in files}
    return {f"mu = {level}": list(shipped_events(level)) for level in pile_up}


def describe_sample(name: str, events: Sequence[Event], pipeline: str, finder: Pipeline) -> BenchSample:
    """What a pipeline makes of a sample; efficiency and fake rate only where all events have truth.

    Args:
        name: name of the sample.
        events: events of the sample.
        pipeline: name of the pipeline.
        finder: the pipeline.
    """
    hits = int(np.median([len(event.hits) for event in events]))
    if any(event.truth is None for event in events):
        return BenchSample(name, len(events), hits, None, None)
    result = evaluate({pipeline: finder}, events, sample=name, warm_up=0)
    quality = result.finders[0].double
    return BenchSample(name, len(events), hits, quality.efficiency.value, quality.fakes.value)
