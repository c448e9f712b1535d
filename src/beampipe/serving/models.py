"""Settings of the models that beampipe serves, by their names in `beampipe.serving.variants`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
from numpy import ndarray

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.events import ON_AXIS, BeamSpot, scale_named
from beampipe.files import built
from beampipe.serving import contract
from beampipe.serving.contract import FEATURES, LABELS, TRACKS, WIDE_FEATURES
from beampipe.serving.tracking_model import small_event
from beampipe.serving.variants import ACTS_MODEL, MODELS, VARIANTS
from beampipe.tracking.fitting.reference import layer_of
from beampipe.tracking.kernels import native
from beampipe.tracking.loading import fit_weights, load_pipeline, pipeline_weights
from beampipe.tracking.models import DEFAULT_MODEL, load_model
from beampipe.tracking.pipeline import Pipeline
from beampipe.triton.model.contract import EnsembleSettings, ModelSettings

# The native backend: pipelines as models in C++, in the process of the server itself.


BACKEND: Final = "beampipe"
"""Name of the native backend in a model's configuration."""

BackendChoice = Literal["native", "python"]
"""What runs a served pipeline: C++ in the server's process, or a Python process beside it."""


def backend_choice(name: str | None) -> BackendChoice | None:
    """The choice of that name; None if nothing was chosen.

    Args:
        name: what a user wrote, such as ``"native"``.

    Raises:
        UnknownNameError: no choice of that name.
    """
    choices: tuple[BackendChoice, ...] = get_args(BackendChoice)
    for choice in choices:
        if name == choice:
            return choice
    if name is not None:
        raise UnknownNameError("backend", name, choices)
    return None


def native_libraries() -> tuple[Path, ...]:
    """The library of the native backend, the kernels that it opens, and what wheels bring for them; empty if not built.

    They work from any folder, together.
    """
    library = built("beampipe.serving", f"native/libtriton_{BACKEND}.so")
    if library is None or (kernels := native()) is None or kernels.__file__ is None:
        return ()
    folder = Path(kernels.__file__).parent
    brought = (folder.parents[2] / "beampipe.libs").glob("*.so*")  # libraries that a wheel carries along
    return (library, *sorted(folder.glob("_kernels_*.so")), *sorted(brought))


def uses_native(wanted: BackendChoice | None, device: str) -> bool:
    """Whether a pipeline is to be served by the native backend.

    Args:
        wanted: what was asked for. If nothing was, it is native on the CPU, and Python, with one warning, where the
            native backend was not built.
        device: device of the model.

    Raises:
        ConfigError: native was asked for, and cannot be had.
    """
    if wanted == "python" or (wanted is None and device != "cpu"):
        return False
    if device != "cpu":
        raise ConfigError(f"backend: got native on {device}, expected python there, or --device cpu")
    if native_libraries():
        return True
    if wanted == "native":
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


# Settings of the models that beampipe serves, by their names in `beampipe.serving.variants`.


MAX_BATCH_SIZE: Final = 64
"""Most requests in one call of a model that gathers them."""

MAX_HITS: Final = 400_000
"""Most hits of an event; twice as many as at mu = 200."""

_ATHENA_COLUMNS: Final = 44
"""Columns of FEATURES that Athena sends unless a job says otherwise."""

HIT_BUDGET: Final = 200_000
"""Most hits of the events that run as one graph."""


