"""Loads named pipelines: weights from files, stages from the table, and the whole onto a device."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from beampipe.errors import ConfigError, FileError, UnknownNameError
from beampipe.events import BeamSpot
from beampipe.tracking import kernels, stages
from beampipe.tracking.catalogue import DEFAULT_PIPELINE, PipelineSpec, Walk, pipeline_spec
from beampipe.tracking.fitting.fitter import TrackFitter
from beampipe.tracking.fitting.reference import load_fit_tables
from beampipe.tracking.input_checks import EXPECTED_ON_TRACKS, EXPECTED_SOFT, ExpectedShare
from beampipe.tracking.kernels.weights import GnnWeights, Mlp, NetworksConfig, load_networks
from beampipe.tracking.layout.check import LayerCheck
from beampipe.tracking.models import DEFAULT_MODEL, TrackerModel, load_model, shipped_models
from beampipe.tracking.pipeline import Composed, Pipeline
from beampipe.tracking.stages import Stage
from beampipe.tracking.windows import Windows, load_windows

__all__ = [
    "DEFAULT_MODEL_FOLDER",
    "build_pipeline",
    "fit_weights",
    "load_pipeline",
    "load_track_fitter",
    "pipeline_weights",
    "weight_file",
]

DEFAULT_MODEL_FOLDER: Final = shipped_models()[DEFAULT_MODEL]
"""Folder of the tracker model that is meant where none is named."""

_WHOLE: Final = 0.9
"""Part of the curvature of soft windows that reaches down to pT = 0.3 GeV."""

FIT_STEM: Final = "fit"
"""Stem of the tables of the track fit."""


def load_pipeline(
    name: str = DEFAULT_PIPELINE,
    *,
    device: str = "cpu",
    threads: int | None = None,
    model: str | Path | TrackerModel = DEFAULT_MODEL,
    beam_spot: BeamSpot | None = None,
    check: bool = True,
) -> Pipeline:
    """The pipeline of that name, with the weights of a tracker model.

    Args:
        name: a name of `PIPELINES`.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``; everything between hits and tracks stays there.
        threads: number of threads for one call; as many as there are cores if not given. The tracks do not depend
            on it.
        model: tracker model that knows the detector: the name of a shipped one, or a folder that
            ``beampipe tracking train`` wrote.
        beam_spot: beam line that is expected; the one that the model was learned about if not given. It need not be
            known: an event whose tracks clearly come from elsewhere is found again, seen from there.
        check: whether hits are compared with the layers that the pipeline was made for, and their number with its
            limit. If not, hits of any detector go through, and nothing warns.

    Raises:
        UnknownNameError: no pipeline, device or shipped model of that name.
        ConfigError: `threads` is not positive, the device is not there, or the model was not trained for the pipeline.
        FileError: there is no model in the folder, or weights are missing, damaged or others than it was made with.
        MissingExtraError: the device needs a package that is not installed.
    """
    of = load_model(model)
    spec = of.spec(name)
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

    Args:
        spec: what the pipeline is made of.
        threads: number of threads for one call.
        model: tracker model whose weights it takes: the name of a shipped one, or a folder.
        beam_spot: beam line that is expected; the one that the model was learned about if not given.
        check: whether hits are compared with the layers that the windows were learned from.

    Raises:
        UnknownNameError: no shipped model of that name.
        ConfigError: the parts of the spec make no pipeline, or the model has no such weights.
        FileError: there is no model in the folder, weights are missing, damaged or others than it was made with, or
            one of the networks was not trained.
    """
    of = load_model(model)
    of.require(spec)
    beam_spot = of.layout.beam_spot if beam_spot is None else beam_spot
    pipeline = _by_stages(spec, threads, of, beam_spot, check)
    composed = None if kernels.native() is None else Composed(spec, of.path, threads, beam_spot, check)
    return replace(pipeline, composed=composed, by_reference=composed is None)


def _by_stages(spec: PipelineSpec, threads: int, of: TrackerModel, beam_spot: BeamSpot, check: bool) -> Pipeline:
    """The pipeline of a spec and those that go before it, run stage by stage."""
    trained = None if spec.networks is None else _load_trained(weight_file(of.path, spec.networks))
    own_windows = load_windows(weight_file(of.path, spec.windows))
    return Pipeline(
        spec.name,
        _line(spec, own_windows.widened().up_to(spec.curvature), trained, threads),
        spec.bytes_per_hit,
        spec.bytes_per_hit2,
        beam_spot=beam_spot,
        layout=LayerCheck(spec.name, own_windows, check, _usual(spec, of)),
        limit=spec.limit,
        after=None if spec.after is None else _by_stages(spec.after, threads, of, beam_spot, check),
    )


