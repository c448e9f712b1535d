"""The table of pipelines: whole and sound."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.tracking import DEFAULT_PIPELINE, PIPELINES, Components, Walk, build_pipeline, shipped_events, stages
from beampipe.tracking.catalogue import Completion, Limit, PipelineSpec, pipeline_spec, with_displaced


def test_every_spec_is_found_by_its_name() -> None:
    assert all(pipeline_spec(name).name == name for name in PIPELINES)
    assert DEFAULT_PIPELINE in PIPELINES
    with pytest.raises(UnknownNameError, match="did you mean 'module_map'"):
        pipeline_spec("modulemap")


@pytest.mark.parametrize("name", PIPELINES)
def test_a_spec_as_json_says_all_of_it(name: str) -> None:
    assert told(json.loads(PIPELINES[name].to_json())) == PIPELINES[name]


def told(fields: dict[str, Any]) -> PipelineSpec:
    """The spec that such JSON tells."""
    how, completion, limit, after = (fields.pop(field) for field in ("segmentation", "completion", "limit", "after"))
    kind = {"components": Components, "walk": Walk}[how.pop("kind")]
    return PipelineSpec(
        **fields,
        segmentation=kind(**how),
        completion=None if completion is None else Completion(**completion),
        limit=None if limit is None else Limit(**limit),
        after=None if after is None else told(after),
    )


def test_numbers_of_a_spec_may_be_numpys() -> None:
    walk, scanned = Walk(min_hits=6, penalty=0.5), Walk(min_hits=6, penalty=0.5)
    for name, number in {"min_hits": np.int64(6), "penalty": np.float32(0.5)}.items():
        object.__setattr__(scanned, name, number)  # types are checked while tests run
    specs = [replace(PIPELINES["module_map"], segmentation=how) for how in (walk, scanned)]
    assert specs[0].to_json() == specs[1].to_json()


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_is_what_its_spec_says(name: str) -> None:
    spec = PIPELINES[name]
    pipeline = build_pipeline(spec, 1)
    assert len(pipeline.passes) == len(spec.passes)
    line = [stage for _, stage in pipeline.stages]
    kinds = {type(stage) for stage in line}
    assert (stages.CompleteTracks in kinds) == (spec.completion is not None)
    if spec.completion is not None:
        completed = line.pop()
        assert isinstance(completed, stages.CompleteTracks)
        assert Completion(completed.penalty, completed.min_score) == spec.completion
    assert (stages.FindNeighbours in kinds) == (spec.graph == "neighbours") != (stages.BuildFromWindows in kinds)
    assert (stages.KeepNeighbours in kinds) == (spec.graph == "both")
    assert (stages.ScoreEdges in kinds) == spec.scored == (spec.networks is not None)
    how, last = spec.segmentation, line[-1]
    if isinstance(how, Components):
        assert isinstance(last, stages.ConnectComponents)
        assert last.min_hits == how.min_hits
    elif spec.scored:
        assert isinstance(last, stages.WalkByScore)
        assert (last.min_hits, last.penalty, last.score_cut) == (how.min_hits, how.penalty, how.score_cut)
    else:
        assert isinstance(last, stages.WalkByChi2)
        assert (last.min_hits, last.penalty) == (how.min_hits, how.penalty)


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


def test_displaced_tracks_go_on_where_a_pipeline_ends() -> None:
    for name in ("module_map", "module_map_soft", "module_map_displaced"):
        longer = with_displaced(name)
        assert PIPELINES[longer].passes[-1].windows == "module_map_displaced"
        assert longer == with_displaced(longer)
    with pytest.raises(UnknownNameError, match="exatrkx_displaced"):
        with_displaced("exatrkx")
