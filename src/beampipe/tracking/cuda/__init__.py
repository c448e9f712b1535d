"""The named pipelines on a CUDA device, in PyTorch: hits go there once, labels come back.

Cuts and weights are those of the CPU pipeline, which is read and translated stage by stage. Every sum runs in a fixed
order, so the same hits give the same labels; against the CPU kernels, scores differ in the last digits of a float32.

The last step of the ``walk`` and ``module_map`` pipelines runs on the host: the paths claim their hits one after the
other, so edges, triplets and logits (a few MB) are copied and the CPU stage is called.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from beampipe.errors import ConfigError, MissingExtraError
from beampipe.tracking import pipeline as cpu
from beampipe.tracking import stages as host

try:
    import torch
except ImportError:
    raise MissingExtraError("torch", "cuda", "a CUDA pipeline") from None

from beampipe.tracking.cuda import stages
from beampipe.tracking.cuda.graphs import windows_on
from beampipe.tracking.cuda.networks import gnn_on, mlp_on
from beampipe.tracking.cuda.stages import DeviceGraph, DeviceStage

__all__ = ["load_cuda_pipeline", "translate"]


def load_cuda_pipeline(name: str, device: str, weights: Path = cpu.WEIGHTS) -> cpu.Pipeline:
    """The pipeline of that name on a CUDA device.

    Args:
        name: one of `beampipe.tracking.pipeline.PIPELINES`.
        device: ``"cuda"`` or ``"cuda:N"``.
        weights: folder of the weight files.

    Raises:
        ConfigError: torch sees no such device.
        FileError: weights are missing or damaged.
    """
    return translate(cpu.PIPELINES[name](name, 1, weights), cuda_device(device))


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


def translate(pipeline: cpu.Pipeline, device: torch.device) -> cpu.Pipeline:
    """A CPU pipeline, with every stage on `device` (any that torch knows, the CPU too).

    Raises:
        ConfigError: a stage has no counterpart.
    """
    with _guard(device):
        line = tuple((name, _Step(_translated(stage, device), device)) for name, stage in pipeline.stages)
    return replace(pipeline, stages=line, in_blocks=False, _pool=[])


@dataclass(frozen=True, eq=False)
class _Step:
    """A stage of a `Pipeline` that keeps the graph on the device, and is done when it returns."""

    stage: DeviceStage
    device: torch.device

    def __call__(self, graph: Any) -> Any:
        with _guard(self.device):
            if isinstance(graph, host.Graph):  # the first stage: hits arrive
                graph = DeviceGraph(torch.tensor(graph.position, device=self.device))
            graph = self.stage(graph)
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)  # so that the time of a stage is its own
        return graph


@contextmanager
def _guard(device: torch.device) -> Iterator[None]:
    """Work on `device`, without gradients, with full float32 products (no TF32)."""
    precision = torch.get_float32_matmul_precision()
    if precision != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        with torch.inference_mode(), torch.cuda.device(device if device.type == "cuda" else -1):
            yield
    finally:
        if precision != "highest":
            torch.set_float32_matmul_precision(precision)


def _translated(stage: host.Stage, device: torch.device) -> DeviceStage:
    """The counterpart of a CPU stage, its weights and tables on the device."""
    match stage:
        case host.EmbedHits(network=network):
            return partial(stages.embed_hits, network=mlp_on(network, device))
        case host.FindNeighbours():
            return partial(stages.find_neighbours, settings=stage)
        case host.FilterEdges(network=network, cut=cut):
            return partial(stages.filter_edges, network=mlp_on(network, device), cut=cut)
        case host.BuildFromWindows(windows=windows):
            return partial(stages.build_from_windows, windows=windows_on(windows, device))
        case host.PairEdges(windows=windows, features=features):
            return partial(stages.pair_edges, windows=windows_on(windows, device), features=features)
        case host.ScoreEdges(network=gnn):
            return partial(stages.score_edges, network=gnn_on(gnn, device))
        case host.ConnectComponents(score_cut=score_cut, min_hits=min_hits):
            return partial(stages.connect_components, score_cut=score_cut, min_hits=min_hits)
        case host.WalkThrough():
            return partial(stages.walk_through, stage=stage)
    raise ConfigError(f"stage: got {type(stage).__name__}, which has no CUDA counterpart; run this pipeline on the cpu")
