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
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Final, Protocol

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from beampipe.errors import ConfigError, FileError, MissingExtraError, TooLargeError, UnknownNameError
from beampipe.tracking import stages
from beampipe.tracking.events import NO_TRACK, Hits, Tracks
from beampipe.tracking.networks import card_path, load_networks
from beampipe.tracking.stages import Graph, Stage
from beampipe.tracking.windows import load_windows

__all__ = [
    "MEMORY_LIMIT",
    "PIPELINES",
    "Pipeline",
    "TrackFinder",
    "load_pipeline",
    "pipeline_weights",
    "turned",
]

MIN_HITS: Final = 5
"""Fewest hits of a track."""

MIN_LAYERS: Final = 6
"""Fewest layers of a path that no network has judged, at high pile-up: five in a row occur by chance."""

WEIGHTS: Final = Path(__file__).parent / "weights"
"""The shipped weights."""

MEMORY_LIMIT: Final = 8e9
"""An event, or events found together, that would need more [bytes] are refused."""


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
        in_blocks: the stages take several events as one graph; if not, `find_many` finds them one by one.
    """

    name: str
    stages: tuple[tuple[str, Stage], ...]
    bytes_per_hit: float
    bytes_per_hit2: float
    in_blocks: bool = True
    _pool: list[ThreadPoolExecutor] = field(default_factory=list, repr=False)

    def find(self, hits: Hits, *, between: Callable[[], None] = lambda: None) -> Tracks:
        """Tracks of one event, with the time of each step and the numbers of hits, edges and triplets.

        Args:
            hits: of the event.
            between: called before each stage; what it raises ends the work.

        Raises:
            TooLargeError: the event would need more memory than `MEMORY_LIMIT`.
        """
        return self._found([hits], between)[0]

    def find_many(self, events: Sequence[Hits], *, between: Callable[[], None] = lambda: None) -> list[Tracks]:
        """Tracks of several events, found together: each stage runs once, on all of them side by side.

        The labels are those that `find` gives for each event. As for time, an event's `seconds` are its share of the
        whole by number of hits. Small events gain most: what a stage costs whatever the number of hits is paid once,
        and the threads have something to share.

        Args:
            events: hits of each; they may differ in size and be empty.
            between: called before each stage; what it raises ends the work.

        Raises:
            TooLargeError: one event, or all together, would need more memory than `MEMORY_LIMIT`; see `memory`.
                Found one by one, the others may still be answered.
        """
        if not events:
            return []
        if not self.in_blocks:
            return [self._found([hits], between)[0] for hits in events]
        return self._found(events, between)

    def memory(self, n_hits: int) -> float:
        """Bytes that an event of that size may need; those of events found together add up."""
        return self.bytes_per_hit * n_hits + self.bytes_per_hit2 * n_hits * n_hits

    def submit(self, hits: Hits) -> Future[Tracks]:
        """`find` in a thread of its own; one event at a time and in order."""
        if not self._pool:
            self._pool.append(ThreadPoolExecutor(1, thread_name_prefix=self.name))
        return self._pool[0].submit(self.find, hits)

    def _found(self, events: Sequence[Hits], between: Callable[[], None]) -> list[Tracks]:
        """Tracks of one or more events, found together."""
        self._check_memory(events)
        seconds = {name: 0.0 for name, _ in self.stages}
        sizes = [len(hits) for hits in events]
        if max(sizes) < 2:
            return [
                Tracks(np.full(n, NO_TRACK, np.int64), dict(seconds), {"hits": n, "edges": 0, "triplets": 0})
                for n in sizes
            ]
        if len(events) == 1:
            graph = Graph(turned(events[0].position))
        else:
            position = turned(np.concatenate([hits.position for hits in events]))
            graph = Graph(position, offsets=np.cumsum([0, *sizes], dtype=np.int64))
        for name, stage in self.stages:
            between()
            start = perf_counter()
            graph = stage(graph)
            seconds[name] += perf_counter() - start
        assert graph.track_id is not None
        assert graph.edge_index is not None
        if len(events) > 1:
            return _split(graph, seconds)
        counts = {"hits": sizes[0], "edges": graph.edge_index.shape[1]}
        if graph.triplets is not None:
            counts["triplets"] = graph.triplets.shape[1]
        return [Tracks(graph.track_id, seconds, counts)]

    def _check_memory(self, events: Sequence[Hits]) -> None:
        limit = f"expected at most {MEMORY_LIMIT / 1e9:.1f} GB"
        total = 0.0
        for row, hits in enumerate(events):
            need = self.memory(len(hits))
            if need > MEMORY_LIMIT:
                where = f" in event {row} of {len(events)}" if len(events) > 1 else ""
                raise TooLargeError(
                    f"{self.name}: got {len(hits)} hits{where}, which would need {need / 1e9:.1f} GB, {limit};"
                    " cut the event into regions in phi or z"
                )
            total += need
        if total > MEMORY_LIMIT:
            raise TooLargeError(
                f"{self.name}: got {len(events)} events, which would need {total / 1e9:.1f} GB together, {limit};"
                " find fewer of them at a time"
            )


def turned(position: Float32[ndarray, "n_hits 3"]) -> Float32[ndarray, "n_hits 3"]:
    """The same hits with phi between -pi and pi, where the kernels look for it."""
    outside = np.abs(position[:, 1]) > np.float32(np.pi)
    if not outside.any():
        return position
    turned = position.copy()
    turned[outside, 1] = np.remainder(position[outside, 1].astype(np.float64) + np.pi, 2 * np.pi) - np.pi
    return turned


def _split(graph: Graph, seconds: dict[str, float]) -> list[Tracks]:
    """The tracks of each event of a graph: its part of the labels, numbered from 0."""
    track_id, edge_index = graph.track_id, graph.edge_index
    assert track_id is not None
    assert edge_index is not None
    assert graph.offsets is not None
    edges = np.searchsorted(edge_index[0], graph.offsets)  # edges are sorted by their inner hit
    counted = {"hits": np.diff(graph.offsets), "edges": np.diff(edges)}
    if graph.triplets is not None:
        counted["triplets"] = _per_event(graph.triplets, edges)
    found, next_track = [], 0
    for row, (first, last) in enumerate(pairwise(graph.offsets.tolist())):
        label = track_id[first:last].copy()  # the answer keeps no other event's labels alive
        on_track = label >= 0
        label[on_track] -= next_track  # tracks are numbered by their first hit, so one event's come before the next's
        next_track += int(label.max(initial=NO_TRACK)) + 1
        share = (last - first) / len(track_id)
        counts = {name: int(count[row]) for name, count in counted.items()}
        found.append(Tracks(label, {name: share * taken for name, taken in seconds.items()}, counts))
    return found


def _per_event(
    triplets: Int64[ndarray, "2 n_triplets"], edges: Int64[ndarray, " n_events_and_1"]
) -> Int64[ndarray, " n_events"]:
    """Number of triplets of each event, whose edges begin at `edges`."""
    n_events = len(edges) - 1
    event = np.repeat(np.arange(n_events), np.diff(edges))
    return np.bincount(event[triplets[0]], minlength=n_events)


def load_pipeline(
    name: str, *, device: str = "cpu", threads: int | None = None, weights: Path | None = None
) -> Pipeline:
    """The pipeline of that name, its weights loaded.

    Args:
        name: one of `PIPELINES`.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``; everything between hits and tracks stays there.
        threads: for one call; as many as there are cores if not given. The tracks do not depend on it.
        weights: folder with the files of `pipeline_weights`, in place of the shipped ones.

    Raises:
        UnknownNameError: no pipeline or device of that name.
        ConfigError: `threads` is not positive, or the device is not there.
        FileError: weights are missing or damaged.
        MissingExtraError: the device needs a package that is not installed.
    """
    _check_name(name)
    if threads is None:
        threads = len(os.sched_getaffinity(0))
    if threads < 1:
        raise ConfigError(f"threads: got {threads}, expected 1 or more")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UnknownNameError("device", device, ["cpu", "cuda", "cuda:0"])
    if device != "cpu":
        return _on_cuda(name, device, weights or WEIGHTS)
    return PIPELINES[name](name, threads, weights or WEIGHTS)


def pipeline_weights(name: str, weights: Path | None = None) -> tuple[Path, ...]:
    """The files that a pipeline is made of: weights and their cards.

    Args:
        name: one of `PIPELINES`.
        weights: folder to look in, in place of the shipped one.

    Raises:
        UnknownNameError: no pipeline of that name.
        FileError: a file is missing.
    """
    _check_name(name)
    kinds = ("module_map",) if name.startswith("module_map") else ("exatrkx", "module_map")
    tables = [weight_file(weights or WEIGHTS, name, kind) for kind in kinds]
    files = tuple(path for table in tables for path in (table, card_path(table)))
    for path in files:
        if not path.is_file():
            raise FileError(f"{path}: got no such file, expected it for {name}: {', '.join(f.name for f in files)}")
    return files


def _check_name(name: str) -> None:
    if name not in PIPELINES:
        raise UnknownNameError("pipeline", name, PIPELINES)


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
