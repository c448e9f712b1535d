"""The named pipelines, as data, and the tracker models that come with the package.

Imports no numpy: the command line needs the names before anything is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from beampipe.errors import ConfigError, look_up
from beampipe.notebook import Shown

_COMPONENT_CHAIN_HITS: Final = 4
"""Fewest hits of a chain whose edges may join a component: chance makes most chains of three, and with those of five
alone components lose displaced tracks."""


@dataclass(frozen=True)
class Components:
    """Hits become tracks as connected components of the likely edges; the cut on the score comes with the weights.

    Attributes:
        min_hits: fewest hits of a track.
    """

    min_hits: int

    @property
    def chain_hits(self) -> int:
        """Fewest hits of a chain of triplets whose edges are scored; components also join shorter ones."""
        return min(self.min_hits, _COMPONENT_CHAIN_HITS)


@dataclass(frozen=True)
class Walk:
    """Hits become tracks as best paths through the graph, by length and chi2, or by the scores of the edges.

    Attributes:
        min_hits: fewest hits of a path, before the second hits of overlapping modules join it.
        penalty: cost of a triplet at the edge of its window, in units of one edge.
        score_cut: score in [0, 1] at which an edge is as good as none; of no effect where no network scores edges.
    """

    min_hits: int
    penalty: float
    score_cut: float = 0.5

    @property
    def chain_hits(self) -> int:
        """Fewest hits of a chain of triplets whose edges are scored: a path is one."""
        return self.min_hits


@dataclass(frozen=True)
class Completion:
    """Adds free hits beyond the ends of tracks, and drops tracks that are short for their chi2.

    The score of a track is its number of layers, less 1, less `penalty` times the sum of its chi2: one of each three
    layers in a row, 1 at the edge of the window. Chance combinations have few layers and large chi2, particles many
    layers and small chi2.

    Attributes:
        penalty: cost of three layers whose chi2 is at the edge of the window, in layers.
        min_score: lowest score of a track that stays in an event of 100,000 hits, in layers; it is lower by 1 for each
            factor of ten fewer hits, as chance combinations are then rarer, and from 200,000 hits on higher by 2 for
            ten times more.
        min_hits: fewest hits of a track that stays; shorter ones are left to the passes after.
    """

    penalty: float
    min_score: float
    min_hits: int = 0


@dataclass(frozen=True)
class Limit:
    """Largest events for which a pipeline is efficient; denser ones are refused, unless checks are off.

    Attributes:
        hits: most hits of an event.
        instead: name of the pipeline that finds the same in denser events.
    """

    hits: int
    instead: str


@dataclass(frozen=True, repr=False)
class PipelineSpec(Shown):
    """One pipeline, as data.

    Attributes:
        name: name of the pipeline, in Python, on the command line and on the wire.
        for_what: purpose of the pipeline, for a line of help.
        graph: how hits become edges: ``"neighbours"`` in a learned embedding, layers with learned ``"windows"``, or
            ``"both"``: doublets of the windows whose hits are neighbours in the embedding.
        scored: whether an interaction network scores the edges.
        segmentation: how edges become tracks, with its numbers.
        windows: stem of the weight file of the learned windows.
        networks: stem of the weight file of embedding, filter and interaction network; None for no networks.
        bytes_per_hit: memory of an event that grows with its hits [B].
        bytes_per_hit2: memory of an event that grows with their square [B]: edges, at a given size of the detector.
        curvature: factor on each window of curvature, up to 2; below 1, tracks of higher momentum only.
        curvature_from: share of each window of curvature from which on it is used, where edges come from windows; above
            0, tracks of higher momentum are left to the passes before.
        seed_depth: most layers before those on which tracks begin to grow, where edges come from windows.
        completion: how tracks are completed and selected at the end; None to leave them unchanged.
        limit: largest events for which the pipeline is efficient; None for events of any size.
        after: pipeline that runs before, so that this one works on the hits that it leaves over; None for all hits.

    Raises:
        ConfigError: networks are named but not used, or used but not named; `curvature` or `curvature_from` is out
            of range, or `seed_depth` no number of layers.
    """

    name: str
    for_what: str
    graph: Literal["neighbours", "windows", "both"]
    scored: bool
    segmentation: Components | Walk
    windows: str
    networks: str | None
    bytes_per_hit: float
    bytes_per_hit2: float
    curvature: float = 1.0
    curvature_from: float = 0.0
    seed_depth: int = 5
    completion: Completion | None = None
    limit: Limit | None = None
    after: PipelineSpec | None = None

    def facts(self) -> Mapping[str, object]:
        """Name, what the pipeline is for, how it makes edges and tracks, and which pipeline goes before."""
        how = f"{self.graph}{', scored' if self.scored else ''}, {type(self.segmentation).__name__}"
        return {"name": self.name, "for": self.for_what, "how": how, "after": self.after.name if self.after else "none"}

    def __post_init__(self) -> None:
        if not 0 < self.curvature <= 2:
            raise ConfigError(
                f"pipeline {self.name}: got curvature {self.curvature}, expected a factor above 0, up to 2"
            )
        if not 0 <= self.curvature_from < self.curvature:
            raise ConfigError(
                f"pipeline {self.name}: got curvature_from {self.curvature_from}, expected a share from 0 to below"
                f" {self.curvature}"
            )
        if self.seed_depth < 0:
            raise ConfigError(f"pipeline {self.name}: got seed_depth {self.seed_depth}, expected a number of layers")
        if (self.networks is not None) != (self.scored or self.graph != "windows"):
            expected = "the weight file that embeds hits or scores edges" if self.networks is None else "None"
            raise ConfigError(f"pipeline {self.name}: got networks {self.networks!r}, expected {expected}")
        if isinstance(self.segmentation, Components) and not self.scored:
            raise ConfigError(
                f"pipeline {self.name}: got components of edges without a score, expected a walk, or scored edges"
            )

    @property
    def passes(self) -> tuple[PipelineSpec, ...]:
        """This pipeline and all that go before it, in the order in which they run."""
        return (self,) if self.after is None else (*self.after.passes, self)

    @property
    def weight_stems(self) -> tuple[str, ...]:
        """Stems of all weight files of the pipeline, each once."""
        stems = (stem for part in self.passes for stem in (part.networks, part.windows) if stem is not None)
        return tuple(dict.fromkeys(stems))

    def memory(self, n_hits: int) -> float:
        """Memory that an event of that size may need [B]; events found together need the sum."""
        return max(part.bytes_per_hit * n_hits + part.bytes_per_hit2 * n_hits * n_hits for part in self.passes)

    @property
    def cuts(self) -> dict[str, float]:
        """The cuts of the last pass that `with_cuts` changes, by name."""
        end = {} if self.completion is None else {"min_score": self.completion.min_score}
        return {**asdict(self.segmentation), **end, "curvature": self.curvature, "seed_depth": self.seed_depth}

    def with_cuts(self, **cuts: Any) -> PipelineSpec:
        """The same pipeline with other cuts: `min_hits` in all passes, all others in the last one.

        Args:
            cuts: names of `cuts` and their new values.

        Raises:
            UnknownNameError: no such cut.
            ConfigError: a value is out of range.
        """
        for name in cuts:
            look_up("cut", name, self.cuts)
        of_edges = {name: cuts.pop(name) for name in asdict(self.segmentation) if name in cuts}
        fewest = {name: value for name, value in of_edges.items() if name == "min_hits"}
        end = {name: cuts.pop(name) for name in ("min_score",) if name in cuts}
        return replace(
            self,
            segmentation=replace(self.segmentation, **of_edges),
            completion=None if self.completion is None else replace(self.completion, **end, **fewest),
            after=None if self.after is None else self.after.with_cuts(**fewest),
            **cuts,
        )

    def with_min_hits_up_to(self, hits: int) -> PipelineSpec:
        """The same pipeline where tracks are short: no pass requires more hits of a track than that.

        Args:
            hits: most hits that a track may need.
        """
        how = replace(self.segmentation, min_hits=min(self.segmentation.min_hits, hits))
        end, after = self.completion, self.after
        return replace(
            self,
            segmentation=how,
            completion=None if end is None else replace(end, min_hits=min(end.min_hits, hits)),
            after=None if after is None else after.with_min_hits_up_to(hits),
        )

    def to_json(self) -> str:
        """The spec as the native pipelines read it: all fields as JSON, and in `segmentation` also its ``kind``."""
        return json.dumps(self._fields(), default=lambda number: number.item())  # numbers may be numpy's

    def _fields(self) -> dict[str, object]:
        """All fields as JSON has them."""
        kind = "walk" if isinstance(self.segmentation, Walk) else "components"
        after = None if self.after is None else self.after._fields()
        return {**asdict(self), "segmentation": {"kind": kind, **asdict(self.segmentation)}, "after": after}


_EXATRKX: Final = PipelineSpec(
    name="exatrkx",
    for_what="embedding, neighbours, filter, interaction network, connected components",
    graph="neighbours",
    scored=True,
    segmentation=Components(min_hits=5),
    windows="module_map",
    networks="exatrkx",
    bytes_per_hit=2000.0,
    bytes_per_hit2=0.02,
)

_EXATRKX_WALK: Final = replace(
    _EXATRKX,
    name="exatrkx_walk",
    for_what="as exatrkx inside learned windows, best paths in place of components, completed",
    graph="both",
    curvature=1.25,  # wider than for the windows alone: the networks reject most of what agrees by chance
    bytes_per_hit2=0.003,
    segmentation=Walk(min_hits=5, penalty=1.0),
    completion=Completion(penalty=1.0, min_score=3.0),
)

_MODULE_MAP_COMPLETION: Final = Completion(penalty=1.0, min_score=3.0)

_MODULE_MAP: Final = PipelineSpec(
    name="module_map",
    for_what="learned windows, best paths, completed; no network",
    graph="windows",
    scored=False,
    # No network has scored these paths, and at high pile-up five hits in a row occur by chance.
    segmentation=Walk(min_hits=6, penalty=0.5),
    windows="module_map",
    networks=None,
    bytes_per_hit=500.0,
    bytes_per_hit2=0.002,
    completion=_MODULE_MAP_COMPLETION,
)


def _soft(curvature_from: float, curvature: float, after: PipelineSpec) -> PipelineSpec:
    """A pass over the hits left over for long, smooth tracks, between two shares of the soft windows' curvature."""
    return replace(
        _MODULE_MAP,
        name=f"module_map_soft up to {curvature} of the curvature",
        windows="module_map_soft",
        segmentation=Walk(min_hits=7, penalty=0.5),
        curvature=curvature,
        curvature_from=curvature_from,
        completion=Completion(penalty=1.0, min_score=4.0),
        bytes_per_hit2=0.01,
        after=after,
    )