def named_models(
    names: Iterable[str],
    *,
    instances: int = 1,
    device: str = "cpu",
    threads: int | None = None,
    scale: str = "mm",
    backend: BackendChoice | None = None,
    tracker_model: str | Path = DEFAULT_MODEL,
    beam_spot: BeamSpot | None = None,
    check: bool = True,
) -> tuple[ModelSettings | EnsembleSettings, ...]:
    """Settings of the models of those names.

    Args:
        names: names of `beampipe.serving.MODELS`.
        instances: copies of each model.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"auto"``, for each model but ACTS.
        threads: number of threads of each copy; if not given, the cores are shared out among the copies.
        scale: what one unit of FEATURES means, a name of `beampipe.tracking.formats.SCALES`.
        backend: what runs whole pipelines, ``"native"`` or ``"python"``; if not given, native on the CPU where it was
            built. Chains of models and ACTS are always Python.
        tracker_model: tracker model of the pipelines: the name of a shipped one, or a folder, which is copied.
        beam_spot: beam line that is expected; that of the tracker model if not given.
        check: whether events are refused whose hits are of another detector or in other units.

    Raises:
        UnknownNameError: no model, device, scale or shipped tracker model of that name.
        ConfigError: a native backend was asked for and cannot be had, or the tracker model was not trained for a
            pipeline.
        FileError: there is no tracker model in the folder, or its weights are not those that it was made with.
    """
    native = native_settings if uses_native(backend, device) else lambda model: model

    def one(name: str) -> ModelSettings | EnsembleSettings:
        if name == ACTS_MODEL:
            if beam_spot is not None:
                raise ConfigError("--beam-spot: got it for acts, which has its own, expected models of pipelines")
            return replace(acts_model(scale), instances=instances)
        if name not in VARIANTS:
            raise UnknownNameError("model", name, MODELS)
        pipeline, way = VARIANTS[name].pipeline.name, VARIANTS[name].way
        how = partial(tracking_model, scale=scale, tracker_model=tracker_model, beam_spot=beam_spot, check=check)
        if way == "ensemble":
            chain = ensemble_model(name, pipeline, scale, tracker_model, beam_spot=beam_spot, check=check)
            return replace(chain, steps=tuple(map(copied, chain.steps)))
        if way == "athena":
            return _for_athena(name, native(copied(how(f"{name}_finder", pipeline, athena=True))))
        return native(copied(how(name, pipeline, ragged=way == "ragged")))

    def copied(model: ModelSettings) -> ModelSettings:
        return replace(model, instances=instances, device=device, threads=threads)

    return tuple(map(one, names))


def renamed(
    models: Iterable[ModelSettings | EnsembleSettings], name: str
) -> tuple[ModelSettings | EnsembleSettings, ...]:
    """The one model under another name: the one that clients of others ask for.

    Args:
        models: one model; the steps of an ensemble keep their names.
        name: name of the model on the wire.

    Raises:
        ConfigError: there are several models, or the name is none.
    """
    models = tuple(models)
    if len(models) != 1:
        raise ConfigError(f"--name: got {name!r} for {len(models)} models, expected one model; export each by itself")
    return (replace(models[0], name=name),)


def tracking_model(
    name: str,
    pipeline: str,
    *,
    ragged: bool = False,
    athena: bool = False,
    scale: str = "mm",
    max_hits: int = MAX_HITS,
    hit_budget: int = HIT_BUDGET,
    tracker_model: str | Path = DEFAULT_MODEL,
    beam_spot: BeamSpot | None = None,
    check: bool = True,
) -> ModelSettings:
    """Settings of one model that runs a whole pipeline.

    Args:
        name: name of the model in Triton's repository.
        pipeline: a name of `beampipe.tracking.PIPELINES`.
        ragged: whether Triton gathers events of different size for one call.
        athena: whether it takes what Athena's client sends and gives TRACKS, too; it fits none then.
        scale: what one unit of FEATURES means, a name of `beampipe.tracking.formats.SCALES`.
        max_hits: most hits of an event; a larger one is refused.
        hit_budget: most hits of the events that run as one graph.
        tracker_model: tracker model that knows the detector: the name of a shipped one, or a folder.
        beam_spot: beam line that is expected; that of the tracker model if not given.
        check: whether events are refused whose hits are of another detector or in other units.

    Raises:
        UnknownNameError: no pipeline, scale or shipped tracker model of that name.
        ConfigError: the tracker model was not trained for the pipeline.
        FileError: there is no tracker model in the folder, or its weights are not those that it was made with.
    """
    loaded = load_pipeline(pipeline, model=tracker_model, beam_spot=beam_spot)
    parameters = {
        contract.PIPELINE: pipeline,
        contract.FEATURE_SCALE: scale_named(scale).name,
        contract.MAX_HITS: str(max_hits),
        contract.STAGE_NAMES: ",".join(loaded.steps),
        contract.COUNT_NAMES: "hits,edges,triplets,outside,unfilled_layers",
        contract.BEAM_SPOT_PARAMETER: loaded.beam_spot.text,
        contract.CHECK_LAYOUT: _text(check),
        contract.USUAL_ON_TRACKS: loaded.expected_share.text,
    }
    if ragged:
        parameters[contract.HIT_BUDGET] = str(hit_budget)
    weights, example = pipeline_weights(pipeline, tracker_model), _example(scale, loaded)
    if athena:
        parameters[contract.PROFILE] = "athena"
        example = {FEATURES.name: np.pad(example[FEATURES.name], ((0, 0), (0, _ATHENA_COLUMNS - 3)))}
        kind = "AthenaModel"
    else:
        tables = fit_weights(tracker_model)
        weights, kind = (*weights, *tables), "FittingModel" if tables else "TrackingModel"
    model, batch = f"beampipe.serving.tracking_model:{kind}", MAX_BATCH_SIZE if ragged else 0
    return ModelSettings(name, model, parameters, weights, max_batch_size=batch, example=example)


