"""ACTS in a detector that is not its Generic one."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.errors import InputError
from beampipe.events import Event, Hits
from beampipe.simulation import acts_geometry
from beampipe.simulation.acts_geometry import build_detector
from beampipe.simulation.detector import DetectorLayout, Layer, read_layout, shells
from beampipe.tracking.acts import ACTS_EFFICIENT, ActsTrackFinder
from beampipe.tracking.acts.layouts import acts_detector
from beampipe.tracking.acts.sequencer import ActsDetector, Measurements
from beampipe.tracking.evaluation.scoring import evaluate
from beampipe.tracking.finder_names import named_finders
from beampipe.tracking.formats.parquet import write_simulated
from beampipe.tracking.models import load_model
from beampipe.tracking.models.card import model_overview, pipeline_rows
from beampipe.tracking.truth import Selection
from tests.in_process import output_of
from tests.simulation.layouts import COMPACT, LONGBAR, shot

pytestmark = pytest.mark.acts


def test_muons_of_a_layout_are_found_and_fitted() -> None:
    layout = read_layout(LONGBAR)
    event = shot(layout, 1, 100, (2.0, 20.0), 1.5)
    where = ActsDetector(layout.field_T, build_detector(layout).geometry, "the detector 'longbar'")
    seeds: dict[str, Any] = {
        "seed_volumes": (3, 5, 6, 7),
        "delta_r_max": 260.0,
        "seed_r_max": 450.0,
        "middle_r_max": 300.0,
    }
    settings = replace(ACTS_EFFICIENT, field_z=layout.field_T, impact_max=2.5, measurements_min=5, **seeds)
    finder = ActsTrackFinder(settings, where=where)
    chosen = Selection(min_layers=6)
    (result,) = evaluate({"acts": finder}, [event], sample="muons", selection=chosen, min_track_hits=5).finders
    assert result.double.efficiency.total > 80
    assert result.double.efficiency.value > 0.97
    tracks = finder.find(event.hits)
    assert tracks.fits is not None
    # In the wrong field all momenta would be off by a third.
    assert event.truth is not None
    label = np.array([event.truth.particle_id[rows[0]] for rows in tracks.candidates or ()])
    true_pt = event.truth.particles.pt[np.searchsorted(event.truth.particles.particle_id, label)]
    assert np.median(tracks.fits.pt / true_pt) == pytest.approx(1.0, abs=0.02)
    with pytest.raises(InputError, match="is no module of the Generic detector of ACTS"):
        ActsTrackFinder().find(event.hits)


@pytest.mark.parametrize("path", [COMPACT, LONGBAR])
def test_modules_found_in_a_grid_are_those_found_by_trying_all(
    path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The same hits and tracks as with the default of ACTS, which tries all modules of a layer."""
    layout = read_layout(path)
    event = shot(layout, 5, 400, (0.3, 20.0), 2.7)
    in_grid = found_by_acts(layout, event)
    changed: list[str] = []

    def trying_all(layer: Layer) -> Any:
        import acts

        changed.append(layer.name)
        everything = acts.TryAllNavigationPolicy.Config()
        everything.portals = everything.sensitives = True
        return acts.NavigationPolicyFactory.make().add(acts.TryAllNavigationPolicy, everything)

    monkeypatch.setattr(acts_geometry, "_navigation_on_grid", trying_all)
    build_detector.cache_clear()
    request.addfinalizer(build_detector.cache_clear)
    expected = shot(layout, 5, 400, (0.3, 20.0), 2.7)
    assert len(changed) == sum(len(shell.layers) for shell in shells(layout))
    np.testing.assert_array_equal(event.hits.geometry_id, expected.hits.geometry_id)
    np.testing.assert_array_equal(event.hits.position, expected.hits.position)
    assert len(in_grid) > 150
    assert in_grid == found_by_acts(layout, expected)


