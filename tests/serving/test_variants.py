"""The names of the served models follow from the pipelines, and stay what they were on the wire."""

from __future__ import annotations

from pathlib import Path

import pytest

from beampipe.errors import UnknownNameError
from beampipe.serving.variants import DEFAULT_MODELS, MODELS, VARIANTS, pipeline_of, variants_of
from beampipe.tracking.catalogue import PIPELINES


def test_the_names_on_the_wire() -> None:
    names = (
        "exatrkx",
        "exatrkx_walk",
        "module_map",
        "exatrkx_soft",
        "exatrkx_walk_soft",
        "module_map_soft",
        "module_map_displaced",
        "module_map_soft_displaced",
    )
    ragged = tuple(f"{name}_ragged" for name in names)
    athena = tuple(f"{name}_athena" for name in names)
    assert (*names, *ragged, *athena, "exatrkx_ensemble", "acts") == MODELS
    assert set(DEFAULT_MODELS) <= set(MODELS)
    page = (Path(__file__).parents[2] / "docs/serving.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in (*names, "..._ragged", "..._athena", "exatrkx_ensemble", "acts"))


def test_every_pipeline_has_its_ways() -> None:
    for name, spec in PIPELINES.items():
        ways = variants_of(spec)
        assert list(ways)[:3] == ["plain", "ragged", "athena"]
        assert ("ensemble" in ways) == (name == "exatrkx")
        assert {pipeline_of(variant.name) for variant in ways.values()} == {name}
    assert sum(len(variants_of(spec)) for spec in PIPELINES.values()) == len(VARIANTS)


def test_a_model_that_runs_no_pipeline() -> None:
    with pytest.raises(UnknownNameError, match="unknown pipeline of a model"):
        pipeline_of("acts")
