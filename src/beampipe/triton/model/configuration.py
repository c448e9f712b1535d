"""The contents of a model's ``config.pbtxt``, as nested dictionaries for `to_pbtxt`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from beampipe.triton.model.contract import TensorSpec
from beampipe.triton.model.pbtxt import Symbol
from beampipe.triton.model.served_model import model_class
from beampipe.triton.model.settings import EnsembleSettings, ModelSettings

__all__ = ["ensemble_configuration", "model_configuration", "tensor_configuration"]


def model_configuration(settings: ModelSettings, model: type[Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    """The configuration of one model.

    Args:
        settings: what the model is to be.
        model: class of the model, which declares the tensors.
        parameters: values by name of the section ``parameters``.
    """
    ragged = {"allow_ragged_batch": True} if settings.max_batch_size else {}
    config: dict[str, Any] = {
        "name": settings.name,
        "backend": settings.backend,
        "max_batch_size": settings.max_batch_size,
        "input": [{**tensor_configuration(spec), **ragged} for spec in model.inputs],
        "output": [tensor_configuration(spec) for spec in model.outputs],
        "instance_group": [_instance_group(settings)],
        "version_policy": {"latest": {"num_versions": 1}},
        "parameters": _parameters(parameters),
    }
    if settings.max_batch_size:
        # No queue delay: batches form while the previous one runs. No queue policy: it stalls requests (see the docs).
        config["dynamic_batching"] = {}
    return config


def ensemble_configuration(settings: EnsembleSettings) -> dict[str, Any]:
    """The configuration of a chain of models."""
    models = [model_class(step.model) for step in settings.steps]
    # A step makes only what it is asked for: what nobody takes is not asked for.
    taken = {spec.name for model in models for spec in model.inputs} | {spec.name for spec in settings.outputs}
    names = {made: name for name, made in settings.made_from.items()}
    steps = []
    for step, model in zip(settings.steps, models, strict=True):
        outputs = {spec.name: names.get(spec.name, spec.name) for spec in model.outputs}
        kept = {name: wire for name, wire in outputs.items() if wire in taken and name not in settings.made_from}
        steps.append(
            {
                "model_name": step.name,
                "model_version": -1,
                "input_map": [{"key": spec.name, "value": spec.name} for spec in model.inputs],
                "output_map": [{"key": name, "value": wire} for name, wire in kept.items()],
            }
        )
    return {
        "name": settings.name,
        "platform": "ensemble",
        "max_batch_size": 0,
        "input": [tensor_configuration(spec) for spec in settings.inputs],
        "output": [tensor_configuration(spec) for spec in settings.outputs],
        "parameters": _parameters(settings.steps[0].parameters),
        "ensemble_scheduling": {"step": steps},
    }


def tensor_configuration(spec: TensorSpec) -> dict[str, Any]:
    """One tensor of a configuration."""
    return {"name": spec.name, "data_type": Symbol(f"TYPE_{spec.triton_type}"), "dims": list(spec.dims)}


def _parameters(parameters: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"string_value": value}} for key, value in sorted(parameters.items())]


def _instance_group(settings: ModelSettings) -> dict[str, Any]:
    kind, _, number = settings.device.partition(":")
    group: dict[str, Any] = {
        "count": settings.instances,
        "kind": Symbol({"cpu": "KIND_CPU", "cuda": "KIND_GPU", "auto": "KIND_AUTO"}[kind]),
    }
    if number:
        group["gpus"] = [int(number)]
    return group