def _soft_passes(after: PipelineSpec) -> PipelineSpec:
    """Passes over the hits left over, down to pT = 0.3 GeV.

    The work of a pass grows with the cube of its hits and the square of its windows: four passes are quicker than one,
    and the last has the fewest hits left. The windows end at the pT of the softest training tracks, 0.27 GeV: nine
    tenths of their curvature reach 0.3 GeV.
    """
    return _soft(0.0, 0.9, after=_soft(0.35, 0.65, after=_soft(0.2, 0.4, after=after)))


_SOFT_COMPLETION: Final = Completion(penalty=1.0, min_score=4.4)

_MODULE_MAP_SOFT: Final = replace(
    _soft_passes(_MODULE_MAP),  # the last pass also takes short tracks, at any curvature
    name="module_map_soft",
    for_what="module_map, then windows down to pT = 0.3 GeV over the hits that it leaves over",
    segmentation=Walk(min_hits=5, penalty=0.5),
    completion=_SOFT_COMPLETION,
)


_WHOLE: Final = 7
"""Fewest hits of a track that `all` takes before tracks of every kind were looked for."""


def _displaced(windows: str, min_score: float, after: PipelineSpec) -> PipelineSpec:
    """A pass over the hits left over for tracks that miss the beam line: of decays and interactions."""
    return replace(
        _MODULE_MAP,
        name=windows,
        windows=windows,
        segmentation=Walk(min_hits=6, penalty=1.0),
        completion=Completion(penalty=1.0, min_score=min_score, min_hits=_WHOLE),
        bytes_per_hit2=0.005,
        after=after,
    )


