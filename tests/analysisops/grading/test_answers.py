"""Checks of answers: within bounds, smooth, falling with the distance, and never kind to what is no number."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beampipe.analysisops.contract import HistogramReference
from beampipe.analysisops.grading.checks import (
    HistogramL2,
    Pull,
    Tracks,
    Uncertainty,
    Word,
    WorkspaceFits,
    double_majority,
)
from beampipe.analysisops.grading.grade import grade
from beampipe.analysisops.grading.submission import Case, Evidence, bell, ramp, read_submission, slope
from beampipe.analysisops.tools.workspaces import fit_workspace
from beampipe.errors import ConfigError
from tests.analysisops.grading.examples import (
    EDGES,
    ERROR,
    MASS,
    REFERENCE,
    VALUES,
    WORKSPACE,
    entry,
    example_task,
    honest_entries,
    right_submission,
)

KNOWN = {"instance": REFERENCE.to_json()}
NO_NUMBERS = (None, True, "90.1234", math.nan, -math.inf, [MASS], 10**400)


def answered(value: object, uncertainty: object = ERROR) -> Case:
    content = {"answers": {"mass": {"value": value, "uncertainty": uncertainty}}}
    return Case(read_submission(content), KNOWN)


def filled(values: Any, edges: Any = EDGES) -> float:
    evidence = Evidence(histograms={"mass": HistogramReference(tuple(edges), tuple(map(float, values)))})
    return HistogramL2("mass")(Case(read_submission({}), KNOWN, evidence=evidence)).fraction


@pytest.mark.parametrize("curve", [lambda x: bell(x, 2.0), lambda x: slope(x, 1.0, 3.0), lambda x: ramp(x, 1.0, 3.0)])
def test_curves_fall_from_one_to_nothing_without_steps(curve: Any) -> None:
    heights = [curve(step / 1000) for step in range(10_001)]
    assert heights[0] == 1.0
    assert heights[-1] < 1e-9
    assert all(0.0 <= after <= before <= 1.0 for before, after in pairwise(heights))
    assert max(before - after for before, after in pairwise(heights)) < 0.002


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_pull_is_within_bounds(value: float) -> None:
    assert 0.0 <= Pull("mass")(answered(value)).fraction <= 1.0


def test_values_of_a_pull() -> None:
    def at(sigmas: float) -> float:
        return Pull("mass")(answered(MASS + sigmas * ERROR)).fraction

    assert at(0.0) == 1.0
    assert at(0.5) == pytest.approx(0.9973, abs=1e-4)
    assert at(1.0) == pytest.approx(0.9576, abs=1e-4)
    assert at(-2.0) == pytest.approx(0.5)
    assert at(5.0) < 1e-6


def test_a_tolerance_between_good_analyses() -> None:
    shifted = answered(MASS * 1.002)
    assert Pull("mass")(shifted).fraction < 1e-3
    assert Pull("mass", relative=0.002)(shifted).fraction > 0.9


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_no_number_is_worth_nothing(value: object) -> None:
    assert Pull("mass")(answered(value)).fraction == 0.0
    for uncertainty in (value, 0.0, -ERROR):
        assert Uncertainty("mass")(answered(MASS, uncertainty)).fraction == 0.0


@given(st.floats(5e-324, 1e308), st.floats(5e-324, 1e308))
def test_an_uncertainty_falls_with_the_factor(one: float, other: float) -> None:
    check = Uncertainty("mass")
    near, far = sorted((one, other), key=lambda quoted: abs(math.log(quoted) - math.log(ERROR)))
    assert 0.0 <= check(answered(MASS, far)).fraction <= check(answered(MASS, near)).fraction <= 1.0


def test_values_of_an_uncertainty() -> None:
    def at(factor: float) -> float:
        return Uncertainty("mass")(answered(MASS, ERROR * factor)).fraction

    assert at(1.0) == at(1.14) == at(1 / 1.14) == 1.0
    assert at(2.0) == at(0.5) == pytest.approx(0.3800, abs=1e-3)
    assert at(3.01) == at(1 / 3.01) == 0.0


def test_a_relative_uncertainty_grows_with_its_value() -> None:
    doubled = answered(2 * MASS, 2 * ERROR)
    assert Uncertainty("mass", relative=True)(doubled).fraction == 1.0
    assert Uncertainty("mass")(doubled).fraction < 0.4
    assert Uncertainty("mass", relative=True)(answered(5e-324, ERROR)).fraction == 0.0


def test_a_reference_that_lacks_the_answer_is_the_hosts_fault() -> None:
    for check in (Pull("width"), Uncertainty("width"), HistogramL2("width"), Word("width", ("a", "b"))):
        with pytest.raises(ConfigError, match="got no instance"):
            check(answered(MASS))


def test_histograms_are_compared_by_shape_and_total_and_finer_bins_are_merged() -> None:
    assert filled(VALUES) == pytest.approx(1.0)
    assert filled(np.full(40, sum(VALUES) / 40)) < 1e-9, "the right total, spread evenly"
    assert max(filled(factor * np.array(VALUES)) for factor in (0.5, 2.0, 10.0)) < 1e-9
    fine = np.repeat(np.array(VALUES) / 2, 2)
    assert filled(fine, np.linspace(70.0, 110.0, 81)) == pytest.approx(1.0)
    wider = (60.0, *np.linspace(70.0, 110.0, 81), 120.0)
    assert filled((0.0, *fine, 0.0), wider) == pytest.approx(1.0)


def in_bins(edges: Any) -> Any:
    """The reference's contents in other bins, spread evenly within each of its own."""
    return np.diff(np.interp(edges, EDGES, [0.0, *np.cumsum(VALUES)]))


