"""Finders of known quality, from events to results, tables, pictures and back from JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from beampipe.errors import FileError, InputError, UnknownNameError
from beampipe.events import Event, Hits, Tracks
from beampipe.figures import save_figure
from beampipe.tracking.evaluation import report
from beampipe.tracking.evaluation import report as plots
from beampipe.tracking.evaluation.results import Evaluation, Proportion, read_evaluation, write_evaluation
from beampipe.tracking.evaluation.scoring import evaluate
from beampipe.tracking.finder import InOneThread, TrackFinder
from beampipe.tracking.kernels import number_by_first_hit
from beampipe.tracking.truth import HEADLINE, select_particles
from tests.tracking import diagnostics

from .toy import toy_event


class Doubling(InOneThread):
    """Gives every true track twice."""

    def __init__(self, truth: diagnostics.TruthFinder) -> None:
        self.truth = truth

    def find(self, hits: Hits, /) -> Tracks:
        tracks = self.truth.find(hits)
        lists = [np.flatnonzero(tracks.track_id == track) for track in range(tracks.n_tracks)]
        return Tracks(tracks.track_id, {"seeding": 0.25, "ckf": 0.5}, {"seeds": 7}, lists + lists)


class Refusing(InOneThread):
    """Refuses every event."""

    def find(self, hits: Hits, /) -> Tracks:
        raise InputError("refusing: got an event, expected none")


class ByPhi(InOneThread):
    """Cuts the event into slices of phi: an order-free finder that is nearly always wrong."""

    def find(self, hits: Hits, /) -> Tracks:
        label = np.floor((hits.position[:, 1].astype(np.float64) + np.pi) * 3).astype(np.int64)
        return Tracks(number_by_first_hit(label))


def events() -> Iterator[Event]:
    for seed in range(4):
        yield toy_event(60, seed=seed, event_id=seed, merged=0)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    truth = diagnostics.TruthFinder()
    finders: dict[str, TrackFinder] = {
        "truth": truth,
        "doubling": Doubling(truth),
        "refusing": Refusing(),
        "slices": ByPhi(),
    }
    with pytest.warns(
        RuntimeWarning, match=r"refusing refused 4 of 4 events, .* not found; the first: refusing: got an"
    ):
        return evaluate(finders, truth.watching(events()), sample="toy")


def test_perfect_labels_score_perfectly(evaluation: Evaluation) -> None:
    result = evaluation.finders[0]
    n_reference = sum(int(select_particles(event, HEADLINE).sum()) for event in events())
    assert n_reference > 100
    for quality in (result.single, result.double):
        assert quality.efficiency == Proportion(n_reference, n_reference)
        assert quality.displaced.total > 10
        assert quality.displaced.passed == quality.displaced.total
        assert (quality.fakes.passed, quality.duplicates.passed) == (0, 0)
        assert quality.fakes.total > n_reference  # soft particles make candidates, and no fakes
    for variable in ("pt", "eta", "vertex_z", "distance"):
        assert sum(result.curve(variable).total) == n_reference
        assert result.curve(variable).double == result.curve(variable).total
    assert result.trackml == pytest.approx(1)
    by_origin = result.curve("origin").total
    assert by_origin[0] == n_reference
    assert by_origin[4] == result.double.displaced.total  # made at r = 20 mm
    assert result.stages[-1].stage == "total"
    assert result.stages[-1].n_events == evaluation.n_events == 4


def test_shared_hits_are_scored_from_lists(evaluation: Evaluation) -> None:
    truth, doubling = evaluation.finders[:2]
    assert doubling.double.efficiency == truth.double.efficiency
    assert doubling.double.duplicates == Proportion(truth.double.fakes.total, 2 * truth.double.fakes.total)
    assert [(time.stage, time.median) for time in doubling.stages] == [("seeding", 0.25), ("ckf", 0.5), ("total", 0.75)]


def test_refused_events_count_against_the_finder_and_stop_nobody(evaluation: Evaluation) -> None:
    refusing = evaluation.finders[2]
    assert len(refusing.failed) == 4
    assert refusing.failed[0].error == "refusing: got an event, expected none"
    assert refusing.double.efficiency == Proportion(0, evaluation.finders[0].double.efficiency.total)
    assert refusing.stages == ()


def test_a_lost_event_is_in_the_error() -> None:
    truth = diagnostics.TruthFinder()

    class Losing(InOneThread):
        def find(self, hits: Hits, /) -> Tracks:
            tracks = truth.find(hits)
            return tracks if len(hits) != smallest else Tracks(np.full(len(hits), -1, np.int64))

    smallest = min(len(event.hits) for event in events())
    assert len({len(event.hits) for event in events()}) == 4  # the premise: one event is lost, not several
    result = evaluate({"losing": Losing()}, truth.watching(events()), sample="toy").finders[0]
    efficiency = result.double.efficiency
    assert 0.7 < efficiency.value < 0.85
    low, high = efficiency.interval
    binomial = efficiency.binomial
    assert high - low > 4 * (binomial[1] - binomial[0])
    assert 0.4 < low < 0.7
    assert high == 1
    by_eta = result.curve("eta").proportions()[6]
    assert by_eta.spread is not None
    assert by_eta.interval[0] < by_eta.value < by_eta.interval[1]


def test_slices_are_nearly_all_fake(evaluation: Evaluation) -> None:
    slices = evaluation.finders[3]
    assert slices.double.efficiency.value < 0.1
    assert slices.double.fakes.total > 50
    assert slices.double.fakes.value > 0.8


def test_results_survive_json(evaluation: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "toy.json"
    write_evaluation(path, evaluation)
    again = read_evaluation(path)
    assert again == evaluation
    assert again.finders[3].double.fakes.interval == evaluation.finders[3].double.fakes.interval
    assert again.finders[3].double.fakes.spread is not None
    path.write_text('{"format": "something"}', encoding="utf-8")
    with pytest.raises(FileError, match="something"):
        read_evaluation(path)
    with pytest.raises(FileError, match="no such file"):
        read_evaluation(tmp_path / "none.json")
    path.write_text("no json", encoding="utf-8")
    with pytest.raises(FileError, match="something else"):
        read_evaluation(path)


def test_tables_show_the_numbers(evaluation: Evaluation) -> None:
    console = Console(record=True, width=240, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    with console.file:
        report.print_evaluation(evaluation, console, by=["vertex_z"])
        console.print(report.curve_table(evaluation, "pt"))
        text = console.export_text()
    assert "refusing (4 refused)" in text
    assert "by bootstrap over events" in text
    assert "efficiency by vertex_z" in text
    assert "-240 .. -200" in text
    assert "750.00 (750.00)" in text  # seeding + ckf of `Doubling`, in the column of the total
    assert "pT > 1 GeV, |eta| < 3, >= 7 layers" in text
    assert "median (p95) [ms]" in text  # not taken for markup


def test_pictures_are_drawn(evaluation: Evaluation, tmp_path: Path) -> None:
    figures = {
        "efficiency": plots.plot_efficiency(evaluation),
        "others": plots.plot_efficiency(evaluation, ["vertex_z", "distance"]),
        "stages": plots.plot_stages(evaluation),
    }
    assert [len(figure.axes) for figure in figures.values()] == [3, 2, 1]
    with pytest.raises(UnknownNameError, match="variable: got 'vertex'"):
        plots.plot_efficiency(evaluation, ["vertex"])
    for name, figure in figures.items():
        save_figure(figure, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000


def test_refusals() -> None:
    bare = Event(1, Hits(np.zeros((2, 3), np.float32)))
    with pytest.raises(InputError, match="no truth"):
        evaluate({"slices": ByPhi()}, [bare], sample="data")
    with pytest.raises(InputError, match="no event"):
        evaluate({"slices": ByPhi()}, [], sample="nothing")
    with pytest.raises(InputError, match="watching"):
        diagnostics.TruthFinder().find(bare.hits)