def found_by_acts(layout: DetectorLayout, event: Event) -> set[tuple[int, ...]]:
    """The hits of each track."""
    where = ActsDetector(layout.field_T, build_detector(layout).geometry)
    settings = replace(ACTS_EFFICIENT, field_z=layout.field_T, measurements_min=5, seed_volumes=(2, 3, 4))
    return {tuple(rows.tolist()) for rows in ActsTrackFinder(settings, where=where).find(event.hits).candidates or ()}


def test_a_space_point_is_two_measurements_and_ghosts_share_them() -> None:
    """A pixel, and four points of two strips on each sensor of the module with the numbers 3 and 4."""
    module = np.array([7 << 56 | 1 << 8, *[9 << 56 | 3 << 8] * 4], np.uint64)
    local = np.array([[0.5, 0.25], [1, 10], [1, 20], [2, 10], [2, 20]], np.float32)
    variance = np.tile(np.array([[0.25, 0.5]], np.float32), (5, 1))
    order = np.array([3, 0, 4, 1, 2])
    hits = Hits(np.ones((5, 3), np.float32), module[order], local[order], variance[order])
    measured = Measurements.of(hits, module[1:2])
    assert len(measured) == 5
    assert measured.module.tolist() == [module[0], module[1], module[1], module[1] + 256, module[1] + 256]
    assert measured.local[:, 0].tolist() == [0.5, 1, 2, 10, 20]
    assert measured.variance[:, 0].tolist() == [0.25, 0.25, 0.25, 0.5, 0.5]
    assert measured.is_strip.tolist() == [False, True, True, True, True]
    assert measured.of_track(np.array([1, 0])) == [0, 2, 3]
    # With the first strip of one sensor, the point is the one that the track takes on the other one.
    assert measured.hits_of_track([0, 2, 3]).tolist() == [1, 0]
    assert measured.hits_of_track([0, 4, 1]).tolist() == [1, 4]
    assert measured.hits_of_track([2]).tolist() == []


def test_muons_of_the_open_data_detector_are_found_by_the_named_settings_and_by_the_shipped_model() -> None:
    layout = read_layout(Path("odd"))
    event = shot(layout, 1, 100, (1.5, 20.0), 2.5)
    finders = named_finders(["acts", "acts-fast", "module_map"], detector=acts_detector(layout), model="odd")
    for finder in evaluate(
        finders, [event], sample="muons", selection=Selection(min_layers=7), min_track_hits=7
    ).finders:
        assert finder.double.efficiency.value > 0.97
        assert finder.double.completeness.value > 0.95
        assert finder.double.purity.value > 0.99
    assert event.truth is not None
    for named in finders.values():
        pt = np.median(named.find(event.hits).pt)  # without a fit, so by the field: 3 T
        assert pt == pytest.approx(np.median(event.truth.particles.pt), rel=0.1)
    with pytest.raises(InputError, match="is no module of the detector 'odd'"):
        finders["acts"].find(shot(read_layout(LONGBAR), 1, 3, (2.0, 20.0), 1.0).hits)


def test_cards_compare_with_acts_on_the_same_events(tmp_path: Path) -> None:
    events = [shot(read_layout(Path("odd")), seed, 150, (1.5, 20.0), 2.5) for seed in (1, 2)]
    write_simulated(tmp_path / "muons.parquet", ((event, {}) for event in events))
    folder = shutil.copytree(load_model("odd").path, tmp_path / "mine")
    events_and_model = (tmp_path / "muons.parquet", "--tracker-model", folder)
    output_of("tracking", "validate", *events_and_model, "--detector", "odd", "--card")
    model = load_model(folder)
    assert list(model.acts) == ["acts", "acts-fast"]
    assert list(model.performance) == list(model.pipelines)
    for measured in (model.acts["acts"], model.performance["module_map"]):
        assert measured.efficiency is not None
        assert measured.efficiency > 0.93  # 2 % of the hits and 1 % of the modules are lost
        assert measured.sample == model.performance["module_map"].sample
    overview = model_overview(model)
    assert "  acts-fast: seeding and Kalman filter of ACTS, for comparison" in overview
    assert [row[0] for row in pipeline_rows(model)] == [*model.pipelines, "acts", "acts-fast"]