_FIRST: Final = replace(_MODULE_MAP, completion=replace(_MODULE_MAP_COMPLETION, min_hits=_WHOLE))

_LONG: Final = _displaced(
    "module_map_far", min_score=4.7, after=_displaced("module_map_displaced", min_score=4.4, after=_soft_passes(_FIRST))
)

_ALL: Final = replace(
    # Windows of prompt tracks also hold parts of displaced ones: six hits in a row that bend a little. A short track
    # would block the other hits of its particle, so long tracks of every kind come before short ones of any.
    _MODULE_MAP_SOFT,
    name="all",
    for_what="all tracks: windows down to pT = 0.3 GeV, and of tracks that miss the beam line by up to 30 mm",
    after=_LONG,
)


_SOFT_LIMIT: Final = Limit(hits=60_000, instead=_MODULE_MAP_SOFT.name)
"""Efficiency for pT > 0.3 GeV, and fakes, of exatrkx_soft and exatrkx_walk_soft by number of hits: .988, .4 % and .992,
.1 % at 15,000; .970, 1.0 % and .986, .3 % at 31,000; .937, 2.2 % and .979, .4 % at 47,000; .867, 2.2 % and .939, .6 %
at 62,000; .650 and .739 at 90,000; .439 and .463 at 159,000. Up to this number no event had less than .9. The windows
alone (module_map_soft) have .989 or more in each of these.
"""

