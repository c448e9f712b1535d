"""A *tracker model*: everything that was learned about one detector, in a folder with a descriptive card.

A *pipeline* (`module_map`, `exatrkx_walk`, ...) is a method; a tracker model holds its weights for one detector::

    my_detector/
      model.json               the fields of `TrackerModel`
      module_map.safetensors   learned windows, with their card module_map.json
      exatrkx.safetensors      networks, with their card exatrkx.json
      ...

A pair of weights and card is named by its *stem*, ``module_map``. A pipeline runs if the model has the stems it needs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from math import sqrt
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32
from beampipe.errors import ConfigError, FileError, UnknownNameError
from beampipe.events import ON_AXIS, BeamSpot
from beampipe.notebook import Shown, shown_folder
from beampipe.settings import build
from beampipe.simulation.detector import DetectorLayout, read_layout
from beampipe.tracking.catalogue import CARD, DEFAULT_PIPELINE, PIPELINES, PipelineSpec, model_names, pipeline_spec
from beampipe.tracking.catalogue import DEFAULT_MODEL as DEFAULT_MODEL
from beampipe.tracking.catalogue import shipped_models as shipped_models
from beampipe.tracking.truth import HEADLINE

_BARREL_LENGTH: Final = 1.0
"""A box that is longer than this many times its depth in r is a barrel layer, any other one a disc."""


@dataclass(frozen=True)
class Layer:
    """One layer as the box that holds its hits, with a margin.

    Attributes:
        name: name of the layer, such as ``barrel_1`` or ``disc_minus_3``, counted from the centre outwards.
        r_min: smallest radius [mm].
        r_max: largest radius [mm].
        z_min: smallest z [mm].
        z_max: largest z [mm].

    Raises:
        ConfigError: the box is empty, or reaches beyond the beam line.
    """

    name: str
    r_min: float
    r_max: float
    z_min: float
    z_max: float

    def __post_init__(self) -> None:
        if not (self.r_min < self.r_max and self.r_max > 0 and self.z_min < self.z_max):
            raise ConfigError(
                f"layer {self.name}: got r from {self.r_min:g} to {self.r_max:g} and z from {self.z_min:g} to"
                f" {self.z_max:g}, expected a box: r_min < r_max, z_min < z_max"
            )


@dataclass(frozen=True)
class Units:
    """Units of all numbers of a model: constants, for readers of the card.

    Attributes:
        length: unit of r, z and vertices.
        angle: unit of phi.
        momentum: unit of pT.
        field: unit of the magnetic field.
    """

    length: Literal["mm"] = "mm"
    angle: Literal["rad"] = "rad"
    momentum: Literal["GeV"] = "GeV"
    field: Literal["T"] = "T"


@dataclass(frozen=True)
class TrackerGeometry:
    """Layers, field and beam line that a tracker model was learned for.

    Attributes:
        layers: the layers; their boxes do not overlap.
        field: magnetic field along z [T].
        beam_spot: beam line in the training events.
        units: units of all numbers.

    Raises:
        ConfigError: the field is 0, or beyond 20 T.
    """

    layers: tuple[Layer, ...]
    field: float
    beam_spot: BeamSpot = ON_AXIS
    units: Units = Units()

    def __post_init__(self) -> None:
        if not 0 < abs(self.field) <= 20:
            raise ConfigError(f"field: got {self.field:g} T, expected one that bends tracks, up to 20 T")

    @property
    def boxes(self) -> Float32[ndarray, "n_layers 4"]:
        """(n_layers, 4) r_min, r_max, z_min, z_max [mm] of each layer."""
        rows = [(layer.r_min, layer.r_max, layer.z_min, layer.z_max) for layer in self.layers]
        return np.array(rows, np.float32).reshape(-1, 4)


def name_layers(boxes: Float32[ndarray, "n_layers 4"]) -> tuple[Layer, ...]:
    """Name the boxes of layers: barrel layers by radius, discs by the side that they are on and their |z|.

    Args:
        boxes: (n_layers, 4) r_min, r_max, z_min, z_max [mm] of each layer.

    Returns:
        The layers in the order of the boxes.
    """
    depth, length = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    middle = (boxes[:, 2] + boxes[:, 3]) / 2
    is_disc = length <= _BARREL_LENGTH * depth
    kinds = np.where(is_disc, np.where(middle < 0, "disc_minus", "disc_plus"), "barrel")
    names = np.empty(len(boxes), object)
    for kind in np.unique(kinds):
        mine = np.flatnonzero(kinds == kind)
        # Discs at one z, side by side in r, are counted from the beam line outwards.
        order = np.lexsort((boxes[mine, 0], boxes[mine, 0] if kind == "barrel" else np.abs(middle[mine]).round(-1)))
        for number, row in enumerate(mine[order], 1):
            names[row] = f"{kind}_{number}"
    # float32 as decimal: the shortest text that gives the same box again.
    return tuple(Layer(str(name), *(float(str(edge)) for edge in box)) for name, box in zip(names, boxes, strict=True))


_REQUIRED_SHARE: Final = 0.75
"""Share of the usually crossed layers on which a particle must have hits: one in four may be missing."""

_MIN_REQUIRED: Final = 4
"""Lower limit of `min_layers`: any three hits lie on a circle."""


@dataclass(frozen=True)
class LayerRequirements:
    """How many layers particles cross.

    Attributes:
        layers: median number of layers that primary particles of pT > 1 GeV cross; null where it was not recorded.
        min_layers: fewest layers that a reconstructable particle crosses; no pipeline of the model requires more
            hits of a track.

    Raises:
        ConfigError: `min_layers` is below 3, which no pipeline can find.
    """

    layers: float | None = None
    min_layers: int = HEADLINE.min_layers

    def __post_init__(self) -> None:
        if self.min_layers < 3:
            raise ConfigError(f"min_layers: got {self.min_layers}, expected 3 or more: fewer hits are no track")

    @classmethod
    def usual(cls, layers: float) -> LayerRequirements:
        """The requirement for a detector: seven layers, or three quarters of the crossed layers if fewer than ten.

        Args:
            layers: median number of layers that primary particles of pT > 1 GeV cross.
        """
        return cls(layers, int(min(HEADLINE.min_layers, max(_MIN_REQUIRED, _REQUIRED_SHARE * layers))))

    def __str__(self) -> str:
        usual = "" if self.layers is None else f"; {self.layers:g} are usual"
        return f"a particle counts from {self.min_layers} layers on{usual}"


_GOOD_EFFICIENCY: Final = 0.9
"""An efficiency below this is listed as a weakness of a pipeline."""

FEWEST_TO_TELL: Final = 10
"""Fewest particles in a bin from which its efficiency says something."""

_VARIABLES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "pt": ("pT", "GeV"),
        "eta": ("eta", ""),
        "vertex_z": ("vertex z", "mm"),
        "origin": ("origin at r =", "mm"),
        "distance": ("distance to the nearest track", ""),
        "jets": ("in hard jets, distance to the nearest track", ""),
    }
)
"""Variables of `Performance.curves`: the name and the unit in texts."""


@dataclass(frozen=True)
class BinnedEfficiency:
    """Efficiency in bins of one variable. The bins at both ends take all beyond them.

    Attributes:
        edges: n + 1 edges of the bins.
        total: number of reconstructable particles in each bin.
        matched: number of those that were found, by double majority.

    Raises:
        ConfigError: there are not one more edges than bins, or more matched particles than there are.
    """

    edges: tuple[float, ...]
    total: tuple[int, ...]
    matched: tuple[int, ...]

    def __post_init__(self) -> None:
        sizes = len(self.edges) - 1, len(self.total), len(self.matched)
        if len(set(sizes)) > 1:
            raise ConfigError(f"curves: got {sizes} bins of edges, total and matched, expected equally many")
        if any(not 0 <= matched <= total for matched, total in zip(self.matched, self.total, strict=True)):
            raise ConfigError("curves: got more matched particles than there are, expected as many at most")

    @property
    def values(self) -> tuple[float | None, ...]:
        """The efficiency of each bin; null where there was no particle."""
        return tuple(m / t if t else None for m, t in zip(self.matched, self.total, strict=True))

    @property
    def weak(self) -> tuple[bool, ...]:
        """Which bins are below 90 %, of those with enough particles to tell."""
        return tuple(
            total >= FEWEST_TO_TELL and matched < _GOOD_EFFICIENCY * total
            for matched, total in zip(self.matched, self.total, strict=True)
        )

    @property
    def few(self) -> tuple[bool, ...]:
        """Which bins have too few particles to tell."""
        return tuple(total < FEWEST_TO_TELL for total in self.total)

    def ranges(self, chosen: Iterable[bool]) -> Iterator[range]:
        """The chosen bins, those side by side as one range."""
        for is_chosen, group in groupby(enumerate(chosen), key=lambda item: item[1]):
            if is_chosen:
                numbers = [number for number, _ in group]
                yield range(numbers[0], numbers[-1] + 1)

    def describe(self, bins: range) -> str:
        """Efficiency of bins side by side in words: lowest and highest, or value and error of a single bin.

        The error is that of Agresti and Coull (1998): two more successes and two more failures keep it from being 0.
        """
        values = [value for bin_ in bins if (value := self.values[bin_]) is not None]
        if len(values) != 1:
            return f"{100 * min(values):.0f} to {100 * max(values):.0f} %" if values else "nothing measured"
        total = self.total_in(bins)
        moderate = (values[0] * total + 2) / (total + 4)
        return f"{100 * values[0]:.0f} +- {100 * sqrt(moderate * (1 - moderate) / (total + 4)):.0f} %"

    def total_in(self, bins: range) -> int:
        """Number of particles in bins side by side."""
        return sum(self.total[bins.start : bins.stop])


@dataclass(frozen=True)
class Performance:
    """One pipeline on the events that validated its model. Efficiencies are by double majority.

    Attributes:
        sample: events that were used, and their degradation.
        events: number of these events.
        hits: mean number of hits of an event.
        efficiency: efficiency for reconstructable primary particles above the lowest edge of the curve of pT, or
            1 GeV if that is lower.
        fakes: share of tracks that belong to no particle.
        hits_on_tracks: share of the hits that are on a track.
        hits_per_track: mean number of hits of a track; null where it was not measured.
        residual: median distance of hits from the lines of their neighbours [mm]; null where it was not measured.
        origin_z: median z at which tracks leave the beam line [mm]; null where it was not measured.
        origin_spread: standard deviation of that z [mm]; null where it was not measured.
        holes: share of the layers that tracks cross without a hit on them; null where it was not measured.
        layers: share of the hits of each layer that are on a track; empty where it was not measured.
        chi2: median and mean chi2 per degree of freedom of fitted tracks that are not suspect; empty where none were
            fitted.
        good_fits: share of the tracks with such a fit; null where none were fitted.
        milliseconds: median processor time of an event on one thread [ms], of the machine that validated; other work on
            it hardly matters.
        curves: efficiency by ``pt`` [GeV], ``eta``, ``vertex_z`` [mm], ``origin`` (radius [mm]), ``distance`` to the
            nearest track (in eta and phi), and, where events with hard jets were given, the same in these as ``jets``.
        displaced: efficiency for particles made 2 to 100 mm from the beam line; null where there were fewer than ten.
        dense: efficiency for particles within 10 mrad of another one; null where there were fewer than ten.
        counted: which particles and which tracks the numbers count.

    Raises:
        ConfigError: a curve has an unknown variable.
    """

    sample: str
    events: int
    hits: float
    efficiency: float | None
    fakes: float | None
    hits_on_tracks: float
    milliseconds: float
    curves: Mapping[str, BinnedEfficiency]
    displaced: float | None = None
    dense: float | None = None
    counted: str = ""
    hits_per_track: float | None = None
    residual: float | None = None
    origin_z: float | None = None
    origin_spread: float | None = None
    holes: float | None = None
    layers: tuple[float, ...] = ()
    chi2: tuple[float, ...] = ()
    good_fits: float | None = None

    def __post_init__(self) -> None:
        if unknown := set(self.curves) - set(_VARIABLES):
            raise ConfigError(f"curves: got {', '.join(sorted(unknown))}, expected {', '.join(_VARIABLES)}")

    @property
    def particles(self) -> int:
        """Number of particles that `efficiency` counts."""
        return sum(self.curves["eta"].total) if "eta" in self.curves else 0

    def weaknesses(self, others: Mapping[str, Performance] = MappingProxyType({})) -> Iterator[str]:
        """Every bin with an efficiency below 90 %, in a few words with its numbers; neighbouring bins together.

        Bins with too few particles to tell are in `untested` instead.

        Args:
            others: finders on the same events by name, such as ACTS, whose efficiencies are put beside.
        """
        for variable, curve in self._ordered_curves():
            for bins in curve.ranges(curve.weak):
                measured = ((other, each.curves.get(variable)) for other, each in others.items())
                texts = [f"{other} {its.describe(bins)}" for other, its in measured if its and its.edges == curve.edges]
                own = f"{_interval(variable, curve, bins)}: {curve.describe(bins)} (of {curve.total_in(bins)})"
                yield ", ".join([own, *texts])
        for name, what in _SINGLE_NUMBERS.items():
            value: float | None = getattr(self, name)
            if value is not None and value < _GOOD_EFFICIENCY:
                beside = ((other, getattr(each, name)) for other, each in others.items())
                texts = [f"{other} {100 * share:.0f} %" for other, share in beside if share is not None]
                yield ", ".join([f"{what}: {100 * value:.0f} %", *texts])

    def untested(self) -> Iterator[str]:
        """Every bin with too few particles to tell its efficiency, in a few words; neighbouring bins together."""
        for variable, curve in self._ordered_curves():
            for bins in curve.ranges(curve.few):
                found, total = sum(curve.matched[bins.start : bins.stop]), curve.total_in(bins)
                yield _interval(variable, curve, bins) + (f" ({found} of {total})" if total else "")
        if "jets" not in self.curves:
            yield "cores of hard jets"

    def _ordered_curves(self) -> Iterator[tuple[str, BinnedEfficiency]]:
        return ((variable, self.curves[variable]) for variable in _VARIABLES if variable in self.curves)


_SINGLE_NUMBERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "efficiency": "all primaries",
        "displaced": "from 2 to 100 mm off the beam line",
        "dense": "within 10 mrad of another track",
    }
)
"""Efficiencies of `Performance` that are one number, in words."""


def _interval(variable: str, curve: BinnedEfficiency, bins: range) -> str:
    """Variable, ends and unit of bins side by side, in words."""
    name, unit = _VARIABLES[variable]
    return f"{name} {curve.edges[bins.start]:.3g} to {curve.edges[bins.stop]:.3g} {unit}".rstrip()


FIT_STEM: Final = "fit"
"""Stem of the tables of the track fit."""

CARD_FORMAT: Final = "beampipe tracker model 1"
"""Value of the entry ``format`` of the card."""

_SMALL_FILE: Final = 1 << 20
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
        pt_floor: lowest pT of the training particles [GeV]; softer ones are found by chance only.
        files: name of each file of the pair -> its digest.
    """

    pt_floor: float
    files: Mapping[str, Digest]


