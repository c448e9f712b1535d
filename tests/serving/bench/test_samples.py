"""The events of a load test: shipped ones, or those of files."""

from __future__ import annotations

from dataclasses import replace

from beampipe.serving.bench import describe_sample, load_samples
from beampipe.tracking import load_pipeline, shipped_events
from beampipe.tracking.data import shipped_path


def test_shipped_events_by_pile_up() -> None:
    samples = load_samples((), 3, (0, 60))
    assert list(samples) == ["mu = 0", "mu = 60"]
    assert len(samples["mu = 0"]) == len(list(shipped_events(0))), "the limit is for files"


def test_events_of_files_up_to_a_limit() -> None:
    path = shipped_path(0)
    samples = load_samples((path,), 3, (0, 60))
    assert [(name, len(events)) for name, events in samples.items()] == [(path.stem, 3)]


def test_without_truth_there_is_no_efficiency() -> None:
    events = list(shipped_events(0))[:3]
    pipeline = load_pipeline("module_map")
    with_truth = describe_sample("mu = 0", events, "module_map", pipeline)
    assert with_truth.efficiency is not None
    assert with_truth.efficiency > 0.9
    blind = [replace(event, truth=None) for event in events]
    without = describe_sample("mu = 0", blind, "module_map", pipeline)
    assert (without.events, without.hits) == (3, with_truth.hits)
    assert without.efficiency is without.fakes is None
