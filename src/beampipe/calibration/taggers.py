"""Taggers: what each kind of them reads of a jet, and how it scores jets.

To add a kind, write a function that opens its models, and add an instance of `TaggerKind` to `KINDS`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Int64
from beampipe.calibration.kernels import native
from beampipe.errors import ConfigError, FileError, ShapeError
from beampipe.jets.boosted_trees import read_trees
from beampipe.jets.network import CONSTITUENT_FEATURES, JetNetwork, constituent_features
from beampipe.jets.substructure import JET_FEATURES, JetConstituents
from beampipe.triton.model.contract import Instance, ModelAnswer, ModelRequest, TensorSpec

JETS: Final = TensorSpec("JETS", "FP32", np.float32, (-1, len(JET_FEATURES)))
"""Input of a served tagger: one row of `JET_FEATURES` per jet."""

SCORES: Final = TensorSpec("SCORES", "FP32", np.float32, (-1,))
"""Output of a served tagger: probability that each jet is a gluon's."""

CONSTITUENTS: Final = TensorSpec("CONSTITUENTS", "FP32", np.float32, (-1, len(CONSTITUENT_FEATURES)))
"""Input of a served tagger of constituents: one row of `CONSTITUENT_FEATURES` per constituent, jet by jet."""

COUNTS: Final = TensorSpec("COUNTS", "INT64", np.int64, (-1,))
"""Input of a served tagger of constituents: number of constituents of each jet."""

ScoreJets = Callable[[Float32[ndarray, "m 5"]], Float32[ndarray, " m"]]
"""Function from features of jets to the probability that each is a gluon's."""

ScoreRows = Callable[[Int64[ndarray, " m"], Float32[ndarray, "m 5"]], Float32[ndarray, " m"]]
"""Function from the rows of jets in a table and their features to the probability that each is a gluon's."""

Model = Callable[[Callable[[], JetConstituents]], ScoreRows]
"""The model of a tagger: makes the scoring function for a table of jets, given a function that reads their
constituents, two jets for each event. Only taggers of constituents call it."""


_DATA: Final = Path(__file__).parent / "data"

SHIPPED_MODELS: Final = {"shipped": _DATA / "gbdt.txt", "shipped_constituents": _DATA / "constituents.safetensors"}
"""Models that come with the package, by name: a boosted tree, and a tagger of constituents, for simulated ntuples."""

NETWORK_SUFFIX: Final = ".safetensors"
"""Suffix of the files of taggers of constituents."""