@pytest.mark.parametrize("edges", [np.linspace(70, 110, 21), np.linspace(65, 115, 56), np.linspace(69.7, 110.3, 59)])
def test_other_bins_of_the_right_contents_are_a_formal_slip(edges: Any) -> None:
    assert 0.89 < filled(in_bins(edges), edges) <= 1.0
    assert filled(2 * in_bins(edges), edges) < 1e-3


@pytest.mark.parametrize("edges", [np.linspace(71, 110, 79), np.linspace(60, 109, 99), (70.0, 110.0)])
def test_bins_that_do_not_cover_the_range_or_tell_nothing_are_worth_nothing(edges: Any) -> None:
    assert filled(in_bins(edges), edges) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("pull", "share"), [(0.0, 1.0), (2.5, 1.0), (-2.5, 1.0), (3.5, 0.5), (-3.5, 0.5), (4.6, 0.0)])
def test_a_plateau_for_analyses_that_differ_by_chance(pull: float, share: float) -> None:
    fraction = Pull("mass", half=1.0, full=2.5)(answered(MASS + pull * ERROR)).fraction
    assert fraction == pytest.approx(share, abs=1e-3)
    with pytest.raises(ConfigError, match="full = -1"):
        Pull("mass", full=-1.0)


def test_yields_of_sound_selections_may_differ_where_a_rubric_says_so() -> None:
    def share(factor: float) -> float:
        contents = HistogramReference(tuple(EDGES), tuple(factor * value for value in VALUES))
        case = Case(read_submission({}), KNOWN, evidence=Evidence(histograms={"mass": contents}))
        return HistogramL2("mass", full=1.5)(case).fraction

    assert share(0.7) == share(1.4) == pytest.approx(1.0)
    assert 0.0 < share(0.6) < 1.0
    assert share(0.49) == share(2.01) == pytest.approx(0.0)
    with pytest.raises(ConfigError, match="1 <= full < factor"):
        HistogramL2("mass", full=2.0)


def test_the_only_histogram_may_have_another_name() -> None:
    """It costs a tenth, and the issue says the name."""
    renamed = {**right_submission(), "histograms": {"spectrum": "hist_1"}}
    result = grade(example_task(), renamed, REFERENCE, honest_entries())
    assert result.normalized == pytest.approx(0.98)
    assert [issue.message for issue in result.issues] == [
        "spectrum: histograms.spectrum is another name; name it mass",
    ]
    both = {**right_submission(), "histograms": {"spectrum": "hist_1", "other": "hist_1"}}
    assert grade(example_task(), both, REFERENCE, honest_entries()).rules[-1].points == 0.0
    similar = {**right_submission(), "histograms": {"mass_spectrum": "hist_1", "other": "hist_1"}}
    assert grade(example_task(), similar, REFERENCE, honest_entries()).normalized == pytest.approx(0.98)


def test_a_formal_slip_costs_a_tenth_once_however_rules_are_scaled() -> None:
    spectrum = {"id": "spectrum", "type": "histogram_l2", "points": 10, "histogram": "mass"}
    value = {"type": "pull", "points": 30, "answer": "mass"}
    rules = [
        spectrum,
        {**spectrum, "id": "again", "scaled_by": "spectrum"},
        {**value, "id": "one", "scaled_by": "again"},
        {**value, "id": "other", "scaled_by": "spectrum"},
        {**value, "id": "both", "points": 20, "scaled_by": ["one", "other"]},
    ]
    task = example_task(rule_checks=rules)
    right = grade(task, right_submission(), REFERENCE, honest_entries())
    renamed = {**right_submission(), "histograms": {"spectrum": "hist_1"}}
    result = grade(task, renamed, REFERENCE, honest_entries())
    for slipped, whole in zip(result.rules, right.rules, strict=True):
        assert whole.points > 0.99 * whole.max_points
        assert slipped.points == pytest.approx(0.9 * whole.points)