def _for_athena(name: str, finder: ModelSettings) -> EnsembleSettings:
    """The model by whose name Athena asks: it has one output, of the name that Athena reads, and no process."""
    return EnsembleSettings(name, (finder,), (WIDE_FEATURES,), (LABELS,), {LABELS.name: TRACKS.name})


def native_settings(model: ModelSettings) -> ModelSettings:
    """The same model, run by the native backend.

    Args:
        model: settings from `tracking_model`.
    """
    tracker = load_model(model.weights[0].parent)  # its files lie side by side
    spec = tracker.spec(model.parameters[contract.PIPELINE]).to_json()
    parameters = {**model.parameters, contract.PIPELINE_SPEC: spec}
    return replace(model, parameters=parameters, backend=BACKEND, libraries=native_libraries())


def ensemble_model(
    name: str,
    pipeline: str,
    scale: str = "mm",
    tracker_model: str | Path = DEFAULT_MODEL,
    *,
    beam_spot: BeamSpot | None = None,
    check: bool = True,
) -> EnsembleSettings:
    """Settings of a pipeline with networks and components as six chained models, named ``NAME_embed`` and so on.

    Args:
        name: name of the ensemble in Triton's repository.
        pipeline: name of the pipeline; `beampipe.serving.variants` says which ones can be chained.
        scale: what one unit of FEATURES means, a name of `beampipe.tracking.formats.SCALES`.
        tracker_model: tracker model that knows the detector: the name of a shipped one, or a folder.
        beam_spot: beam line that is expected; that of the tracker model if not given.
        check: whether events are refused whose hits are of another detector or in other units.

    Raises:
        UnknownNameError: no pipeline, scale or shipped tracker model of that name.
        ConfigError: the tracker model was not trained for the pipeline.
        FileError: there is no tracker model in the folder, or its weights are not those that it was made with.
    """
    from beampipe.serving.ensemble import STEPS

    loaded = load_pipeline(pipeline, model=tracker_model, beam_spot=beam_spot)
    parameters = {
        contract.PIPELINE: pipeline,
        contract.FEATURE_SCALE: scale_named(scale).name,
        contract.MAX_HITS: str(MAX_HITS),
        contract.BEAM_SPOT_PARAMETER: loaded.beam_spot.text,
        contract.CHECK_LAYOUT: _text(check),
        contract.USUAL_ON_TRACKS: loaded.expected_share.text,
    }
    weights = (*pipeline_weights(pipeline, tracker_model), *fit_weights(tracker_model))
    example = _example(scale, loaded)
    steps = tuple(
        ModelSettings(f"{name}_{step}", f"{model.__module__}:{model.__name__}", parameters, weights, example=example)
        for step, model in STEPS.items()
    )
    return EnsembleSettings(name, steps, (FEATURES,), (LABELS,))


def _example(scale: str, pipeline: Pipeline) -> dict[str, ndarray]:
    """The request that models are asked before they are served: a shipped event in their own units.

    A model that expects another beam line than the axis is asked about collisions there, as far as their hits, which
    were moved with them, still lie on layers.
    """
    position = small_event().position
    if pipeline.beam_spot != ON_AXIS:
        position = pipeline.beam_spot.opposite.relative_to(position)
        position = position[layer_of(position, pipeline.windows.layers) >= 0]
    return {FEATURES.name: position if scale == "mm" else scale_named(scale).from_mm(position)}


def _text(value: bool) -> str:
    """A switch as a parameter of a configuration."""
    return str(value).lower()


def acts_model(scale: str = "mm") -> ModelSettings:
    """Settings of ACTS as a model, on the CPU; one event takes one thread.

    Args:
        scale: what one unit of FEATURES means, a name of `beampipe.tracking.formats.SCALES`.
    """
    parameters = {
        contract.ACTS_SETTING: "fast",
        contract.MAX_HITS: str(MAX_HITS),
        contract.FEATURE_SCALE: scale_named(scale).name,
        contract.STAGE_NAMES: "spacepoints,seeding,parameters,ckf",
        contract.COUNT_NAMES: "hits,spacepoints,seeds,tracks",
    }
    return ModelSettings(ACTS_MODEL, "beampipe.serving.tracking_model:ActsModel", parameters, threads=1)
