"""Named pipelines: straight lines of stages from hits to tracks.

========================  ==============================================================================
`exatrkx`                 embedding, neighbours, filter, network, connected components
`exatrkx_walk`            the same, best paths in place of components
`module_map`              learned windows, best paths; no network
`exatrkx_soft`            as `exatrkx`, for low pile-up: trained down to pT = 0.3 GeV
`exatrkx_walk_soft`       the same with best paths
`module_map_soft`         as `module_map`, windows down to pT = 0.3 GeV
========================  ==============================================================================

`acts` (triplet seeding and CKF) has the same `find`, see `beampipe.tracking.acts`; it needs more than positions.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Final, Protocol

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from beampipe.errors import ConfigError, FileError, MissingExtraError, TooLargeError, UnknownNameError
from beampipe.tracking import stages
from beampipe.tracking.events import NO_TRACK, Hits, Tracks
from beampipe.tracking.networks import load_networks
from beampipe.tracking.stages import Graph, Stage
from beampipe.tracking.windows import load_windows

__all__ = ["PIPELINES", "Pipeline", "TrackFinder", "load_pipeline", "pipeline_weights", "turned"]

MIN_HITS: Final = 5
"""Fewest hits of a track."""

MIN_LAYERS: Final = 6
"""Fewest layers of a path that no network has judged, at high pile-up: five in a row occur by chance."""

WEIGHTS: Final = Path(__file__).parent / "weights"
"""The shipped weights."""

MEMORY_LIMIT: Final = 8e9
"""An event that would need more [bytes] is refused."""


class TrackFinder(Protocol):
    """Anything that turns hits into tracks: here, behind a server, or ACTS."""

    def find(self, hits: Hits) -> Tracks:
        """Tracks of one event."""
        ...

    def submit(self, hits: Hits) -> Future[Tracks]:
        """The same, later."""
        ...


@dataclass(frozen=True, eq=False)
class Pipeline:
    """Finds tracks by running its stages in turn.

    Attributes:
        name: of the pipeline.
        stages: (name of the step, stage); steps of one name are timed together.
        bytes_per_hit: memory that grows with the hits.
        bytes_per_hit2: memory that grows with their square: edges, at a given size of the detector.
    """

    name: str
    stages: tuple[tuple[str, Stage], ...]
    bytes_per_hit: float
    bytes_per_hit2: float
    _pool: list[ThreadPoolExecutor] = field(default_factory=list, repr=False)

    def find(self, hits: Hits, *, between: Callable[[], None] = lambda: None) -> Tracks:
        """Tracks of one event, with the time of each step and the numbers of hits, edges and triplets.

        Args:
            hits: of the event.
            between: called before each step; what it raises ends the work.

        Raises:
            TooLargeError: the event would need more memory than `MEMORY_LIMIT`.
        """
        n = len(hits)
        need = self.bytes_per_hit * n + self.bytes_per_hit2 * n * n
        if need > MEMORY_LIMIT:
            raise TooLargeError(
                f"{self.name}: got {n} hits, which would need {need / 1e9:.1f} GB, expected at most"
                f" {MEMORY_LIMIT / 1e9:.1f} GB; cut the event into regions in phi or z"
            )
        seconds = {name: 0.0 for name, _ in self.stages}
        if n < 2:
            return Tracks(np.full(n, NO_TRACK, np.int64), seconds, {"hits": n, "edges": 0})
        graph = Graph(turned(hits.position))
        for name, stage in self.stages:
            between()
            start = perf_counter()
            graph = stage(graph)
            seconds[name] += perf_counter() - start
        assert graph.track_id is not None
        assert graph.edge_index is not None
        counts = {"hits": n, "edges": graph.edge_index.shape[1]}
        if graph.triplets is not None:
            counts["triplets"] = graph.triplets.shape[1]
        return Tracks(graph.track_id, seconds, counts)

    def submit(self, hits: Hits) -> Future[Tracks]:
        """`find` in a thread of its own; one event at a time and in order."""
        if not self._pool:
            self._pool.append(ThreadPoolExecutor(1, thread_name_prefix=self.name))
        return self._pool[0].submit(self.find, hits)


def turned(position: Float32[ndarray, "n_hits 3"]) -> Float32[ndarray, "n_hits 3"]:
    """The same hits with phi between -pi and pi, where the kernels look for it."""
    outside = np.abs(position[:, 1]) > np.float32(np.pi)
    if not outside.any():
        return position
    turned = position.copy()
    turned[outside, 1] = np.remainder(position[outside, 1].astype(np.float64) + np.pi, 2 * np.pi) - np.pi
    return turned


def load_pipeline(
    name: str, *, device: str = "cpu", threads: int | None = None, weights: Path | None = None
) -> Pipeline:
    """The pipeline of that name, its weights loaded.

    Args:
        name: one of `PIPELINES`.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``; everything between hits and tracks stays there.
        threads: for one event; as many as there are cores if not given. The tracks do not depend on it.
        weights: folder with the files that `pipeline_weights` names, in place of the shipped ones.

    Raises:
        UnknownNameError: no pipeline or device of that name.
        ConfigError: `threads` is not positive, or the device is not there.
        FileError: weights are missing or damaged.
        MissingExtraError: the device needs a package that is not installed.
    """
    if name not in PIPELINES:
        raise UnknownNameError("pipeline", name, PIPELINES)
    if threads is None:
        threads = len(os.sched_getaffinity(0))
    if threads < 1:
        raise ConfigError(f"threads: got {threads}, expected 1 or more")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UnknownNameError("device", device, ["cpu", "cuda", "cuda:0"])
    if device != "cpu":
        return _on_cuda(name, device, weights or WEIGHTS)
    return PIPELINES[name](name, threads, weights or WEIGHTS)


def pipeline_weights(name: str) -> tuple[Path, ...]:
    """The shipped files that a pipeline reads, and their cards.

    Raises:
        UnknownNameError: no pipeline of that name.
    """
    if name not in PIPELINES:
        raise UnknownNameError("pipeline", name, PIPELINES)
    kinds = ("exatrkx", "module_map") if name.startswith("exatrkx") else ("module_map",)
    files = [weight_file(WEIGHTS, name, kind) for kind in kinds]
    return tuple(path for file in files for path in (file, file.with_suffix(".json")))


def _on_cuda(name: str, device: str, weights: Path) -> Pipeline:
    try:
        from beampipe.tracking.cuda import load_cuda_pipeline
    except ImportError:
        raise MissingExtraError("torch", "cuda", f"device {device}") from None
    pipeline: Pipeline = load_cuda_pipeline(name, device, weights)
    return pipeline


def exatrkx(name: str, threads: int, weights: Path) -> Pipeline:
    """Metric learning, filter, interaction network, then components or paths."""
    path = weight_file(weights, name, "exatrkx")
    networks, windows = load_networks(path), load_windows(weight_file(weights, name, "module_map"))
    if networks.embedding is None or networks.filter is None or networks.gnn is None:
        raise FileError(f"{path}: got only some networks, expected embedding, filter and gnn; train the others")
    cuts = networks.config
    neighbours = stages.FindNeighbours(cuts.radius, cuts.max_neighbours, cuts.kappa_max, cuts.z0_max, threads)
    label: Stage = stages.ConnectComponents(cuts.score_cut, MIN_HITS)
    if "walk" in name:
        label = stages.WalkThrough(windows, 1.0, MIN_HITS, 0.5, threads)
    line: tuple[tuple[str, Stage], ...] = (
        ("embedding", stages.EmbedHits(networks.embedding, threads)),
        ("building", neighbours),
        ("filtering", stages.FilterEdges(networks.filter, cuts.filter_cut, threads)),
        ("filtering", stages.PairEdges(windows, features=True, threads=threads)),
        ("gnn", stages.ScoreEdges(networks.gnn, threads)),
        ("labelling", label),
    )
    return Pipeline(name, line, bytes_per_hit=2000.0, bytes_per_hit2=0.02)


def windows_only(name: str, threads: int, weights: Path) -> Pipeline:
    """Learned windows and best paths."""
    windows = load_windows(weight_file(weights, name, "module_map"))
    min_hits = MIN_HITS if name.endswith("_soft") else MIN_LAYERS
    line: tuple[tuple[str, Stage], ...] = (
        ("building", stages.BuildFromWindows(windows, threads)),
        ("filtering", stages.PairEdges(windows, features=False, threads=threads)),
        ("labelling", stages.WalkThrough(windows, 0.5, min_hits, 0.5, threads)),
    )
    return Pipeline(name, line, bytes_per_hit=500.0, bytes_per_hit2=0.005)


def weight_file(weights: Path, pipeline: str, kind: str) -> Path:
    """The file of one kind (``exatrkx``, ``module_map``) that a pipeline reads."""
    soft = "_soft" if pipeline.endswith("_soft") else ""
    return weights / f"{kind}{soft}.safetensors"


PIPELINES: Final[dict[str, Callable[[str, int, Path], Pipeline]]] = {
    "exatrkx": exatrkx,
    "exatrkx_walk": exatrkx,
    "module_map": windows_only,
    "exatrkx_soft": exatrkx,
    "exatrkx_walk_soft": exatrkx,
    "module_map_soft": windows_only,
}