@dataclass(frozen=True)
class Tagger:
    """A quantity that is low for quark-like jets, in `bins` equal bins; outside counts in the first or last bin.

    Attributes:
        name: name of the tagger. ``n_trk`` is the number of tracks; any other is a model, whose score is the
            probability for a gluon, or a score that the files have, if ``layout.scores`` names its branch.
        bins: number of bins.
        low: lower edge of the first bin.
        high: upper edge of the last bin.
        model: location of the model: a name of `SHIPPED_MODELS`, a LightGBM text file, a file ``*.safetensors`` of a
            tagger of constituents, or ``grpc://HOST:PORT/MODEL`` for a served one.
        cut: position of the cut of a working point. ``at_least``: the first bin edge with at least the working point's
            quark efficiency. ``nearest``: the edge with the nearest efficiency. ``inside``: inside a bin, by linear
            interpolation of the efficiency; for continuous scores, not for whole numbers.
        cut_shape: shape of the quark jets of nominal simulation that has this efficiency: ``inverted``, by the
            inversion of the two regions, or ``label``, that of forward jets by label, for few jets or regions that
            differ little: the inversion multiplies their fluctuations by 1/D.
        constituents: whether a served model is a tagger of constituents.
    """

    name: str = "n_trk"
    bins: int = 100
    low: float = 0.0
    high: float = 100.0
    model: str = ""
    cut: Literal["at_least", "nearest", "inside"] = "at_least"
    cut_shape: Literal["inverted", "label"] = "inverted"
    constituents: bool = False

    def __post_init__(self) -> None:
        if self.bins < 2 or not self.low < self.high:
            raise ConfigError(
                f"tagger {self.name}: got {self.bins} bins in [{self.low}, {self.high}], expected 2 or more"
            )
        if self.name == "n_trk" and self.model:
            raise ConfigError(f"tagger {self.name}: got model {self.model!r}, expected none for n_trk")
        if self.constituents and not self.of_constituents:
            raise ConfigError(
                f"tagger {self.name}: got constituents = true and model {self.model!r}, expected a served model, or a"
                " file *.safetensors"
            )
        if self.name == "n_trk" and self.cut == "inside":
            raise ConfigError(
                "tagger n_trk: got cut 'inside', expected at_least or nearest: a whole number lies on one side of a"
                " cut; take bins of width 1"
            )

    @property
    def axis(self) -> tuple[str, int, float, float]:
        """The tagger's name, number of bins and outer edges: the only settings of it that histograms depend on."""
        return self.name, self.bins, self.low, self.high

    @property
    def kind(self) -> TaggerKind:
        """The first of `KINDS` that accepts the tagger."""
        return next(kind for kind in KINDS if kind.accepts(self))

    def open(self) -> Model:
        """Open the model.

        Raises:
            FileError: the model file is missing, or holds no model of the tagger's kind.
            MissingExtraError: a package of the model or the client is not installed.
        """
        assert self.kind.open is not None
        return self.kind.open(self)

    @property
    def in_files(self) -> bool:
        """Whether the scores are read from the files."""
        return self.is_score and not self.model

    @property
    def is_score(self) -> bool:
        """Whether the tagger is a score, and not the number of tracks."""
        return self.name != "n_trk"

    @property
    def of_constituents(self) -> bool:
        """Whether the model takes the constituents of jets."""
        return CONSTITUENTS_OF_JETS in self.kind.reads

    @property
    def shipped(self) -> bool:
        """Whether the model comes with the package."""
        return self.model in SHIPPED_MODELS

    @property
    def path(self) -> Path:
        """The file of the model, unless it is served."""
        return SHIPPED_MODELS.get(self.model, Path(self.model))

    @property
    def model_file(self) -> bool:
        """Whether the model is a file of the user."""
        return bool(self.model) and not (self.served or self.shipped)

    @property
    def served(self) -> bool:
        """Whether scores come from a server."""
        return "://" in self.model


def model_bytes(tagger: Tagger) -> bytes:
    """The model for the key of scores; for a served model its address; empty for scores in the files."""
    if tagger.served or not tagger.model:
        return tagger.model.encode()
    try:
        return tagger.path.read_bytes()
    except OSError as error:
        raise FileError(
            f"tagger {tagger.name}: {tagger.path} cannot be read ({error.strerror}); make it:"
            " beampipe calibration train-tagger"
        ) from error


def local_scores(path: Path) -> ScoreJets:
    """Scores of a LightGBM model in one thread, as there is one process per core.

    A compiled loop scores the trees that `read_trees` returns, such as those of `train-tagger`: the same scores, ten
    times faster. LightGBM scores other trees, and all of them where the package has no compiled loops.
    """
    trees, compiled = read_trees(path), native()
    if compiled is None or trees is None:
        import lightgbm

        try:
            booster = lightgbm.Booster(model_file=str(path))
        except lightgbm.basic.LightGBMError as error:
            raise FileError(f"{path}: got no model of LightGBM ({error})", path=path) from error
        return lambda features: np.asarray(
            booster.predict(features, num_threads=1) if len(features) else (), dtype=np.float32
        )

    def score(features: Float32[ndarray, "m 5"]) -> Float32[ndarray, " m"]:
        scores = np.empty(len(features), np.float64)
        compiled.score(np.ascontiguousarray(features, np.float32), *trees, scores)
        return scores.astype(np.float32)

    return score


