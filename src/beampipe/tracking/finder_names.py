"""Finders by name, as the command line offers them: our pipelines, ACTS, and plug-ins side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.notebook import listed_options
from beampipe.plugins import load_plugin, plugin_names
from beampipe.tracking.acts import ActsTrackFinder, acts_names, acts_settings
from beampipe.tracking.acts.finder import adapted_settings
from beampipe.tracking.acts.sequencer import ActsDetector
from beampipe.tracking.catalogue import DEFAULT_MODEL, PIPELINES
from beampipe.tracking.finder import TrackFinder
from beampipe.tracking.loading import PipelineOptions, load_pipeline
from beampipe.tracking.models import load_model


def require_finder(name: str) -> None:
    """Raises `UnknownNameError` if neither a pipeline nor settings of ACTS nor a plug-in have that name."""
    if name in PIPELINES or acts_settings(name) is not None:
        return  # plug-ins are looked for only if they are needed: that takes 20 ms
    if name not in (plugins := plugin_names("finders")):
        raise UnknownNameError("finder", name, [*PIPELINES, *acts_names(), *plugins])


@listed_options(load_pipeline)
def named_finder(
    name: str | None = None, detector: ActsDetector | None = None, **options: Unpack[PipelineOptions]
) -> TrackFinder:
    """The finder of that name: a pipeline, ACTS where hits carry module, local position and variance, or a plug-in.

    Args:
        name: a name of `beampipe.tracking.PIPELINES`, of `acts_names`, or of a plug-in of the group
            ``beampipe.finders``: a function that takes the options of `load_pipeline` and returns a `TrackFinder`; by
            default the pipeline of the tracker model.
        detector: detector that ACTS finds tracks in, or None for its Generic one. It has no effect on others.
        options: those of `load_pipeline`. On ACTS only the model has an effect, with a `detector`: no track needs more
            hits than the model counts from. ACTS runs on the CPU, and finds one event with one thread.

    Raises:
        UnknownNameError: no finder or shipped model of that name.
        ConfigError: a plug-in cannot be imported, or returns something else.
        MissingExtraError: ACTS is requested and not installed.
        BeampipeError: any error of `load_pipeline`, or of a plug-in.
    """
    if name is None:
        return load_pipeline(**options)
    require_finder(name)
    settings = acts_settings(name)
    if settings is not None:
        if detector is None:
            return ActsTrackFinder(settings)
        fewest = load_model(options.get("model", DEFAULT_MODEL)).crossing.min_layers
        return ActsTrackFinder(adapted_settings(settings, detector, fewest), where=detector)
    if name in PIPELINES:
        return load_pipeline(name, **options)
    finder = load_plugin("finders", name)(**options)
    if not isinstance(finder, TrackFinder):
        raise ConfigError(
            f"finders {name}: got {type(finder).__name__} from the plug-in, expected a TrackFinder: an object with"
            " find, submit, find_async and close, such as a subclass of beampipe.tracking.InOneThread"
        )
    return finder


@listed_options(load_pipeline)
def named_finders(
    names: Sequence[str], *, detector: ActsDetector | None = None, **options: Unpack[PipelineOptions]
) -> dict[str, TrackFinder]:
    """The finders of these names, by name.

    >>> list(named_finders(["module_map", "exatrkx_walk"]))
    ['module_map', 'exatrkx_walk']

    ACTS is scored by its own hit lists: as one label per hit, the hits that its tracks share would count against it.

    Args:
        names: names that `named_finder` accepts.
        detector: detector that ACTS finds tracks in, or None for its Generic one.
        options: those of `load_pipeline`, with one thread if `threads` is not given.

    Raises:
        BeampipeError: any error of `named_finder`.
    """
    options.setdefault("threads", 1)
    return {name: named_finder(name, detector, **options) for name in names}
