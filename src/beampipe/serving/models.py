"""Settings of the models that beampipe serves, by their names in `beampipe.serving.variants`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.events import ON_AXIS, BeamSpot, scale_named
from beampipe.files import built
from beampipe.serving import contract
from beampipe.serving.contract import FEATURES, LABELS, TRACKS, WIDE_FEATURES
from beampipe.serving.tracking_model import small_event
from beampipe.serving.variants import ACTS_MODEL, DEFAULT_MODELS, MODELS, VARIANTS
from beampipe.tracking.acts.settings import ACTS_FAST
from beampipe.tracking.fitting.tables import layer_of
from beampipe.tracking.kernels import native
from beampipe.tracking.loading import fit_weights, load_pipeline, pipeline_weights
from beampipe.tracking.models import DEFAULT_MODEL, load_model
from beampipe.tracking.pipeline import Pipeline
from beampipe.triton.model.contract import EnsembleSettings, ModelSettings

BACKEND: Final = "beampipe"
"""Name of the native backend in a model's configuration. It runs the same pipelines over the same kernels as
`load_pipeline`, inside the server's process, and gives the same labels."""

MAX_BATCH_SIZE: Final = 64
"""Most requests in one call of a model that batches."""

MAX_HITS: Final = 1_250_000
"""Most hits of an event; about eight times as many as at mu = 200."""

HIT_BUDGET: Final = 200_000
"""Most hits of the events that run as one graph."""

_ATHENA_COLUMNS: Final = 44
"""Number of columns of FEATURES that Athena sends by default."""


@dataclass(frozen=True)
class ServingSettings:
    """Which tracking models to serve, and how.

    Attributes:
        models: names of `beampipe.serving.MODELS`; `DEFAULT_MODELS` if empty.
        instances: copies of each model.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"auto"``, for each model but ACTS.
        threads: threads of each copy; None to divide the cores among the copies.
        scale: unit of FEATURES, a name of `beampipe.events.SCALES`.
        name: name of the model on the wire, for one model only; None for its own.
        backend: what runs whole pipelines: ``"native"`` (C++ in the server's process), ``"python"`` (a process beside
            it), or None for native on the CPU where it was built. Ensembles and ACTS always run in Python.
        tracker_model: tracker model of the pipelines: the name of a shipped one, or a folder, which is copied.
        beam_spot: expected beam line; None for that of the tracker model.
        check: whether to refuse events with hits of another detector or in other units.
        max_hits: most hits of an event; a larger one is refused.
        hit_budget: most hits of the events that a batching model runs as one graph.

    Raises:
        UnknownNameError: no backend has that name.
    """

    models: tuple[str, ...] = ()
    instances: int = 1
    device: str = "cpu"
    threads: int | None = None
    scale: str = "mm"
    name: str | None = None
    backend: str | None = None
    tracker_model: str | Path = DEFAULT_MODEL
    beam_spot: BeamSpot | None = None
    check: bool = True
    max_hits: int = MAX_HITS
    hit_budget: int = HIT_BUDGET

    def __post_init__(self) -> None:
        if self.backend not in (None, "native", "python"):
            raise UnknownNameError("backend", self.backend, ("native", "python"))


DEFAULTS: Final = ServingSettings()


def named_models(settings: ServingSettings = DEFAULTS) -> tuple[ModelSettings | EnsembleSettings, ...]:
    """The models of a repository.

    Raises:
        UnknownNameError: no model, device, scale or shipped tracker model has that name.
        ConfigError: the native backend is not available, the tracker model was not trained for a pipeline, or several
            models are to have one name.
        FileError: no tracker model in the folder, or its weights are not those that it was made with.
    """
    use_native = uses_native(settings)
    models = tuple(_named_model(name, settings, use_native) for name in settings.models or DEFAULT_MODELS)
    return models if settings.name is None else renamed(models, settings.name)


