"""Loads named pipelines: weights from files, stages from the table, and the whole onto a device."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from beampipe.errors import ConfigError, FileError, MissingExtraError, UnknownNameError
from beampipe.tracking import kernels
from beampipe.tracking.beam_spot import ON_AXIS, BeamSpot
from beampipe.tracking.kernels.weights import GnnWeights, Mlp
from beampipe.tracking.networks import NetworksConfig, card_path, load_networks
from beampipe.tracking.pipelines import stages
from beampipe.tracking.pipelines.composed import Composed
from beampipe.tracking.pipelines.pipeline import Pipeline
from beampipe.tracking.pipelines.specs import DEFAULT_PIPELINE, PipelineSpec, Walk, pipeline_spec
from beampipe.tracking.pipelines.stages import Stage
from beampipe.tracking.windows import Windows, load_windows

__all__ = ["WEIGHTS", "build_pipeline", "load_pipeline", "pipeline_weights", "weight_file"]

WEIGHTS: Final = Path(__file__).parent / "weights"
"""Folder of the weights that come with the package."""


def load_pipeline(
    name: str = DEFAULT_PIPELINE,
    *,
    device: str = "cpu",
    threads: int | None = None,
    weights: Path | None = None,
    beam_spot: BeamSpot = ON_AXIS,
) -> Pipeline:
    """The pipeline of that name, its weights loaded.

    Args:
        name: a name of `PIPELINES`.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``; everything between hits and tracks stays there.
        threads: number of threads for one call; as many as there are cores if not given. The tracks do not depend
            on it.
        weights: folder with the files of `pipeline_weights`, in place of the shipped ones.
        beam_spot: beam line that is expected. It need not be known: an event whose tracks clearly come from elsewhere
            is found again, seen from there.

    Raises:
        UnknownNameError: no pipeline or device of that name.
        ConfigError: `threads` is not positive, or the device is not there.
        FileError: weights are missing or damaged.
        MissingExtraError: the device needs a package that is not installed.
    """
    spec = pipeline_spec(name)
    if threads is None:
        threads = len(os.sched_getaffinity(0))
    if threads < 1:
        raise ConfigError(f"threads: got {threads}, expected 1 or more")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UnknownNameError("device", device, ["cpu", "cuda", "cuda:0"])
    if device == "cpu":
        return build_pipeline(spec, threads, weights or WEIGHTS, beam_spot)
    try:
        from beampipe.tracking.cuda import cuda_device, translate
    except ImportError:
        raise MissingExtraError("torch", "cuda", f"device {device}") from None
    there = cuda_device(device)
    return translate(build_pipeline(spec, 1, weights or WEIGHTS, beam_spot), there)


def build_pipeline(
    spec: PipelineSpec, threads: int, weights: Path = WEIGHTS, beam_spot: BeamSpot = ON_AXIS
) -> Pipeline:
    """The pipeline that a spec describes, on the CPU; the spec may be one of your own.

    Args:
        spec: what the pipeline is made of.
        threads: number of threads for one call.
        weights: folder of the weight files.
        beam_spot: beam line that is expected.

    Raises:
        ConfigError: the parts of the spec make no pipeline.
        FileError: weights are missing or damaged, or one of the networks was not trained.
    """
    trained = None if spec.networks is None else _trained(weight_file(weights, spec.networks))
    windows = load_windows(weight_file(weights, spec.windows)).widened().up_to(spec.curvature)
    line: list[tuple[str, Stage]] = []
    if trained is not None and spec.graph == "neighbours":
        cuts = trained.cuts
        neighbours = stages.FindNeighbours(cuts.radius, cuts.max_neighbours, cuts.kappa_max, cuts.z0_max, threads)
        line.append(("embedding", stages.EmbedHits(trained.embedding, threads)))
        line.append(("building", neighbours))
        line.append(("filtering", stages.FilterEdges(trained.filter, cuts.filter_cut, threads)))
    else:
        line.append(("building", stages.BuildFromWindows(windows, threads)))
    if trained is not None and spec.scored:
        line.append(("filtering", stages.PairEdges(windows, threads)))
        line.append(("gnn", stages.ScoreEdges(trained.gnn, threads)))
    else:
        line.append(("filtering", stages.FindTriplets(windows, threads)))
    line.append(("labelling", _labelling(spec, windows, trained, threads)))
    if (how := spec.completion) is not None:
        line.append(("labelling", stages.CompleteTracks(windows, how.penalty, how.min_score, threads)))
    after = None if spec.after is None else build_pipeline(spec.after, threads, weights, beam_spot)
    pipeline = Pipeline(spec.name, tuple(line), spec.bytes_per_hit, spec.bytes_per_hit2, beam_spot, after=after)
    if kernels.native() is None:
        return pipeline
    return replace(pipeline, composed=Composed(spec, weights, threads, beam_spot))


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


def _trained(path: Path) -> _Trained:
    networks = load_networks(path)
    if networks.embedding is None or networks.filter is None or networks.gnn is None:
        raise FileError(f"{path}: got only some networks, expected embedding, filter and gnn; train the others")
    return _Trained(networks.embedding, networks.filter, networks.gnn, networks.config)


def pipeline_weights(name: str, weights: Path | None = None) -> tuple[Path, ...]:
    """The files that a pipeline is made of: weights and their cards.

    Args:
        name: a name of `PIPELINES`.
        weights: folder to look in, in place of the shipped one.

    Raises:
        UnknownNameError: no pipeline of that name.
        FileError: a file is missing.
    """
    tables = [weight_file(weights or WEIGHTS, stem) for stem in pipeline_spec(name).weight_stems]
    files = tuple(path for table in tables for path in (table, card_path(table)))
    for path in files:
        if not path.is_file():
            raise FileError(f"{path}: got no such file, expected it for {name}: {', '.join(f.name for f in files)}")
    return files


def weight_file(weights: Path, stem: str) -> Path:
    """The weight file of that stem in a folder."""
    return weights / f"{stem}.safetensors"