@dataclass(frozen=True)
class Versions:
    """Versions of the software that made a model.

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
        versions: versions of the software that made it.
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
    """Weights, geometry and measured performance for one detector.

    Attributes:
        path: folder of the model.
        name: name of the model.
        for_what: detector and events that the model is made for, in one line.
        layout: layers, field and beam line of the detector.
        weights: stem of each pair of weights -> its lowest pT and digests.
        origin: how the model was made.
        performance: name of a pipeline -> its measured performance; only pipelines that were measured.
        crossing: how many layers particles cross, and so how short a track may be.
        acts: name of settings of ACTS -> its performance on the same events, if it was measured.
        detector: detector file: the name of a file in the folder, or one that `read_layout` knows, such as ``odd``;
            empty if there is none. If it has double-sided strips, tracks are compared with their measurements.
        default_pipeline: name of the pipeline that runs where none is named: that by which training judged the model.

    Raises:
        ConfigError: there are no weights, or the default or the performance of an unknown pipeline.
    """

    path: Path
    name: str
    for_what: str
    layout: TrackerGeometry
    weights: Mapping[str, Weights]
    origin: Origin
    performance: Mapping[str, Performance] = field(default_factory=dict)
    crossing: LayerRequirements = field(default_factory=LayerRequirements)
    acts: Mapping[str, Performance] = field(default_factory=dict)
    detector: str = ""
    default_pipeline: str = DEFAULT_PIPELINE

    def __post_init__(self) -> None:
        if not self.weights:
            raise ConfigError("weights: got none, expected some such as module_map")
        if unknown := [name for name in (self.default_pipeline, *self.performance) if name not in PIPELINES]:
            raise ConfigError(
                f"default_pipeline, performance: got {', '.join(unknown)}, expected pipelines: {', '.join(PIPELINES)}"
            )

    def facts(self) -> Mapping[str, object]:
        """Name, what the model is for, its pipelines and its folder."""
        pipelines = ", ".join(self.pipelines)
        return {"name": self.name, "for": self.for_what, "pipelines": pipelines, "folder": shown_folder(self.path)}

    @property
    def detector_layout(self) -> DetectorLayout | None:
        """The detector of the file, or None if there is none.

        Raises:
            FileError: the file cannot be read.
            ConfigError: it makes no detector.
        """
        if not self.detector:
            return None
        own = self.path / self.detector
        return read_layout(own if own.is_file() else Path(self.detector))

    @property
    def pipelines(self) -> tuple[str, ...]:
        """Names of the pipelines that this model can run."""
        return tuple(spec.name for spec in PIPELINES.values() if set(spec.weight_stems) <= set(self.weights))

    def spec(self, name: str) -> PipelineSpec:
        """The pipeline of that name as this model runs it: requiring no more hits than its tracks have.

        Raises:
            UnknownNameError: no pipeline of that name.
        """
        return pipeline_spec(name).with_min_hits_up_to(self.crossing.min_layers)

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
            stems: weights to check; all if not given.
            deep: hash large files, too, not only those up to 1 MiB.

        Raises:
            FileError: a file is missing, is another one, or has numbers that are not finite.
        """
        for stem in self.weights if stems is None else stems:
            for name, expected in self.weights[stem].files.items():
                path, card = self.path / name, self.path / CARD
                if not path.is_file():
                    raise FileError(f"{path}: got no such file, expected it as in {card}", path=path)
                size = path.stat().st_size
                hashed = deep or size <= _SMALL_FILE
                if size != expected.bytes or (hashed and digest_of(path).sha256 != expected.sha256):
                    raise FileError(
                        f"{path}: got another file ({size} bytes), expected the one of {card} ({expected.bytes} bytes,"
                        f" sha256 {expected.sha256[:12]}...); take the whole folder from one training",
                        path=path,
                    )
                if path.suffix == ".safetensors":
                    _require_finite(path)

    def files(self, spec: PipelineSpec) -> tuple[Path, ...]:
        """The files that a pipeline needs: weights and their cards, the card of the model, and those of its detector.

        Raises:
            ConfigError: the model has no weights for it.
            FileError: a file is missing, or is another one.
        """
        self.require(spec)
        of_detector = (self.path / self.detector, weight_file(self.path, "strips"))
        return (
            *(self.path / name for stem in spec.weight_stems for name in self.weights[stem].files),
            self.path / CARD,
            *(path for path in of_detector if path.is_file()),
        )


