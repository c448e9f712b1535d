"""Where nothing was compiled, the time of an event is told before it is spent."""

from __future__ import annotations

import numpy as np
import pytest

from beampipe.errors import LayoutError, TooLargeError
from beampipe.tracking import Hits, kernels, load_pipeline, shipped_events
from beampipe.tracking.pipeline import MAX_REFERENCE_SECONDS, check_reference_time, reference_seconds


def test_the_time_grows_faster_than_the_hits_and_small_events_are_never_refused() -> None:
    assert reference_seconds(0) == 0.0
    assert reference_seconds(20_000) > 2 * reference_seconds(10_000)
    largest = max(len(event.hits) for event in shipped_events(0))
    assert reference_seconds(largest) < MAX_REFERENCE_SECONDS / 20
    check_reference_time("module_map", [largest] * 3, refuses=True)


def test_a_large_event_is_refused_with_what_to_do_or_begun_with_its_time() -> None:
    with pytest.raises(TooLargeError, match=r"got 134690 hits.*about \d+ min.*C\+\+ compiler.*--force"):
        check_reference_time("module_map", [134_690], refuses=True)
    with pytest.warns(RuntimeWarning, match=r"needs about \d+ min; the kernels were not compiled"):
        check_reference_time("module_map", [134_690], refuses=False)
    with pytest.raises(TooLargeError, match=r"about \d+ h"):
        check_reference_time("exatrkx", [2_000_000], refuses=True)


def test_a_pipeline_without_kernels_looks_at_the_time_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "native", lambda: None)
    slow = load_pipeline("module_map")
    event = shipped_events(200)[0]
    with pytest.raises(TooLargeError, match="numpy reference"):
        slow.find(event.hits)
    monkeypatch.undo()
    assert load_pipeline("module_map").find(Hits(event.hits.position[:100])).track_id.shape == (100,)
    small = next(event for event in shipped_events(0) if 100 < len(event.hits) < 400)
    np.testing.assert_array_equal(slow.find(small.hits).track_id, load_pipeline("module_map").find(small.hits).track_id)


def test_a_pipeline_without_kernels_refuses_hits_on_no_layer_and_guesses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernels, "native", lambda: None)
    hits = next(event.hits for event in shipped_events(0) if 100 < len(event.hits) < 400)
    in_cm = Hits(hits.position * np.float32(0.1))
    with pytest.raises(
        LayoutError, match="on no layer of module_map, expected most of them on its layers; train on"
    ) as e:
        load_pipeline("module_map").find(in_cm)
    assert e.value.hits == len(hits) >= e.value.outside > len(hits) / 2  # type: ignore[operator]
    assert load_pipeline("module_map", check=False).find(in_cm).counts["outside"] == e.value.outside