_MOST_JETS: Final = 50_000  # in one request

_MOST_WITH_CONSTITUENTS: Final = 5_000  # jets in one request with their constituents

_RETRIES: Final = 8  # about four seconds of pauses, in which a crashed server is restarted


def _served(tagger: Tagger) -> Model:
    """The model of a served tagger; its connection is closed when it is garbage collected.

    The constituents of jets are sent in every request, if it is a tagger of constituents.

    Raises:
        ConfigError: the address names no model.
    """
    address, _, model = tagger.model.rpartition("/")
    if not model or "://" not in address:
        raise ConfigError(
            f"tagger: got model {tagger.model!r}, expected grpc://HOST:PORT/MODEL or http://HOST:PORT/MODEL"
        )
    from beampipe.triton.client.model_client import ModelClient  # brings asyncio and ssl: 30 ms in each worker

    client = ModelClient(address, model, retries=_RETRIES)

    def infer(tensors: Mapping[str, ndarray]) -> Float32[ndarray, " m"]:
        return client.infer(tensors, {SCORES.name: (len(tensors[JETS.name]),)})[SCORES.name]

    weakref.finalize(infer, client.close)
    most = _MOST_WITH_CONSTITUENTS if tagger.constituents else _MOST_JETS

    def of_table(read: Callable[[], JetConstituents]) -> ScoreRows:
        every = read() if tagger.constituents else None

        def score(rows: Int64[ndarray, " m"], features: Float32[ndarray, "m 5"]) -> Float32[ndarray, " m"]:
            parts: list[ndarray] = [np.empty(0, np.float32)]
            for start in range(0, len(rows), most):
                part = slice(start, start + most)
                tensors = {JETS.name: features[part]}
                if every is not None:
                    jets = every.take(rows[part])
                    tensors |= {CONSTITUENTS.name: constituent_features(jets), COUNTS.name: np.diff(jets.offset)}
                parts.append(infer(tensors))
            return np.concatenate(parts)

        return score

    return of_table


def _network(tagger: Tagger) -> Model:
    """A network of constituents, which describes them once for all variations of pT."""
    network = JetNetwork(tagger.path)

    def of_table(read: Callable[[], JetConstituents]) -> ScoreRows:
        constituents = read()
        described = network.describe(constituent_features(constituents), np.diff(constituents.offset))
        return lambda rows, features: network.scores(described[rows], features[:, 3:])

    return of_table


def _trees(tagger: Tagger) -> Model:
    """Boosted trees, which take the features of jets alone."""
    score = local_scores(tagger.path)
    return lambda read: lambda rows, features: score(features)


CONSTITUENTS_OF_JETS: Final = "constituents"
"""What a kind reads beside columns of jets: the constituents of jets."""


@dataclass(frozen=True)
class TaggerKind:
    """A kind of taggers.

    Attributes:
        title: what it is, in a few words.
        group: what it is computed from: ``files``, ``features`` of jets or their ``constituents``.
        reads: columns of jets that the files must have, and `CONSTITUENTS_OF_JETS`.
        accepts: whether a tagger of the configuration is of this kind, unless an earlier one of `KINDS` accepts it.
        open: opens the model of a tagger; None if there is nothing to compute.
    """

    title: str
    group: Literal["files", "features", "constituents"]
    reads: tuple[str, ...]
    accepts: Callable[[Tagger], bool]
    open: Callable[[Tagger], Model] | None = None


_FEATURES: Final = ("n_trk", "width", "c1")

