"""The table of pipelines: whole and sound."""

from __future__ import annotations

from dataclasses import replace

import pytest

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.tracking import DEFAULT_PIPELINE, PIPELINES, Components, Walk, build_pipeline, shipped_events
from beampipe.tracking.catalogue import PipelineSpec, pipeline_spec


def test_every_spec_is_found_by_its_name() -> None:
    assert all(pipeline_spec(name).name == name for name in PIPELINES)
    assert DEFAULT_PIPELINE in PIPELINES
    with pytest.raises(UnknownNameError, match="did you mean 'module_map'"):
        pipeline_spec("modulemap")


def test_a_spec_of_ones_own() -> None:
    hits = shipped_events(0)[0].hits
    short = replace(PIPELINES["module_map_soft"], name="mine", segmentation=Walk(min_hits=3, penalty=0.5))
    pipeline = build_pipeline(short, 1)
    assert pipeline.find(hits).n_tracks > build_pipeline(PIPELINES["module_map_soft"], 1).find(hits).n_tracks > 0
    # Scores on a graph from windows: no named pipeline has them.
    scored = replace(PIPELINES["exatrkx_walk_soft"], name="mixed", graph="windows")
    assert build_pipeline(scored, 1).find(hits).n_tracks > 0
    unscored = replace(PIPELINES["exatrkx_walk_soft"], name="bare", scored=False)
    assert build_pipeline(unscored, 1).find(hits).n_tracks > 0


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="pipeline exatrkx: got networks None, expected the weight file"):
        replace(PIPELINES["exatrkx"], networks=None)
    with pytest.raises(ConfigError, match="pipeline module_map: got networks 'exatrkx', expected None"):
        replace(PIPELINES["module_map"], networks="exatrkx")
    with pytest.raises(ConfigError, match=r"pipeline module_map: got curvature 0\.0, expected a factor above 0, up"):
        replace(PIPELINES["module_map"], curvature=0.0)
    with pytest.raises(ConfigError, match=r"got curvature_from 0\.4, expected a share from 0 to below 0\.4"):
        replace(PIPELINES["module_map"], curvature=0.4, curvature_from=0.4)
    with pytest.raises(ConfigError, match=r"pipeline module_map: got seed_depth -1, expected a number of layers"):
        replace(PIPELINES["module_map"], seed_depth=-1)
    with pytest.raises(ConfigError, match="pipeline module_map: got components of edges without a score"):
        replace(PIPELINES["module_map"], segmentation=Components(min_hits=5))
    with pytest.raises(ConfigError, match="pipeline exatrkx: got components of edges without a score"):
        replace(PIPELINES["exatrkx"], scored=False)


def test_long_tracks_of_every_kind_come_before_short_ones() -> None:
    """A part of a displaced track that fits the windows of prompt ones would block its other hits."""

    def fewest(spec: PipelineSpec) -> int:
        return max(spec.segmentation.min_hits, 0 if spec.completion is None else spec.completion.min_hits)

    *long, short = PIPELINES["all"].passes
    assert {spec.windows for spec in long} == set(PIPELINES["all"].weight_stems)
    assert [fewest(spec) for spec in long] == [7] * len(long)
    assert fewest(short) == 5


def test_tracks_are_no_longer_than_the_detector_allows() -> None:
    for spec in PIPELINES["all"].with_min_hits_up_to(5).passes:
        assert spec.segmentation.min_hits == 5
        assert spec.completion is not None
        assert spec.completion.min_hits <= 5