_FOR_SOFT: Final = f"down to pT = 0.3 GeV over what module_map leaves over, for up to {_SOFT_LIMIT.hits:,} hits"

PIPELINES: Final[Mapping[str, PipelineSpec]] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            _EXATRKX,
            _EXATRKX_WALK,
            _MODULE_MAP,
            replace(
                _EXATRKX,
                name="exatrkx_soft",
                for_what=f"as exatrkx, {_FOR_SOFT}",
                windows="module_map_soft",
                networks="exatrkx_soft",
                completion=_SOFT_COMPLETION,
                limit=_SOFT_LIMIT,
                after=_MODULE_MAP,
            ),
            replace(
                _EXATRKX,
                name="exatrkx_walk_soft",
                for_what=f"as exatrkx_soft, best paths in place of components, {_FOR_SOFT}",
                segmentation=_EXATRKX_WALK.segmentation,
                windows="module_map_soft",
                networks="exatrkx_soft",
                completion=_SOFT_COMPLETION,
                limit=_SOFT_LIMIT,
                after=_MODULE_MAP,
            ),
            _MODULE_MAP_SOFT,
            _ALL,
        )
    }
)
"""Name -> specification of each named pipeline."""

DEFAULT_PIPELINE: Final = _MODULE_MAP.name
"""Name of the default pipeline."""


def pipeline_spec(name: str) -> PipelineSpec:
    """The pipeline of that name.

    Raises:
        UnknownNameError: no pipeline of that name.
    """
    return look_up("pipeline", name, PIPELINES)


def pipeline_names() -> str:
    """All names in one line, for texts of help."""
    return ", ".join(PIPELINES)


CARD: Final = "model.json"
"""Name of the card in the folder of a tracker model."""

DEFAULT_MODEL: Final = "generic"
"""Name of the default tracker model."""

_MODELS_FOLDER: Final = Path(__file__).parent / "models"


def shipped_models() -> dict[str, Path]:
    """Name of each tracker model that comes with the package -> its folder.

    >>> sorted(shipped_models())
    ['generic', 'odd']
    """
    return {card.parent.name: card.parent for card in sorted(_MODELS_FOLDER.glob(f"*/{CARD}"))}


def model_names() -> str:
    """The names of the shipped models in one line, for texts of help."""
    return ", ".join(shipped_models())


MODEL_HELP: Final = f"Tracker model of the detector: {model_names()}, or a folder that `beampipe tracking train` wrote."
"""Help of an option that takes a tracker model."""


def complete_model(incomplete: str) -> list[str]:
    """Shell completions of a tracker model: names of shipped ones, and folders that may lead to others."""
    start = Path(incomplete)
    parent = start if incomplete.endswith("/") else start.parent
    beginning = "" if incomplete.endswith("/") else start.name
    try:
        folders = sorted(path for path in parent.iterdir() if path.name.startswith(beginning) and path.is_dir())
    except OSError:
        folders = []
    visible = [f"{path}/" for path in folders if not path.name.startswith(".")]
    return [name for name in shipped_models() if name.startswith(incomplete)] + visible


def complete_pipeline(incomplete: str) -> list[str]:
    """Shell completions of the name of a pipeline."""
    return [name for name in PIPELINES if name.startswith(incomplete)]