def _named_model(name: str, settings: ServingSettings, use_native: bool) -> ModelSettings | EnsembleSettings:
    if name == ACTS_MODEL:
        if settings.beam_spot is not None:
            raise ConfigError("--beam-spot: got it for acts, which has its own, expected models of pipelines")
        return acts_model(settings)
    if name not in VARIANTS:
        raise UnknownNameError("model", name, MODELS)
    pipeline, way = VARIANTS[name].pipeline.name, VARIANTS[name].way
    if way == "ensemble":
        return ensemble_model(name, pipeline, settings)
    for_athena = way == "athena"
    wire_name = f"{name}_finder" if for_athena else name
    model = tracking_model(wire_name, pipeline, settings, ragged=way == "ragged", athena=for_athena)
    model = native_settings(model) if use_native else model
    if not for_athena:
        return model
    # Athena addresses an ensemble of one step: one output, of the name that Athena reads, and no process of its own.
    return EnsembleSettings(name, (model,), (WIDE_FEATURES,), (LABELS,), {LABELS.name: TRACKS.name})


def renamed(
    models: Iterable[ModelSettings | EnsembleSettings], name: str
) -> tuple[ModelSettings | EnsembleSettings, ...]:
    """One model under another name, such as the one that clients of other programs use.

    Args:
        models: one model; the steps of an ensemble keep their names.
        name: name of the model on the wire.

    Raises:
        ConfigError: there are several models, or the name is not allowed.
    """
    models = tuple(models)
    if len(models) != 1:
        raise ConfigError(f"--name: got {name!r} for {len(models)} models, expected one model; export each by itself")
    return (replace(models[0], name=name),)


def tracking_model(
    name: str, pipeline: str, settings: ServingSettings = DEFAULTS, *, ragged: bool = False, athena: bool = False
) -> ModelSettings:
    """One model that runs a whole pipeline.

    Args:
        name: name of the model in Triton's repository.
        pipeline: a name of `beampipe.tracking.PIPELINES`.
        settings: how it is served.
        ragged: whether Triton gathers events of different size for one call.
        athena: whether it takes the tensors of Athena's client and has the output TRACKS; it fits no tracks then.

    Raises:
        UnknownNameError: no pipeline, scale, device or shipped tracker model has that name.
        ConfigError: the tracker model was not trained for the pipeline.
        FileError: no tracker model in the folder, or its weights are not those that it was made with.
    """
    loaded, common, example = _pipeline(pipeline, settings)
    parameters = {
        **common,
        contract.STAGE_NAMES: ",".join(loaded.steps),
        contract.COUNT_NAMES: "hits,edges,triplets,outside,unfilled_layers",
    }
    if ragged:
        parameters[contract.HIT_BUDGET] = str(settings.hit_budget)
    weights = pipeline_weights(pipeline, settings.tracker_model)
    if athena:
        parameters[contract.PROFILE] = "athena"
        example = {FEATURES.name: np.pad(example[FEATURES.name], ((0, 0), (0, _ATHENA_COLUMNS - 3)))}
        kind = "AthenaModel"
    else:
        tables = fit_weights(settings.tracker_model)
        kinds = (
            ("TrackingModel", "FittingModel") if loaded.double_sided is None else ("StripModel", "FittingStripModel")
        )
        weights, kind = (*weights, *tables), kinds[bool(tables)]
    return ModelSettings(
        name,
        f"beampipe.serving.tracking_model:{kind}",
        parameters,
        weights,
        settings.instances,
        settings.device,
        settings.threads,
        max_batch_size=MAX_BATCH_SIZE if ragged else 0,
        example=example,
    )


def ensemble_model(name: str, pipeline: str, settings: ServingSettings = DEFAULTS) -> EnsembleSettings:
    """A pipeline with networks and components as six chained models, named ``NAME_embed`` and so on.

    Args:
        name: name of the ensemble in Triton's repository.
        pipeline: name of the pipeline; `beampipe.serving.variants` lists those that can be chained.
        settings: how it is served.

    Raises:
        UnknownNameError: no pipeline, scale, device or shipped tracker model has that name.
        ConfigError: the tracker model was not trained for the pipeline.
        FileError: no tracker model in the folder, or its weights are not those that it was made with.
    """
    from beampipe.serving.ensemble import STEPS

    _, parameters, example = _pipeline(pipeline, settings)
    weights = (*pipeline_weights(pipeline, settings.tracker_model), *fit_weights(settings.tracker_model))
    steps = tuple(
        ModelSettings(
            f"{name}_{step}",
            f"{model.__module__}:{model.__name__}",
            parameters,
            weights,
            settings.instances,
            settings.device,
            settings.threads,
            example=example,
        )
        for step, model in STEPS.items()
    )
    return EnsembleSettings(name, steps, (FEATURES,), (LABELS,))