def test_a_formal_slip_is_an_issue_that_says_how_to_repair_it() -> None:
    entries = honest_entries(values=in_bins(np.linspace(65, 115, 56)).tolist())
    entries = [
        replace(call, result={**call.result, "edges": np.linspace(65, 115, 56).tolist()})
        if call.result and "edges" in call.result
        else call
        for call in entries
    ]
    result = grade(example_task(), right_submission(), REFERENCE, entries)
    (slip,) = [issue for issue in result.issues if issue.code == "formal_slip"]
    assert "the 40 from 70 to 110 that were asked for; fill those" in slip.message
    right = grade(example_task(), right_submission(), REFERENCE, honest_entries())
    assert 0.8 * right.normalized < result.normalized < right.normalized
    assert all(issue.code != "formal_slip" for issue in right.issues)


def test_a_flat_spread_is_worth_nothing_of_a_flat_looking_reference_too() -> None:
    values = [1000.0 - 5.0 * step for step in range(40)]
    known = {"instance": {"histograms": {"mass": {"edges": list(EDGES), "values": values}}}}
    for tried, expected in ((values, 1.0), ([sum(values) / 40] * 40, 0.0)):
        evidence = Evidence(histograms={"mass": HistogramReference(EDGES, tuple(tried))})
        fraction = HistogramL2("mass")(Case(read_submission({}), known, evidence=evidence)).fraction
        assert fraction == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.floats(allow_nan=True), min_size=40, max_size=40))
def test_any_histogram_is_within_bounds(values: list[float]) -> None:
    assert 0.0 <= filled(values) <= 1.0


def test_the_contents_come_from_the_ledger() -> None:
    check = HistogramL2("mass")
    entries = honest_entries()

    def fraction(named: object, *more: Any) -> float:
        return check(Case(read_submission({"histograms": {"mass": named}}), KNOWN, [*entries, *more])).fraction

    assert fraction("hist_1") == pytest.approx(1.0)
    assert fraction("spectrum") == 0.0
    assert (
        fraction(
            "spectrum", entry(5, "export_tool", {"handle": "hist_1", "name": "spectrum"}, {"artifact": "spectrum"})
        )
        == 1.0
    )
    for named in (None, 7, "", "hist_2", {"edges": list(EDGES), "values": list(VALUES)}):
        assert fraction(named) == 0.0
    forged = entry(5, "histogram_tool", {}, {"handle": "hist_9", "edges": list(EDGES), "values": list(VALUES)}, ())
    assert fraction("hist_9", forged) == 0.0


@pytest.mark.parametrize(
    ("said", "expected"),
    [("no", 1.0), ("yes", 0.0), ("No", 0.0), ("no, yes", 0.0), (False, 0.0), (None, 0.0), (["no"], 0.0)],
)
def test_words_are_matched_letter_by_letter(said: object, expected: float) -> None:
    case = Case(read_submission({"words": {"signal": said}}), {"instance": {"words": {"signal": "no"}}})
    assert Word("signal", ("yes", "no"))(case).fraction == expected


def tracked(labels: Any, named: object = "tracks_1") -> float:
    evidence = Evidence(labels={"labels": labels}, particle_id=TRUTH, reconstructable=(1, 2))
    case = Case(read_submission({"artifacts": {"labels": named}}), {}, evidence=evidence)
    return Tracks("labels", goal=1.0)(case).fraction


TRUTH = (1, 1, 1, 1, 2, 2, 2, 2, 3, 3, -1, -1)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ((0, 0, 0, 0, 1, 1, 1, 1, 2, 2, -1, -1), 1.0),
        ((9, 9, 9, -1, 4, 4, 4, 4, -1, -1, -1, -1), 1.0),  # three of four hits are more than half
        ((0, 0, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1), 0.0),  # two of four are not, and one of two tracks is a fake
        ((-1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1), 0.5),
        ((0,) * 12, 0.0),
        (tuple(range(12)), 0.0),
        ((-1,) * 12, 0.0),
        ((0, 0, 0), 0.0),
    ],
)
def test_tracks(labels: tuple[int, ...], expected: float) -> None:
    assert tracked(labels) == expected


