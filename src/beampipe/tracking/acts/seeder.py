"""Our pipelines as a seeding of ACTS: one seed per track found, for whoever runs the CKF.

    addSeeding(..., seedingAlgorithm=SeedingAlgorithm.PythonCallable, customSeeder=beampipe_seeder)

The space points must be those of all layers, strips too: a pipeline finds whole tracks, and four hits are none.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64
from beampipe.errors import ConfigError
from beampipe.settings import build
from beampipe.tracking.acts.detector import pyacts
from beampipe.tracking.acts.whiteboard import python_algorithm, reader, writer
from beampipe.tracking.events import Hits
from beampipe.tracking.events.arrays import cylindrical
from beampipe.tracking.finder import TrackFinder
from beampipe.tracking.loading import load_pipeline
from beampipe.tracking.models import DEFAULT_MODEL
from beampipe.tracking.pipelines.specs import DEFAULT_PIPELINE

__all__ = ["SeederSettings", "beampipe_seeder", "seeding_algorithm", "three_of_each"]


@dataclass(frozen=True)
class SeederSettings:
    """The keys of ``customSeederConfig``.

    Attributes:
        pipeline: name of the pipeline, one of `beampipe.tracking.PIPELINES`.
        model: tracker model that knows the detector: the name of a shipped one, or a folder that
            ``beampipe tracking train`` wrote.
        threads: number of threads of the pipeline.
        seeds_per_track: number of seeds of each track: the first spans the whole of it, each further one half of the
            one before. With ``seedDeduplication`` ACTS tries a further one only where it missed hits of it before.

    Raises:
        ConfigError: `seeds_per_track` is not positive.
    """

    pipeline: str = DEFAULT_PIPELINE
    model: str = DEFAULT_MODEL
    threads: int = 1
    seeds_per_track: int = 3

    def __post_init__(self) -> None:
        if self.seeds_per_track < 1:
            raise ConfigError(f"seeds_per_track: got {self.seeds_per_track}, expected 1 or more")


def beampipe_seeder(
    s: Any, spacePoints: str, outputSeeds: str, config: Mapping[str, Any] | None = None, **of_no_use: Any
) -> str:
    """The ``customSeeder`` of ``acts.examples.reconstruction.addSeeding``; its arguments are those that ACTS gives.

    Args:
        s: sequencer that the seeding is added to.
        spacePoints: name of the space points of all layers.
        outputSeeds: name that the seeds get.
        config: ``customSeederConfig``: the fields of `SeederSettings` by name.
        of_no_use: tracking geometry and log level.

    Returns:
        `outputSeeds`.

    Raises:
        ConfigError: a key of `config` is unknown, a value is of another type, or the model was not trained for the
            pipeline.
        UnknownNameError: no pipeline or shipped model of that name.
        FileError: there is no model in the folder, or its weights are not those that it was made with.
    """
    settings = build(SeederSettings, dict(config or {}), "customSeederConfig")
    s.addAlgorithm(seeding_algorithm(settings, spacePoints, outputSeeds))
    return outputSeeds


def seeding_algorithm(settings: SeederSettings, space_points: str, seeds: str) -> Any:
    """An algorithm that runs a pipeline on space points and writes a seed for each track.

    Args:
        settings: pipeline and choice of hits.
        space_points: name of the ``SpacePointContainer`` that is read.
        seeds: name of the ``SeedContainer`` that is written.
    """
    acts, _ = pyacts()
    _pipeline(settings.pipeline, settings.model, settings.threads)  # what is wrong with it should be said here

    def setup(algorithm: Any) -> Callable[[int, Any], None]:
        read = reader(algorithm, acts.SpacePointContainer, space_points)
        write = writer(algorithm, acts.SeedContainer, seeds)

        def run(number: int, context: Any) -> None:
            points = read(context)
            xyz = np.stack([points.x, points.y, points.z], axis=1).astype(np.float64)
            container = acts.SeedContainer()
            container.assignSpacePointContainer(points)
            tracks = _pipeline(settings.pipeline, settings.model, settings.threads).find(Hits(cylindrical(*xyz.T)))
            for halvings in range(settings.seeds_per_track):
                _fill(container, three_of_each(xyz, tracks.track_id, 0.5**halvings))
            write(context, container)

        return run

    return python_algorithm("BeampipeSeeding", setup)


def three_of_each(
    xyz: Float64[ndarray, "n_hits 3"], track_id: Int64[ndarray, " n_hits"], share: float = 1.0
) -> list[tuple[int, int, int]]:
    """Three hits of each track that lie far apart: the innermost, the last of that share, and one halfway.

    Args:
        xyz: positions of the hits [mm].
        track_id: track of each hit, -1 for none.
        share: share of the track's length, from its innermost hit on, in which the three lie if it holds as many.

    Returns:
        Rows of the three hits, inside out; tracks with fewer than three hits give none.
    """
    on_track = np.flatnonzero(track_id >= 0)
    order = on_track[np.lexsort((np.linalg.norm(xyz[on_track], axis=1), track_id[on_track]))]
    starts = np.flatnonzero(np.diff(track_id[order], prepend=-1))
    triplets = []
    for rows in np.split(order, starts[1:]):
        if len(rows) < 3:
            continue
        away = np.linalg.norm(xyz[rows] - xyz[rows[0]], axis=1)
        last = max(2, int(np.flatnonzero(away <= share * away[-1])[-1]))
        middle = 1 + int(np.argmin(np.abs(away[1:last] - away[last] / 2)))
        triplets.append((int(rows[0]), int(rows[middle]), int(rows[last])))
    return triplets


@cache
def _pipeline(name: str, model: str, threads: int) -> TrackFinder:
    """The pipeline of that name and model, once per process: the sequencer never lets go of what algorithms hold."""
    return load_pipeline(name, threads=threads, model=model)


atexit.register(_pipeline.cache_clear)  # a native pipeline should be gone before the library that made it


def _fill(container: Any, triplets: Sequence[tuple[int, int, int]]) -> None:
    """Add the seeds. No proxy may outlive this function: a container in use cannot be handed over."""
    for rows in triplets:
        seed = container.createSeed()
        seed.quality = 1.0
        seed.vertexZ = 0.0
        seed.assignSpacePointIndices(list(rows))