def acts_model(settings: ServingSettings = DEFAULTS) -> ModelSettings:
    """ACTS as a model, on the CPU with one thread per event. It uses only the settings `scale` and `instances`."""
    parameters = {
        contract.ACTS_SETTING: "fast",
        contract.MAGNETIC_FIELD: f"{ACTS_FAST.field_z:g}",
        contract.MIN_HITS: str(ACTS_FAST.measurements_min),
        contract.MAX_HITS: str(MAX_HITS),
        contract.FEATURE_SCALE: scale_named(settings.scale).name,
        contract.STAGE_NAMES: "spacepoints,seeding,parameters,ckf,ambiguity",
        contract.COUNT_NAMES: "hits,spacepoints,seeds,tracks",
    }
    model = "beampipe.serving.tracking_model:ActsModel"
    return ModelSettings(ACTS_MODEL, model, parameters, instances=settings.instances, threads=1)


def _pipeline(name: str, settings: ServingSettings) -> tuple[Pipeline, dict[str, str], dict[str, ndarray]]:
    """A pipeline, the parameters in the configuration of any model that runs it, and the request of the canary.

    The canary is a shipped event in the units of the model. If the expected beam line is off the axis, the event is
    moved to it; hits on no layer of the detector are dropped.
    """
    pipeline = load_pipeline(name, model=settings.tracker_model, beam_spot=settings.beam_spot)
    scale = scale_named(settings.scale)
    parameters = {
        contract.PIPELINE: pipeline.name,
        contract.FEATURE_SCALE: scale.name,
        contract.MAX_HITS: str(settings.max_hits),
        contract.BEAM_SPOT_PARAMETER: pipeline.beam_spot.text,
        contract.CHECK_LAYOUT: str(settings.check).lower(),
        contract.USUAL_ON_TRACKS: pipeline.expected_tracks.text,
        contract.MAGNETIC_FIELD: f"{pipeline.model.layout.field:g}",
        contract.MIN_HITS: str(pipeline.model.crossing.min_layers),
    }
    position = small_event().position
    if pipeline.beam_spot != ON_AXIS:
        position = pipeline.beam_spot.opposite.relative_to(position)
    position = position[layer_of(position, pipeline.windows.layers) >= 0]
    return pipeline, parameters, {FEATURES.name: position if scale.name == "mm" else scale.from_mm(position)}


def native_settings(model: ModelSettings) -> ModelSettings:
    """The same model of `tracking_model`, run by the native backend."""
    tracker = load_model(model.weights[0].parent)  # its files lie side by side
    spec = tracker.spec(model.parameters[contract.PIPELINE]).to_json()
    parameters = {**model.parameters, contract.PIPELINE_SPEC: spec}
    return replace(model, parameters=parameters, backend=BACKEND, libraries=native_libraries())


def native_libraries() -> tuple[Path, ...]:
    """The library of the native backend, the kernels that it opens, and libraries from a wheel; empty if not built.

    They work from any folder, together.
    """
    library = built("beampipe.serving", f"native/libtriton_{BACKEND}.so")
    if library is None or (kernels := native()).__file__ is None:
        return ()
    folder = Path(kernels.__file__).parent
    bundled = (folder.parents[2] / "beampipe.libs").glob("*.so*")  # libraries that a wheel carries along
    return (library, *sorted(folder.glob("_kernels_*.so")), *sorted(bundled))


def uses_native(settings: ServingSettings) -> bool:
    """Whether the native backend serves pipelines: on the CPU, unless the settings say Python.

    Args:
        settings: how they are served. Without a backend, warns and uses Python where the native one was not built.

    Raises:
        ConfigError: the native backend was requested and is not available.
    """
    backend, device = settings.backend, settings.device
    if backend == "python" or (backend is None and device != "cpu"):
        return False
    if device != "cpu":
        raise ConfigError(f"backend: got native on {device}, expected python there, or --device cpu")
    if native_libraries():
        return True
    if backend == "native":
        raise ConfigError(
            "backend: got native, which was not built; install a wheel, or a C++ compiler and `pip install` from source"
        )
    warnings.warn(
        "beampipe's native backend was not built; the Python backend serves instead, which costs each request some"
        " tenths of a millisecond: install a wheel, or a C++ compiler and `pip install` from source",
        RuntimeWarning,
        stacklevel=2,
    )
    return False