def _usual(spec: PipelineSpec, of: TrackerModel) -> ExpectedShare:
    """What share of the hits is usually on tracks: as measured when the model was validated, else by rule of thumb."""
    measured = of.performance.get(spec.name)
    if measured is not None and measured.hits_on_tracks > 0:
        return ExpectedShare(measured.hits_on_tracks, measured.hits)
    if not spec.windows.endswith("_soft"):
        return EXPECTED_ON_TRACKS
    # Seen at 0.4, 0.65 and 0.9 of the curvature: 0.24, 0.42 and 0.55.
    return ExpectedShare(EXPECTED_SOFT.share * min(1.0, spec.curvature / _WHOLE))


def _line(
    spec: PipelineSpec, windows: Windows, trained: _Trained | None, threads: int
) -> tuple[tuple[str, Stage], ...]:
    """The stages of one pass, in order."""
    line: list[tuple[str, Stage]] = []
    if trained is not None and spec.graph == "neighbours":
        cuts = trained.cuts
        neighbours = stages.FindNeighbours(cuts.radius, cuts.max_neighbours, cuts.kappa_max, cuts.z0_max, threads)
        line.append(("embedding", stages.EmbedHits(trained.embedding, threads)))
        line.append(("building", neighbours))
        line.append(("filtering", stages.FilterEdges(trained.filter, cuts.filter_cut, threads)))
    else:
        least_curvature = spec.curvature_from / spec.curvature
        line.append(("building", stages.BuildFromWindows(windows, threads, spec.seed_depth, least_curvature)))
    if trained is not None and spec.scored:
        line.append(("filtering", stages.PairEdges(windows, spec.segmentation.chain_hits, threads)))
        line.append(("gnn", stages.ScoreEdges(trained.gnn, threads)))
    else:
        line.append(("filtering", stages.FindTriplets(windows, threads)))
    line.append(("labelling", _labelling(spec, windows, trained, threads)))
    if (how := spec.completion) is not None:
        line.append(("labelling", stages.CompleteTracks(windows, how.penalty, how.min_score, threads)))
    return tuple(line)


def load_track_fitter(model: str | Path | TrackerModel = DEFAULT_MODEL, *, threads: int | None = None) -> TrackFitter:
    """What fits the tracks of a detector.

    Args:
        model: tracker model that knows the detector: the name of a shipped one, or a folder.
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
    tables = load_fit_tables(weight_file(of.path, FIT_STEM))
    return TrackFitter(tables, len(os.sched_getaffinity(0)) if threads is None else threads)


def _labelling(spec: PipelineSpec, windows: Windows, trained: _Trained | None, threads: int) -> Stage:
    """The last stage, from edges to tracks."""
    how = spec.segmentation
    if isinstance(how, Walk):
        if not spec.scored:
            return stages.WalkByChi2(windows, penalty=how.penalty, min_hits=how.min_hits, threads=threads)
        return stages.WalkByScore(
            windows, penalty=how.penalty, min_hits=how.min_hits, score_cut=how.score_cut, threads=threads
        )
    if trained is None:
        raise ConfigError(f"pipeline {spec.name}: got components without networks, expected a walk or networks")
    return stages.ConnectComponents(trained.cuts.score_cut, how.min_hits)


@dataclass(frozen=True, eq=False)
class _Trained:
    """All networks of one weight file, and the cuts that belong to them."""

    embedding: Mlp
    filter: Mlp
    gnn: GnnWeights
    cuts: NetworksConfig


def _load_trained(path: Path) -> _Trained:
    networks = load_networks(path)
    if networks.embedding is None or networks.filter is None or networks.gnn is None:
        raise FileError(f"{path}: got only some networks, expected embedding, filter and gnn; train the others")
    return _Trained(networks.embedding, networks.filter, networks.gnn, networks.config)


def pipeline_weights(name: str, model: str | Path | TrackerModel = DEFAULT_MODEL) -> tuple[Path, ...]:
    """The files that a pipeline is made of: weights and their cards, and the card of the tracker model.

    Args:
        name: a name of `PIPELINES`.
        model: tracker model to look in: the name of a shipped one, or a folder.

    Raises:
        UnknownNameError: no pipeline or shipped model of that name.
        ConfigError: the model was not trained for the pipeline.
        FileError: there is no model in the folder, or a file is missing or another one than it was made with.
    """
    return load_model(model).files(pipeline_spec(name))


def fit_weights(model: str | Path | TrackerModel = DEFAULT_MODEL) -> tuple[Path, ...]:
    """The tables of the track fit and their card; none where the tracker model was trained without.

    Args:
        model: tracker model to look in: the name of a shipped one, or a folder.

    Raises:
        UnknownNameError: no shipped model of that name.
        FileError: there is no model in the folder, or a file is missing or another one than it was made with.
    """
    of = load_model(model)
    if FIT_STEM not in of.weights:
        return ()
    of.check((FIT_STEM,))
    return tuple(of.path / name for name in of.weights[FIT_STEM].files)


def weight_file(weights: Path, stem: str) -> Path:
    """The weight file of that stem in a folder."""
    return weights / f"{stem}.safetensors"
