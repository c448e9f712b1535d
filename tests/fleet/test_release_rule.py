"""The rule by which new models stay or go, without any server."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from beampipe.errors import ConfigError
from beampipe.fleet.gateway.haproxy import Replies
from beampipe.fleet.release_rule import (
    AnswersOfModel,
    Decision,
    MeasuredActivity,
    ModelTimes,
    ReleaseRule,
    combined,
    decision_of,
    decision_tables,
    measured_between,
)
from beampipe.triton.metrics import Counters

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
        ({"answered": 199}, "answered 199 requests, expected 200"),
        ({"answered": 0}, "no request of a client"),
    ],
)
def test_models_that_are_slower_or_were_asked_too_little_go(new: dict[str, object], said: str) -> None:
    assert said in " / ".join(RULE.about_times(times(**new)))


def test_a_time_at_the_limit_and_a_short_stage_are_allowed() -> None:
    assert list(RULE.about_times(times(compute=12.0, stages={"graph": 6.0, "walk": 0.9}))) == []


def test_a_model_that_nobody_asked_is_not_judged_and_one_asked_too_little_is() -> None:
    idle, rare = (
        ModelTimes("two", MeasuredActivity(), MeasuredActivity()),
        ModelTimes("two", MeasuredActivity(7), MeasuredActivity(1)),
    )
    assert RULE.enough((*times(), idle))
    assert not RULE.enough((*times(), rare))
    assert not RULE.enough((idle,))
    assert len(list(RULE.about_times((*times(), rare)))) == 2


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
    decision = Decision(
        False,
        ("one: too slow",),
        "recorded requests",
        (AnswersOfModel("one", 9, 2, ("Y",), "why"),),
        times(),
        Replies(3800),
        Replies(200),
        3.0,
    )
    assert decision_of(json.loads(json.dumps(asdict(decision)))) == decision
    assert decision.sent == 0.05
    assert decision.text.startswith("rolled back: one: too slow; 7 of 9 answers the same (recorded requests), 5.0 %")
    answers, shown = decision_tables(decision)
    assert answers.row_count == 1
    assert shown.row_count == 7  # replies, failures, answers, two times, two stages


def test_servers_count_as_much_as_they_were_asked() -> None:
    both = combined(
        [
            MeasuredActivity(300, 4.0, 2.0, {"graph": 1.0}),
            MeasuredActivity(100, 8.0, 6.0, {"graph": 5.0}),
            MeasuredActivity(),
        ]
    )
    assert both == MeasuredActivity(400, 5.0, 3.0, {"graph": 2.0})
    assert combined([]) == MeasuredActivity()


def test_counters_of_a_server_become_numbers_and_means() -> None:
    before = Counters({"answered": 5.0, "compute_us": 5e3, "request_us": 1e4}, {"events": 5.0}, {"graph": 1.0})
    after = Counters({"answered": 15.0, "compute_us": 25e3, "request_us": 4e4}, {"events": 15.0}, {"graph": 1.05})
    got = measured_between(before, after)
    assert (got.answered, got.latency, got.compute) == (10, 3.0, 2.0)
    assert got.stages["graph"] == pytest.approx(5.0)