KINDS: Final = (
    TaggerKind("number of tracks", "files", ("n_trk",), lambda tagger: tagger.name == "n_trk"),
    TaggerKind("score of the files", "files", ("n_trk",), lambda tagger: not tagger.model),
    TaggerKind(
        title="network of constituents, served",
        group="constituents",
        reads=(*_FEATURES, CONSTITUENTS_OF_JETS),
        accepts=lambda tagger: tagger.served and tagger.constituents,
        open=_served,
    ),
    TaggerKind(
        title="boosted trees, served",
        group="features",
        reads=_FEATURES,
        accepts=lambda tagger: tagger.served,
        open=_served,
    ),
    TaggerKind(
        title="network of constituents",
        group="constituents",
        reads=(*_FEATURES, CONSTITUENTS_OF_JETS),
        accepts=lambda tagger: tagger.path.suffix == NETWORK_SUFFIX,
        open=_network,
    ),
    TaggerKind(
        title="boosted trees",
        group="features",
        reads=_FEATURES,
        accepts=lambda tagger: True,
        open=_trees,
    ),
)
"""All kinds of taggers. `Tagger.kind` is the first one that accepts the tagger."""


class GluonTagger:
    """Features of jets in, probabilities for a gluon out.

    Args:
        instance: model instance; its folder of weights contains one LightGBM text file.
    """

    inputs: ClassVar[tuple[TensorSpec, ...]] = (JETS,)
    outputs: ClassVar[tuple[TensorSpec, ...]] = (SCORES,)

    def __init__(self, instance: Instance) -> None:
        self._score = local_scores(_one_file(instance, "*.txt", "model of LightGBM"))

    def run(self, requests: Sequence[ModelRequest]) -> Sequence[ModelAnswer]:
        """Score the jets of each request."""
        return [{SCORES.name: self._score(request[JETS.name])} for request in requests]

    @classmethod
    def example(cls) -> ModelRequest:
        """A quark-like and a gluon-like jet."""
        jets = [[12, 0.05, 0.1, 800, 0.5], [35, 0.12, 0.3, 800, 0.5]]
        return {JETS.name: np.array(jets, np.float32)}


class ConstituentTagger:
    """Features of jets and of their constituents in, probabilities for a gluon out.

    Args:
        instance: model instance; its folder of weights contains one safetensors file.
    """

    inputs: ClassVar[tuple[TensorSpec, ...]] = (JETS, CONSTITUENTS, COUNTS)
    outputs: ClassVar[tuple[TensorSpec, ...]] = (SCORES,)

    def __init__(self, instance: Instance) -> None:
        self._network = JetNetwork(_one_file(instance, "*.safetensors", "tagger of constituents"))

    def run(self, requests: Sequence[ModelRequest]) -> Sequence[ModelAnswer]:
        """Score the jets of each request."""
        return [{SCORES.name: self._scores(request)} for request in requests]

    def _scores(self, request: ModelRequest) -> ndarray:
        jets, constituents, counts = (request[spec.name] for spec in self.inputs)
        if len(counts) != len(jets) or (counts < 0).any() or counts.sum() != len(constituents):
            raise ShapeError(
                f"got {len(jets)} jets, {len(counts)} numbers of constituents with the sum {counts.sum()}, and"
                f" {len(constituents)} constituents, expected a number for each jet and their sum"
            )
        return self._network.scores(self._network.describe(constituents, counts), jets[:, 3:])

    @classmethod
    def example(cls) -> ModelRequest:
        """A jet with two constituents and one with a single one."""
        return {
            JETS.name: np.array([[2, 0.05, 0.1, 800, 0.5], [1, 0, 0, 800, 0.5]], np.float32),
            CONSTITUENTS.name: np.zeros((3, len(CONSTITUENT_FEATURES)), np.float32),
            COUNTS.name: np.array([2, 1], np.int64),
        }


def _one_file(instance: Instance, pattern: str, kind: str) -> Path:
    """The only file of a pattern in the folder of weights."""
    files = sorted(instance.weights.glob(pattern))
    if len(files) != 1:
        raise FileError(f"{instance.weights}: got {len(files)} files {pattern}, expected the one {kind}")
    return files[0]
