"""The models that beampipe serves, by name.

========================  ============================================================================
`exatrkx`                 the whole pipeline in one model; also any other pipeline under its own name
`exatrkx_ragged`          the same, several events of different size in one call
`exatrkx_ensemble`        the same, as six models that Triton chains
`acts`                    triplet seeding and CKF of ACTS, on hits with their modules
========================  ============================================================================
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from beampipe.errors import UnknownNameError
from beampipe.serving import contract
from beampipe.serving.contract import FEATURES, LABELS
from beampipe.tracking.formats.scale import scale_named
from beampipe.tracking.pipelines.loading import load_pipeline, pipeline_weights
from beampipe.tracking.pipelines.specs import PIPELINES
from beampipe.triton.model.settings import EnsembleSettings, ModelSettings

__all__ = [
    "DEFAULT_MODELS",
    "MODELS",
    "acts_model",
    "default_models",
    "ensemble_model",
    "named_models",
    "tracking_model",
]

MAX_BATCH_SIZE: Final = 64
MAX_HITS: Final = 400_000
"""A larger event is refused; twice an event at mu = 200."""
HIT_BUDGET: Final = 200_000
"""Hits of the events that run as one graph."""

_RAGGED: Final = "_ragged"
_ENSEMBLE: Final = "_ensemble"

MODELS: Final = (
    *PIPELINES,
    *(name + _RAGGED for name in PIPELINES),
    "exatrkx_ensemble",
    "exatrkx_soft_ensemble",
    "acts",
)
"""Every name that `named_models` knows."""

DEFAULT_MODELS: Final = ("exatrkx", "exatrkx_ragged", "module_map", "module_map_ragged")
"""What is served if nothing else is asked for."""


def default_models(
    instances: int = 1, device: str = "cpu", threads: int | None = None
) -> tuple[ModelSettings | EnsembleSettings, ...]:
    """Settings of `DEFAULT_MODELS`."""
    return named_models(DEFAULT_MODELS, instances=instances, device=device, threads=threads)


def named_models(
    names: Iterable[str],
    *,
    instances: int = 1,
    device: str = "cpu",
    threads: int | None = None,
    scale: str = "mm",
) -> tuple[ModelSettings | EnsembleSettings, ...]:
    """Settings of the models of those names.

    Args:
        names: of `MODELS`.
        instances: copies of each.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"auto"``.
        threads: of each instance.
        scale: what one unit of FEATURES means.

    Raises:
        UnknownNameError: no model, device or scale of that name.
    """

    def one(name: str) -> ModelSettings | EnsembleSettings:
        if name not in MODELS:
            raise UnknownNameError("model", name, MODELS)
        if name == "acts":
            return acts_model(instances=instances, scale=scale)
        if name.endswith(_ENSEMBLE):
            pipeline = name.removesuffix(_ENSEMBLE)
            return ensemble_model(name, pipeline, instances=instances, device=device, threads=threads, scale=scale)
        return tracking_model(
            name,
            name.removesuffix(_RAGGED),
            ragged=name.endswith(_RAGGED),
            instances=instances,
            device=device,
            threads=threads,
            scale=scale,
        )

    return tuple(map(one, names))


def tracking_model(
    name: str,
    pipeline: str,
    *,
    ragged: bool = False,
    instances: int = 1,
    device: str = "cpu",
    threads: int | None = None,
    scale: str = "mm",
    max_hits: int = MAX_HITS,
    hit_budget: int = HIT_BUDGET,
) -> ModelSettings:
    """A whole pipeline as one model.

    Args:
        name: on the wire.
        pipeline: a name of `beampipe.tracking.PIPELINES`.
        ragged: several events of different size in one call.
        instances: copies.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"auto"``.
        threads: of each instance.
        scale: what one unit of FEATURES means.
        max_hits: a larger event is refused.
        hit_budget: hits of the events that run as one graph.

    Raises:
        UnknownNameError: no pipeline, device or scale of that name.
    """
    parameters = {
        contract.PIPELINE: pipeline,
        contract.FEATURE_SCALE: scale_named(scale).name,
        contract.MAX_HITS: str(max_hits),
        contract.STAGE_NAMES: ",".join(dict.fromkeys(stage for stage, _ in load_pipeline(pipeline).stages)),
        contract.COUNT_NAMES: "hits,edges,triplets",
    }
    if ragged:
        parameters[contract.HIT_BUDGET] = str(hit_budget)
    return ModelSettings(
        name,
        "beampipe.serving.tracking_model:TrackingModel",
        parameters,
        pipeline_weights(pipeline),
        instances,
        device,
        threads,
        MAX_BATCH_SIZE if ragged else 0,
    )


def ensemble_model(
    name: str,
    pipeline: str,
    *,
    instances: int = 1,
    device: str = "cpu",
    threads: int | None = None,
    scale: str = "mm",
) -> EnsembleSettings:
    """A pipeline with networks and components as six chained models, named ``NAME_embed`` and so on."""
    from beampipe.serving.ensemble import STEPS

    parameters = {
        contract.PIPELINE: pipeline,
        contract.FEATURE_SCALE: scale_named(scale).name,
        contract.MAX_HITS: str(MAX_HITS),
    }
    weights = pipeline_weights(pipeline)
    steps = tuple(
        ModelSettings(
            f"{name}_{step}", f"{model.__module__}:{model.__name__}", parameters, weights, instances, device, threads
        )
        for step, model in STEPS.items()
    )
    return EnsembleSettings(name, steps, (FEATURES,), (LABELS,))


def acts_model(name: str = "acts", setting: str = "fast", *, instances: int = 1, scale: str = "mm") -> ModelSettings:
    """ACTS as a model, on the CPU; an event takes one thread."""
    parameters = {
        contract.ACTS_SETTING: setting,
        contract.MAX_HITS: str(MAX_HITS),
        contract.FEATURE_SCALE: scale_named(scale).name,
        contract.STAGE_NAMES: "spacepoints,seeding,parameters,ckf",
        contract.COUNT_NAMES: "hits,spacepoints,seeds,tracks",
    }
    return ModelSettings(name, "beampipe.serving.tracking_model:ActsModel", parameters, instances=instances, threads=1)
