"""The models that can be served, as data: each pipeline in the ways that it allows, and ACTS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from beampipe.errors import look_up
from beampipe.tracking.catalogue import PIPELINES, Components, PipelineSpec


@dataclass(frozen=True)
class ServedVariant:
    """One way in which a pipeline is served.

    Attributes:
        name: name of the model in Triton's repository.
        pipeline: what the model runs.
        way: ``"plain"``, one event in a request and a call; ``"ragged"``, events of different size that Triton gathers
            for one call; ``"athena"``, as plain, with the tensors of Athena's client; ``"ensemble"``, six models that
            Triton chains.
    """

    name: str
    pipeline: PipelineSpec
    way: Literal["plain", "ragged", "athena", "ensemble"]


def _all_variants() -> Iterator[ServedVariant]:
    ways: tuple[Literal["plain", "ragged", "athena"], ...] = ("plain", "ragged", "athena")
    for way in ways:
        for spec in PIPELINES.values():
            yield ServedVariant(spec.name if way == "plain" else f"{spec.name}_{way}", spec, way)
    for spec in PIPELINES.values():
        # The six steps are neighbours, filter, network and components: `beampipe.serving.ensemble`.
        one_pass = spec.after is None and spec.completion is None
        if one_pass and spec.graph == "neighbours" and spec.scored and isinstance(spec.segmentation, Components):
            yield ServedVariant(f"{spec.name}_ensemble", spec, "ensemble")


VARIANTS: Final[Mapping[str, ServedVariant]] = MappingProxyType({variant.name: variant for variant in _all_variants()})
"""Models that run a pipeline, by name."""

ACTS_MODEL: Final = "acts"
"""Name of the model that runs triplet seeding and CKF of ACTS, on hits with their modules."""

MODELS: Final = (*VARIANTS, ACTS_MODEL)
"""Names of all models that can be served."""

DEFAULT_MODELS: Final = ("exatrkx", "exatrkx_ragged", "module_map", "module_map_ragged")
"""Names of the models that are served by default."""


def pipeline_of(model: str) -> str:
    """Name of the pipeline that the model of that name runs.

    Raises:
        UnknownNameError: no model of that name runs a pipeline.
    """
    return look_up("pipeline of a model (give --pipeline)", model, VARIANTS).pipeline.name
