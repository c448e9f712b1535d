"""Loads named pipelines: weights from files, stages from the table, and the whole onto a device."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import NoneType
from typing import Final, TypedDict

from beampipe.errors import ConfigError, UnknownNameError, expect_type
from beampipe.events import BeamSpot
from beampipe.tracking.catalogue import DEFAULT_MODEL, PipelineSpec, pipeline_spec, shipped_models
from beampipe.tracking.fitting.fitter import TrackFitter
from beampipe.tracking.fitting.tables import load_fit_tables
from beampipe.tracking.models import FIT_STEM, TrackerModel, load_model, weight_file
from beampipe.tracking.pipeline import Pipeline

DEFAULT_MODEL_FOLDER: Final = shipped_models()[DEFAULT_MODEL]
"""Folder of the default tracker model."""


class PipelineOptions(TypedDict, total=False):
    """The keyword arguments of `load_pipeline`, for functions that pass them on."""

    device: str
    threads: int | None
    model: str | Path | TrackerModel
    beam_spot: BeamSpot | None
    check: bool


def load_pipeline(
    name: str | None = None,
    *,
    device: str = "cpu",
    threads: int | None = None,
    model: str | Path | TrackerModel = DEFAULT_MODEL,
    beam_spot: BeamSpot | None = None,
    check: bool = True,
) -> Pipeline:
    """The pipeline of that name, with the weights of a tracker model.

    >>> event = shipped_events(0)[0]
    >>> load_pipeline("module_map").find(event)  # doctest: +ELLIPSIS
    Tracks(tracks: 18, hits on tracks: 209 of 1831, time: ... s)

    Args:
        name: a name of `PIPELINES`; by default that of the model, which is `DEFAULT_PIPELINE` for the shipped ones.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``; everything between hits and tracks stays there.
        threads: number of threads for one call; as many as there are cores if not given. The tracks do not depend
            on it.
        model: tracker model of the detector: the name of a shipped one, or a folder that
            ``beampipe tracking train`` wrote.
        beam_spot: expected beam line; that of the model if not given. It need not be exact: an event whose tracks
            clearly come from another line is processed again relative to that line.
        check: whether hits are compared with the layers that the pipeline was made for, and their number with its
            limit. If not, hits of any detector are accepted, without warnings.

    Raises:
        UnknownNameError: no pipeline, device or shipped model of that name.
        ConfigError: `threads` is not positive, the device is not there, or the model was not trained for the pipeline.
        FileError: there is no model in the folder, or weights are missing, damaged or others than it was made with.
        MissingExtraError: the device needs a package that is not installed.
    """
    call = "give a name of PIPELINES, or call build_pipeline(spec, threads)"
    expect_type("load_pipeline", name, (str, NoneType), call)
    of = load_model(model)
    spec = of.spec(of.default_pipeline if name is None else name)
    if threads is None:
        threads = len(os.sched_getaffinity(0))
    if threads < 1:
        raise ConfigError(f"threads: got {threads}, expected 1 or more")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UnknownNameError("device", device, ["cpu", "cuda", "cuda:0"])
    if device == "cpu":
        return build_pipeline(spec, threads, of, beam_spot, check=check)
    from beampipe.tracking.cuda import cuda_device, translate

    there = cuda_device(device)
    return translate(build_pipeline(spec, 1, of, beam_spot, check=check), there)


def build_pipeline(
    spec: PipelineSpec,
    threads: int,
    model: str | Path | TrackerModel = DEFAULT_MODEL,
    beam_spot: BeamSpot | None = None,
    *,
    check: bool = True,
) -> Pipeline:
    """The pipeline that a spec describes, on the CPU; the spec may be one of your own.

    >>> long_tracks = replace(PIPELINES["module_map"], name="long_tracks", segmentation=Walk(9, penalty=0.5))
    >>> len(build_pipeline(long_tracks, threads=1).find(shipped_events(0)[0]))
    10

    Args:
        spec: specification of the pipeline.
        threads: number of threads for one call.
        model: tracker model whose weights it takes: the name of a shipped one, or a folder.
        beam_spot: expected beam line; that of the model if not given.
        check: whether hits are compared with the layers that the windows were learned from.

    Raises:
        UnknownNameError: no shipped model of that name.
        ConfigError: the parts of the spec make no pipeline, or the model has no such weights.
        FileError: there is no model in the folder, weights are missing, damaged or others than it was made with, or
            one of the networks was not trained.
    """
    of = load_model(model)
    of.require(spec)
    return Pipeline(spec, of, threads, of.layout.beam_spot if beam_spot is None else beam_spot, check)


def load_track_fitter(model: str | Path | TrackerModel = DEFAULT_MODEL, *, threads: int | None = None) -> TrackFitter:
    """The track fitter of a detector.

    >>> event = shipped_events(0)[0]
    >>> fitted = load_track_fitter()(event.hits, load_pipeline("module_map").find(event))
    >>> len(fitted), bool(fitted.fitted.all())
    (18, True)

    Args:
        model: tracker model of the detector: the name of a shipped one, or a folder.
        threads: number of threads for one call; as many as there are cores if not given.

    Raises:
        UnknownNameError: no shipped model of that name.
        ConfigError: the model was not trained for it.
        FileError: there is no model in the folder, or its tables are missing, damaged or others than it was made with.
    """
    of = load_model(model)
    if FIT_STEM not in of.weights:
        raise ConfigError(f"{of.name}: got no {FIT_STEM}.safetensors, expected it to fit tracks; train the model again")
    of.check((FIT_STEM,))
    tables = load_fit_tables(weight_file(of.path, FIT_STEM), of.origin.command)
    if abs(tables.field[0] - of.layout.field) > 0.001 * abs(of.layout.field):
        raise ConfigError(
            f"{of.name}: got a track fit for {tables.field[0]:g} T in a model for {of.layout.field:g} T, expected one"
            " field; take the whole folder from one training"
        )
    return TrackFitter(tables, len(os.sched_getaffinity(0)) if threads is None else threads)


def pipeline_weights(name: str, model: str | Path | TrackerModel = DEFAULT_MODEL) -> tuple[Path, ...]:
    """The files that a pipeline is made of: weights and their cards, and the card of the tracker model.

    >>> [path.name for path in pipeline_weights("module_map")]
    ['module_map.safetensors', 'module_map.json', 'model.json']

    Args:
        name: a name of `PIPELINES`.
        model: tracker model to search: the name of a shipped one, or a folder.

    Raises:
        UnknownNameError: no pipeline or shipped model of that name.
        ConfigError: the model was not trained for the pipeline.
        FileError: there is no model in the folder, or a file is missing or another one than it was made with.
    """
    return load_model(model).files(pipeline_spec(name))


def fit_weights(model: str | Path | TrackerModel = DEFAULT_MODEL) -> tuple[Path, ...]:
    """The tables of the track fit and their card; none where the tracker model was trained without.

    Args:
        model: tracker model to search: the name of a shipped one, or a folder.

    Raises:
        UnknownNameError: no shipped model of that name.
        FileError: there is no model in the folder, or a file is missing or another one than it was made with.
    """
    of = load_model(model)
    if FIT_STEM not in of.weights:
        return ()
    load_track_fitter(of)  # refuses tables of other formulas
    return tuple(of.path / name for name in of.weights[FIT_STEM].files)