@pytest.mark.parametrize(("stated", "expected"), [(3, 1.0), (4, 0.0), (2, 0.0)])
def test_the_number_of_tracks_is_that_of_the_labels(stated: int, expected: float) -> None:
    labels = (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, -1, -1)
    evidence = Evidence(labels={"labels": labels}, particle_id=TRUTH, reconstructable=(1, 2))
    claimed = {"artifacts": {"labels": "tracks_1"}, "answers": {"n_tracks": {"value": stated}}}
    outcome = Tracks("labels", goal=1.0, number="n_tracks")(Case(read_submission(claimed), {}, evidence=evidence))
    assert outcome.fraction == expected
    assert bool(outcome.slip) == (expected == 0.0)


def test_half_of_the_tracks_may_not_be_fakes() -> None:
    fake = (5, 6, 7, 8)  # one hit each
    assert tracked((0, 0, 0, -1, 1, 1, 1, -1, *fake)) == 0.0
    assert tracked((0, 0, 0, -1, 1, 1, 1, -1, 2, 2, -1, 5)) == pytest.approx(0.691, abs=1e-3)  # one of four


def test_double_majority_is_that_of_track_finding() -> None:
    """The same rule in another program of this package, on random tracks."""
    from beampipe.tracking.evaluation.matching import Candidates, match
    from beampipe.tracking.truth import Contributions

    rng = random.Random(3)
    found_any = 0
    for _ in range(30):
        particles = np.array([rng.randrange(4) for _ in range(40)])
        labels = np.array([particle if rng.random() < 0.8 else rng.randrange(-1, 6) for particle in particles])
        none = np.empty(0, np.int64)
        known = Contributions(*np.unique(particles, return_inverse=True), none, none)
        matches = match(Candidates.from_labels(labels), known, 1)
        mine, _ = double_majority(labels.tolist(), particles.tolist())
        assert mine == set(known.particle_id[matches.found_double].tolist())
        found_any += len(mine)
    assert found_any


MEASURED = fit_workspace(WORKSPACE)
STRENGTH, ITS_ERROR = MEASURED.values["strength"], MEASURED.errors["strength"]


@pytest.mark.parametrize(
    ("uncertainty", "changes", "expected"),
    [
        (ITS_ERROR, {}, 1.0),
        (ITS_ERROR, {"regions": 4}, 0.0),
        (ITS_ERROR, {"constrained": 3}, 0.0),
        (ITS_ERROR / 3, {}, 0.5),
        (1.1 * ITS_ERROR, {}, 0.5),
        (None, {}, 0.5),
    ],
)
def test_a_workspace_gives_the_answer(uncertainty: float | None, changes: dict[str, int], expected: float) -> None:
    """A multiple of the parameter, such as a cross section, has its relative uncertainty."""
    settings = {"regions": 3, "free": 3, "constrained": 2, **changes}
    built = entry(1, "build_workspace_tool", {}, {"handle": "workspace_1", "workspace": WORKSPACE})
    exported = entry(2, "export_tool", {"handle": "workspace_1", "name": "model"}, {"artifact": "artifact_1"})
    answer = {"value": 25 * STRENGTH, "uncertainty": uncertainty and 25 * uncertainty}
    for handle in ("workspace_1", "artifact_1"):
        submission = read_submission({"answers": {"mass": answer}, "artifacts": {"model": handle}})
        outcome = WorkspaceFits("model", "mass", **settings)(Case(submission, entries=[built, exported]))
        assert outcome.fraction == expected, outcome.reason


def test_a_region_given_twice_is_one() -> None:
    workspace = {**WORKSPACE, "channels": [*WORKSPACE["channels"], WORKSPACE["channels"][0]]}
    built = entry(1, "build_workspace_tool", {}, {"handle": "workspace_1", "workspace": workspace})
    submission = read_submission({"answers": {"mass": {"value": 1.0}}, "artifacts": {"model": "workspace_1"}})
    outcome = WorkspaceFits("model", "mass", regions=4)(Case(submission, entries=[built]))
    assert outcome.reason == "workspace: 3 regions, expected 4"


@pytest.mark.parametrize("handle", ["workspace_2", "hist_1", None, 7])
def test_a_workspace_must_be_one_of_the_ledger(handle: object) -> None:
    entries = [
        entry(1, "build_workspace_tool", {}, {"handle": "workspace_1", "workspace": WORKSPACE}),
        replace(entry(2, "build_workspace_tool", {}, {"handle": "workspace_2", "workspace": WORKSPACE}), sources=()),
        entry(3, "histogram_tool", {}, {"handle": "hist_1", "edges": [0, 1], "values": [1]}),
    ]
    submission = read_submission({"answers": {"mass": {"value": 1.0}}, "artifacts": {"model": handle}})
    outcome = WorkspaceFits("model", "mass")(Case(submission, entries=entries))
    assert outcome.fraction == 0.0
    assert "build_workspace_tool" in outcome.slip
