"""The named pipelines on a CUDA device, in PyTorch: hits go there once, labels come back.

Cuts and weights are those of the CPU pipeline, which is read and translated stage by stage. Every sum runs in a fixed
order, so the same hits give the same labels; against the CPU kernels, scores differ in the last digits of a float32.

The last step of the ``walk`` and ``module_map`` pipelines runs on the host: the paths claim their hits one after the
other, so edges, triplets and logits (a few MB) are copied and the CPU stage is called. So is the completion after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from beampipe.errors import ConfigError
from beampipe.tracking import stages as host
from beampipe.tracking.cuda import stages
from beampipe.tracking.cuda.graphs import windows_to_device
from beampipe.tracking.cuda.networks import gnn_to_device, mlp_to_device
from beampipe.tracking.cuda.stages import DeviceStage, on_device
from beampipe.tracking.pipeline import Pipeline

__all__ = ["cuda_device", "translate"]


def cuda_device(device: str) -> torch.device:
    """The device of that name, after a look whether torch sees it.

    Raises:
        ConfigError: it does not.
    """
    build = f"torch {torch.__version__} (built for CUDA {torch.version.cuda or 'none: install a CUDA build'})"
    if not torch.cuda.is_available():
        raise ConfigError(f"device: got {device!r}, but {build} sees no CUDA device; check nvidia-smi, or use 'cpu'")
    found, count = torch.device(device), torch.cuda.device_count()
    number = torch.cuda.current_device() if found.index is None else found.index
    if number >= count:
        names = ", ".join(f"cuda:{k} ({torch.cuda.get_device_name(k)})" for k in range(count))
        raise ConfigError(f"device: got {device!r}, but {build} sees {count}: {names}; use one of these")
    return torch.device("cuda", number)


def translate(pipeline: Pipeline, device: torch.device) -> Pipeline:
    """A CPU pipeline with its stages on `device` (any that torch knows, the CPU too).

    Raises:
        ConfigError: a stage has no counterpart.
    """
    with on_device(device):
        lines = tuple(tuple(_translated(line, device)) for line in pipeline.passes)
    return replace(pipeline, own_stages=lines, in_blocks=False)


def _translated(line: host.Line, device: torch.device) -> Iterator[tuple[str, host.Stage]]:
    """The steps on the device, those that copy arrays to it and back among them."""
    copied = ("position",)
    yield line[0][0], DeviceStage(copied, copied, partial(stages.to_device, device), device)
    for name, stage in line:
        if isinstance(stage, host.WalkByChi2 | host.WalkByScore):
            yield name, DeviceStage(stage.needs, stage.needs, stages.to_host, device)
            yield name, stage
        elif isinstance(stage, host.CompleteTracks):  # the walk before it has left the arrays on the host
            yield name, stage
        else:
            yield name, DeviceStage(stage.needs, stage.makes, _work(stage, device), device)


def _work(stage: host.Stage, device: torch.device) -> Callable[..., tuple[Any, ...]]:
    """What a stage does, its weights and tables on the device."""
    match stage:
        case host.EmbedHits(network=network):
            return partial(stages.embed_hits, network=mlp_to_device(network, device))
        case host.FindNeighbours():
            return partial(stages.find_neighbours, settings=stage)
        case host.FilterEdges(network=network, cut=cut):
            return partial(stages.filter_edges, network=mlp_to_device(network, device), cut=cut)
        case host.BuildFromWindows(windows=windows, seed_depth=depth, least_curvature=least):
            return partial(stages.build_from_windows, windows=windows_to_device(windows, device, depth, least))
        case host.FindTriplets(windows=windows):
            return partial(stages.find_triplets, windows=windows_to_device(windows, device))
        case host.PairEdges(windows=windows, min_hits=min_hits):
            return partial(stages.pair_edges, windows=windows_to_device(windows, device), min_hits=min_hits)
        case host.ScoreEdges(network=gnn):
            return partial(stages.classify_edges, network=gnn_to_device(gnn, device))
        case host.ConnectComponents(score_cut=score_cut, min_hits=min_hits):
            return partial(stages.connect_components, score_cut=score_cut, min_hits=min_hits)
    raise ConfigError(f"stage: got {type(stage).__name__}, which has no CUDA counterpart; run this pipeline on the cpu")
