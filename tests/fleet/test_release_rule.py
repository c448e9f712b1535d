"""The rule by which new models stay or go, recorded requests and compared answers, without any server."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.errors import ConfigError, FileError, UnknownNameError
from beampipe.fleet.control.release import (
    AnswersOfModel,
    Decision,
    MeasuredActivity,
    ModelTimes,
    ReleaseRule,
    combined,
    decision_of,
    decision_tables,
    difference,
    measured_between,
    read_requests,
)
from beampipe.fleet.gateway.haproxy import Replies
from beampipe.triton.metrics import Counters
from beampipe.triton.model.canary import read_canaries
from tests.fleet.specimens import write_requests
from tests.triton.doublers import add_canary, write_model

RULE = ReleaseRule(0.05)
OLD = MeasuredActivity(4000, 12.0, 10.0, {"graph": 6.0, "walk": 0.2})


def times(**new: Any) -> tuple[ModelTimes, ...]:
    """What a trial measured whose new models are as good as the old ones, but for something."""
    return (ModelTimes("one", OLD, replace(MeasuredActivity(200, 12.0, 10.0, {"graph": 6.0, "walk": 0.2}), **new)),)


def test_models_that_are_as_good_are_good_enough() -> None:
    assert RULE.enough(times())
    assert [*RULE.about_times(times()), *RULE.about_failures(Replies(4000), Replies(200))] == []


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ({"compute": 12.1}, "time in the model: 12.1 ms, allowed 1.2 times 10 ms"),
        ({"stages": {"graph": 7.3, "walk": 0.2}}, "stage graph"),
        ({"stages": {"graph": 6.0, "walk": 1.5}}, "stage walk"),
        ({"answered": 199}, "not enough traffic to judge: one: the new models answered 199 requests of clients"),
        ({"answered": 0}, "not enough traffic to judge: no request of a client"),
    ],
)
def test_models_that_are_slower_or_were_asked_too_little_go(new: dict[str, object], said: str) -> None:
    assert said in " / ".join(RULE.about_times(times(**new)))


def test_a_time_at_the_limit_and_a_short_stage_are_allowed() -> None:
    assert list(RULE.about_times(times(compute=12.0, stages={"graph": 6.0, "walk": 0.9}))) == []


def test_a_model_that_nobody_asked_is_not_judged_and_one_asked_too_little_is() -> None:
    idle, rare = (ModelTimes("two", MeasuredActivity(old), MeasuredActivity(new)) for old, new in ((0, 0), (7, 1)))
    assert RULE.enough((*times(), idle))
    assert not RULE.enough((*times(), rare))
    assert not RULE.enough((idle,))
    (reason,) = RULE.about_times((*times(), rare))
    assert "new models answered 1 requests of clients" in reason
    assert "old models answered 7 requests of clients" in reason


def test_failures_are_judged_by_the_rate_of_the_old_models() -> None:
    assert "1 of 200 requests failed, allowed 0" in next(RULE.about_failures(Replies(4000), Replies(200, 1)))
    old = Replies(4000, 40)  # 1 %, so 2 of the 200 that are waited for
    for new, bad in ((Replies(50, 2), 0), (Replies(50, 3), 1), (Replies(300, 3), 0), (Replies(300, 4), 1)):
        assert len(list(RULE.about_failures(old, new))) == bad


@pytest.mark.parametrize(("allowed", "different", "bad"), [(0.0, 0, 0), (0.0, 1, 1), (0.1, 10, 0), (0.1, 11, 1)])
def test_as_many_answers_may_differ_as_allowed(allowed: float, different: int, bad: int) -> None:
    rule = replace(RULE, allow_differences=allowed)
    answers = [AnswersOfModel("one", 100, different)]
    assert len(list(rule.about_answers("recorded requests", answers))) == bad


def test_nothing_compared_speaks_against_models_unless_everything_is_allowed() -> None:
    assert "no answers compared" in next(RULE.about_answers("stored canaries", []))
    assert list(replace(RULE, allow_differences=1.0).about_answers("stored canaries", [])) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"share": 0.0}, "share: got 0"),
        ({"share": 0.6}, "50 %"),
        ({"slower": 0.9}, "slower"),
        ({"allow_differences": 1.5}, "allow_differences"),
        ({"least": 0}, "least"),
        ({"within": float("nan")}, "within"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ReleaseRule(**{"share": 0.05, **wrong})  # type: ignore[arg-type]


def test_a_decision_travels_and_is_shown_whole() -> None:
    answers = (AnswersOfModel("one", 9, 2, ("Y",), "why"),)
    replies = Replies(3800), Replies(200)
    decision = Decision(False, ("one: too slow",), "recorded requests", answers, times(), *replies, 3.0)
    assert decision_of(json.loads(json.dumps(asdict(decision)))) == decision
    assert decision.sent == 0.05
    assert decision.text.startswith("rolled back: one: too slow; 7 of 9 answers the same (recorded requests), 5.0 %")
    compared, shown = decision_tables(decision)
    assert compared.row_count == 1
    assert shown.row_count == 7  # replies, failures, answers, two times, two stages


def test_servers_count_as_much_as_they_were_asked() -> None:
    one, other = MeasuredActivity(300, 4.0, 2.0, {"graph": 1.0}), MeasuredActivity(100, 8.0, 6.0, {"graph": 5.0})
    assert combined([one, other, MeasuredActivity()]) == MeasuredActivity(400, 5.0, 3.0, {"graph": 2.0})
    assert combined([]) == MeasuredActivity()


def test_counters_of_a_server_become_numbers_and_means() -> None:
    before = Counters({"answered": 5.0, "compute_us": 5e3, "request_us": 1e4}, {"events": 5.0}, {"graph": 1.0})
    after = Counters({"answered": 15.0, "compute_us": 25e3, "request_us": 4e4}, {"events": 15.0}, {"graph": 1.05})
    got = measured_between(before, after)
    assert (got.answered, got.latency, got.compute) == (10, 3.0, 2.0)
    assert got.stages["graph"] == pytest.approx(5.0)


def test_requests_come_back_as_they_were_in_their_order(tmp_path: Path) -> None:
    requests = [{"X": np.arange(n, dtype=np.float32), "N": np.array([n])} for n in range(12)]
    write_requests(tmp_path / "events.npz", {"one": requests, "two": requests[:1]})
    read = read_requests(tmp_path / "events.npz", ["one", "two", "three"])
    assert sorted(read) == ["one", "two"]
    assert [request["N"][0] for request in read["one"]] == list(range(12))
    assert all(np.array_equal(got["X"], was["X"]) for got, was in zip(read["one"], requests, strict=True))


def test_files_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.npz"
    with pytest.raises(FileError, match="No such file"):
        read_requests(path, ["one"])
    for content in (b"", b"PK\x03\x04 not a zip", b"text"):
        path.write_bytes(content)
        with pytest.raises(FileError, match="recorded requests"):
            read_requests(path, ["one"])
    with path.open("wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(FileError, match="no requests"):
        read_requests(path, ["one"])
    for name in ("X", "one/X", "one/first/X", "one/0/"):
        np.savez(path, **{name: np.zeros(1)})  # type: ignore[arg-type]
        with pytest.raises(FileError, match="MODEL/NUMBER/TENSOR"):
            read_requests(path, ["one"])
    write_requests(path, {"onne": [{"X": np.zeros(1)}]})
    with pytest.raises(UnknownNameError, match="did you mean 'one'"):
        read_requests(path, ["one"])
    np.savez(path, **{"one/0/X": np.array([object()])})  # type: ignore[arg-type]
    with pytest.raises(FileError, match="recorded requests"):
        read_requests(path, ["one"])


def test_the_canaries_of_a_repository_are_requests_too(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_model(tmp_path, name)
    add_canary(tmp_path, "one")
    canaries = read_canaries(tmp_path, ["one", "two"])
    assert {model: [*answer] for model, (_, answer) in canaries.items()} == {"one": ["Y"]}


@pytest.mark.parametrize(
    ("new", "why"),
    [
        ({"Y": np.array([1, 2], np.float32), "T": np.array([7], np.float32)}, ""),
        ({"Y": np.array([1, 3], np.float32), "T": np.array([5], np.float32)}, "Y: other values"),
        ({"Y": np.array([1, 2], np.float64)}, "float64"),
        ({"Y": np.array([[1, 2]], np.float32)}, r"[1, 2]"),
        ({"T": np.array([5], np.float32)}, "Y: missing"),
        ({"Y": np.array([1, np.nextafter(np.float32(2), np.float32(3))], np.float32)}, "Y: other values"),
    ],
)
def test_answers_are_the_same_byte_for_byte_or_not_at_all(new: dict[str, Any], why: str) -> None:
    old = {"Y": np.array([1, 2], np.float32), "T": np.array([5], np.float32)}
    text = difference(old, new, ["Y"])
    assert why in text
    assert bool(text) == bool(why)
    assert difference(old, old) == ""
    assert difference(old, {**old, "T": np.array([7], np.float32)})