def _require_finite(path: Path) -> None:
    """Refuse weights that are NaN or infinite; the readers of a pipeline refuse damaged files and other shapes."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    with suppress(SafetensorError):
        for name, tensor in load(path.read_bytes()).items():
            if not np.isfinite(tensor).all():
                raise FileError(
                    f"{path}: got NaN or infinity in {name}, expected finite numbers; train again", path=path
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


def load_model(model: str | Path | TrackerModel = DEFAULT_MODEL) -> TrackerModel:
    """A tracker model. Its weights are read when a pipeline is loaded.

    >>> load_model().name
    'generic'

    Args:
        model: name of a shipped model, or the folder of one; a name takes precedence over a folder, which is
            meant by ``./NAME``. A `TrackerModel` is returned unchanged.

    Raises:
        UnknownNameError: it is no name of a shipped model, and no folder.
        FileError: the folder holds no readable model.
        ConfigError: a key of its card is unknown or missing, or a value is of another kind.
    """
    if isinstance(model, TrackerModel):
        return model
    shipped = shipped_models()
    if isinstance(model, str) and model in shipped:
        return _read_model(shipped[model], (shipped[model] / CARD).stat().st_mtime_ns)
    folder = Path(model)
    if isinstance(model, str) and not folder.exists() and folder.name == model:
        raise UnknownNameError("tracker model (nor is it a folder)", model, shipped)
    card = folder / CARD
    if not card.is_file():
        raise FileError(
            f"{folder}: got no {CARD} there, expected a folder that `beampipe tracking train` wrote, or one of"
            f" {model_names()}",
            path=folder,
        )
    return _read_model(folder.resolve(), card.stat().st_mtime_ns)


@cache
def _read_model(folder: Path, changed_ns: int) -> TrackerModel:
    """The model of a folder, cached until its card changes."""
    card = folder / CARD
    try:
        table: Any = json.loads(card.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"{card}: cannot be read ({error.strerror})", path=card) from error
    except ValueError as error:
        raise FileError(f"{card}: got no JSON ({error}), expected the card of a tracker model", path=card) from error
    if not isinstance(table, dict) or table.get("format") != CARD_FORMAT:
        got = table.get("format") if isinstance(table, dict) else table
        raise FileError(
            f"{card}: got format {got!r}, expected {CARD_FORMAT!r}; learn the model again, or update beampipe",
            path=card,
        )
    fields = {key: value for key, value in table.items() if key != "format"}
    if "path" in fields:
        raise ConfigError(f"{card}: unknown key 'path', expected none: it is the folder")
    return build(TrackerModel, {**fields, "path": folder}, str(card))


def weight_file(folder: Path, stem: str) -> Path:
    """The weight file of that stem in the folder of a tracker model."""
    return folder / f"{stem}.safetensors"
