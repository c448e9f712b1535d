"""A *tracker model*: everything that was learned about one detector, in a folder that says what it is.

A *pipeline* (`module_map`, `exatrkx_walk`, ...) is a method; a tracker model says for which detector::

    my_detector/
      model.json               the fields of `TrackerModel`
      module_map.safetensors   learned windows, with their card module_map.json
      exatrkx.safetensors      networks, with their card exatrkx.json
      ...

A pair of weights and card is known by its *stem*, ``module_map``. A pipeline runs if the stems that it needs are there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from beampipe.errors import ConfigError, FileError
from beampipe.notebook import Shown
from beampipe.tracking.models.crossing import Crossing
from beampipe.tracking.models.layout import Layout
from beampipe.tracking.models.performance import Performance
from beampipe.tracking.models.shipped import CARD
from beampipe.tracking.pipelines.specs import PIPELINES, PipelineSpec, pipeline_spec

__all__ = ["FORMAT", "Digest", "Origin", "TrackerModel", "Versions", "Weights", "digest_of"]

FORMAT: Final = "beampipe tracker model 1"
"""What the entry ``format`` of that file says."""

_SMALL: Final = 1 << 20
"""Files up to this size [B] are hashed whenever a pipeline is loaded; larger ones only on demand."""


@dataclass(frozen=True)
class Digest:
    """Size and hash of a file.

    Attributes:
        bytes: size of the file [B].
        sha256: its SHA-256, in hexadecimal digits.
    """

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Weights:
    """One pair of weights and card.

    Attributes:
        pt_floor: lowest pT of the particles that were learned from [GeV]; softer ones are found by luck.
        files: name of each file of the pair -> its digest.
    """

    pt_floor: float
    files: Mapping[str, Digest]


@dataclass(frozen=True)
class Versions:
    """Versions of what made a model.

    Attributes:
        beampipe: version of this package.
        python: version of Python.
        numpy: version of numpy.
        torch: version of PyTorch; empty if it trained nothing.
    """

    beampipe: str
    python: str
    numpy: str
    torch: str = ""


@dataclass(frozen=True)
class Origin:
    """How a model was made.

    Attributes:
        command: the command that made it, with the names of the files only.
        versions: versions of what made it.
        seeds: seeds of the random numbers.
        events: number of events that it was learned from.
        validation_events: number of other events, on which cuts were chosen and the performance measured.
        inputs: name of each file of events -> its digest.
    """

    command: str
    versions: Versions
    seeds: tuple[int, ...] = ()
    events: int = 0
    validation_events: int = 0
    inputs: Mapping[str, Digest] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class TrackerModel(Shown):
    """What was learned about one detector.

    Attributes:
        path: folder of the model.
        name: name of the model.
        for_what: detector and events that the model is made for, in one line.
        layout: where the model expects hits.
        weights: stem of each pair of weights -> what they are.
        origin: how the model was made.
        performance: name of a pipeline -> what it can and cannot do; only those that were measured.
        crossing: how many layers particles cross, and so how short a track may be.

    Raises:
        ConfigError: there are no weights, or the performance of an unknown pipeline.
    """

    path: Path
    name: str
    for_what: str
    layout: Layout
    weights: Mapping[str, Weights]
    origin: Origin
    performance: Mapping[str, Performance] = field(default_factory=dict)
    crossing: Crossing = field(default_factory=Crossing)

    def __post_init__(self) -> None:
        if not self.weights:
            raise ConfigError("weights: got none, expected some such as module_map")
        if unknown := [name for name in self.performance if name not in PIPELINES]:
            raise ConfigError(f"performance: got {', '.join(unknown)}, expected pipelines: {', '.join(PIPELINES)}")

    def facts(self) -> Mapping[str, object]:
        """Name, what the model is for, its pipelines and its folder."""
        pipelines = ", ".join(self.pipelines)
        return {"name": self.name, "for": self.for_what, "pipelines": pipelines, "folder": self.path}

    @property
    def pipelines(self) -> tuple[str, ...]:
        """Names of the pipelines that this model can run."""
        return tuple(spec.name for spec in PIPELINES.values() if set(spec.weight_stems) <= set(self.weights))

    def spec(self, name: str) -> PipelineSpec:
        """The pipeline of that name as this model runs it: asking for no more hits than its tracks have.

        Raises:
            UnknownNameError: no pipeline of that name.
        """
        return pipeline_spec(name).asking_at_most(self.crossing.min_layers)

    def require(self, spec: PipelineSpec) -> None:
        """Make sure that a pipeline can run, and that its files are those that the model was made with.

        Raises:
            ConfigError: the model has no weights for it.
            FileError: a file is missing, or is another one.
        """
        if missing := [stem for stem in spec.weight_stems if stem not in self.weights]:
            raise ConfigError(
                f"model {self.name} ({self.path}): got no {', '.join(missing)}, expected it for pipeline {spec.name};"
                f" this model runs {', '.join(self.pipelines) or 'none of the named pipelines'}"
            )
        self.check(spec.weight_stems)

    def check(self, stems: Iterable[str] | None = None, *, deep: bool = False) -> None:
        """Compare files with their digests.

        Args:
            stems: weights to look at; all if not given.
            deep: hash large files, too, not only those up to 1 MiB.

        Raises:
            FileError: a file is missing, or is another one.
        """
        for stem in self.weights if stems is None else stems:
            for name, expected in self.weights[stem].files.items():
                _compare(self.path / name, expected, deep)

    def files(self, spec: PipelineSpec) -> tuple[Path, ...]:
        """The files that a pipeline needs: weights and their cards, and the card of the model.

        Raises:
            ConfigError: the model has no weights for it.
            FileError: a file is missing, or is another one.
        """
        self.require(spec)
        return (
            *(self.path / name for stem in spec.weight_stems for name in self.weights[stem].files),
            self.path / CARD,
        )


def digest_of(path: Path) -> Digest:
    """Size and SHA-256 of a file.

    Raises:
        FileError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return Digest(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})", path=path) from error


def _compare(path: Path, expected: Digest, deep: bool) -> None:
    if not path.is_file():
        raise FileError(f"{path}: got no such file, expected it as in {path.parent / CARD}", path=path)
    size = path.stat().st_size
    if size != expected.bytes or ((deep or size <= _SMALL) and digest_of(path).sha256 != expected.sha256):
        raise FileError(
            f"{path}: got another file ({size} bytes), expected the one of {path.parent / CARD} ({expected.bytes}"
            f" bytes, sha256 {expected.sha256[:12]}...); take the whole folder from one training",
            path=path,
        )
