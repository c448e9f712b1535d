"""Stage 2, `predict`: scores of models for every variation of the jets, from a local model or from Triton."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Int64
from beampipe.calibration.config import Energy, Tagger
from beampipe.calibration.events.dijets import Dijets, read_columns, write_columns
from beampipe.calibration.events.variations import NOMINAL, Kinematics, changed_jets, kinematics_of
from beampipe.calibration.kernels import native
from beampipe.errors import ConfigError, FileError, InputError
from beampipe.jets.boosted_trees import read_trees
from beampipe.jets.network import CONSTITUENT_FEATURES, JetNetwork, constituent_features
from beampipe.jets.ntuple_format import VARIED_N_TRK
from beampipe.jets.substructure import JET_FEATURES, JetConstituents
from beampipe.triton.model.contract import TensorSpec

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


def features_of(dijets: Dijets, kinematics: Kinematics, where: Sequence[ndarray]) -> Float32[ndarray, "m 5"]:
    """`JET_FEATURES` of chosen jets.

    Args:
        dijets: events with two leading jets, for the features that a variation does not change.
        kinematics: pT and n_trk of the variation.
        where: indices (event, jet) of the chosen jets.
    """
    at = tuple(where)
    columns = (kinematics.n_trk[at], dijets.width[at], dijets.c1[at], kinematics.pt[at], np.abs(dijets.eta[at]))
    return np.stack([column.astype(np.float32) for column in columns], axis=1)


def model_of(tagger: Tagger) -> Model:
    """The model of a tagger: a local one, or a client of a server.

    Raises:
        FileError: the model file is missing, or holds no model of the tagger's kind.
        MissingExtraError: a package of the model or the client is not installed.
    """
    if not tagger.of_constituents:
        score = score_function(tagger)
        return lambda read: lambda rows, features: score(features)
    if tagger.served:
        return served_constituents(tagger.model)
    network = JetNetwork(tagger.path)

    def local(read: Callable[[], JetConstituents]) -> ScoreRows:
        """Describe the constituents once for all variations of pT."""
        constituents = read()
        described = network.describe(constituent_features(constituents), np.diff(constituents.offset))
        return lambda rows, features: network.scores(described[rows], features[:, 3:])

    return local


def score_function(tagger: Tagger) -> ScoreJets:
    """The scoring function of a boosted tagger: a local model, or a client of a server.

    Raises:
        FileError: the model file is missing, or is not a LightGBM model of `JET_FEATURES`.
        MissingExtraError: the client is not installed, or lightgbm for trees that the compiled loop cannot score.
    """
    if tagger.served:
        return served_scores(tagger.model)
    return local_scores(tagger.path)


def model_bytes(tagger: Tagger) -> bytes:
    """The model for the key of scores; for a served model its address; empty for scores in the files."""
    if tagger.in_files:
        return b""
    if tagger.served:
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
        return _scores_by_lightgbm(path)

    def score(features: Float32[ndarray, "m 5"]) -> Float32[ndarray, " m"]:
        scores = np.empty(len(features), np.float64)
        compiled.score(np.ascontiguousarray(features, np.float32), *trees, scores)
        return scores.astype(np.float32)

    return score


def _scores_by_lightgbm(path: Path) -> ScoreJets:
    import lightgbm

    try:
        booster = lightgbm.Booster(model_file=str(path))
    except lightgbm.basic.LightGBMError as error:
        raise FileError(f"{path}: got no model of LightGBM ({error})", path=path) from error

    def score(features: Float32[ndarray, "m 5"]) -> Float32[ndarray, " m"]:
        if len(features) == 0:
            return np.empty(0, np.float32)
        return np.asarray(booster.predict(features, num_threads=1), dtype=np.float32)

    return score


_MOST_JETS: Final = 50_000  # in one request

_MOST_WITH_CONSTITUENTS: Final = 5_000  # jets in one request with their constituents

_RETRIES: Final = 8  # about four seconds of pauses, in which a crashed server is restarted


def served_scores(url: str) -> ScoreJets:
    """The scoring function of a served boosted tagger, see `_served`."""
    infer = _served(url)

    def score(features: Float32[ndarray, "m 5"]) -> Float32[ndarray, " m"]:
        starts = range(0, len(features), _MOST_JETS)
        parts = [infer({JETS.name: features[start : start + _MOST_JETS]}) for start in starts]
        return np.concatenate([np.empty(0, np.float32), *parts])

    return score


def served_constituents(url: str) -> Model:
    """The model of a served tagger of constituents, which are sent in every request; see `_served`."""
    infer = _served(url)

    def of_table(read: Callable[[], JetConstituents]) -> ScoreRows:
        every = read()

        def score(rows: Int64[ndarray, " m"], features: Float32[ndarray, "m 5"]) -> Float32[ndarray, " m"]:
            parts: list[ndarray] = [np.empty(0, np.float32)]
            for start in range(0, len(rows), _MOST_WITH_CONSTITUENTS):
                part = slice(start, start + _MOST_WITH_CONSTITUENTS)
                jets = every.take(rows[part])
                tensors = {CONSTITUENTS.name: constituent_features(jets), COUNTS.name: np.diff(jets.offset)}
                parts.append(infer({JETS.name: features[part], **tensors}))
            return np.concatenate(parts)

        return score

    return of_table


def _served(url: str) -> Callable[[Mapping[str, ndarray]], Float32[ndarray, " m"]]:
    """A function that sends tensors of jets to a server; its connection is closed when it is garbage collected.

    Args:
        url: ``grpc://HOST:PORT/MODEL`` or ``http://HOST:PORT/MODEL``.

    Raises:
        ConfigError: the address names no model.
    """
    address, _, model = url.rpartition("/")
    if not model or "://" not in address:
        raise ConfigError(f"tagger: got model {url!r}, expected grpc://HOST:PORT/MODEL or http://HOST:PORT/MODEL")
    from beampipe.triton.client.model_client import ModelClient  # brings asyncio and ssl: 30 ms in each worker

    client = ModelClient(address, model, retries=_RETRIES)

    def infer(tensors: Mapping[str, ndarray]) -> Float32[ndarray, " m"]:
        return client.infer(tensors, {SCORES.name: (len(tensors[JETS.name]),)})[SCORES.name]

    weakref.finalize(infer, client.close)
    return infer


class ScoreKey(NamedTuple):
    """The key of the scores of one tagger and variation.

    Attributes:
        tagger: name of the tagger.
        variation: name of the variation of jets.
    """

    tagger: str
    variation: str

    def __str__(self) -> str:
        """Name of the column in a file."""
        return f"{self.tagger}:{self.variation}"

    @property
    def nominal(self) -> ScoreKey:
        """The key of the tagger's nominal scores."""
        return self._replace(variation=NOMINAL)

    @classmethod
    def parse(cls, column: str) -> ScoreKey:
        """The key of a column of a file."""
        return cls(*column.split(":", 1))


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of the models.

    Attributes:
        by_name: (n, 2) float32, probability that each jet is a gluon's, by tagger and variation of jets.
    """

    by_name: Mapping[ScoreKey, Float32[ndarray, "n 2"]] = field(default_factory=dict)


def predict(
    dijets: Dijets,
    taggers: Sequence[tuple[Tagger, Model]],
    variations: Sequence[str],
    energy: Energy,
    stored: Mapping[ScoreKey, Float32[ndarray, "n 2"]] = MappingProxyType({}),
    constituents: Callable[[str], JetConstituents] | None = None,
) -> Scores:
    """Score all jets, and again those that a variation changes. Scores from the files are not changed.

    Args:
        dijets: events with two leading jets.
        taggers: each tagger with its model.
        variations: names of the variations of jets, beside the nominal one.
        energy: number of nuisance parameters of the jet energy.
        stored: scores that were computed before.
        constituents: reads the constituents of all jets in a variation of the tracking, or the nominal ones.

    Raises:
        InputError: a score is not a finite number.
    """
    nominal, names = kinematics_of(NOMINAL, dijets, energy), (NOMINAL, *variations)
    out: dict[ScoreKey, Float32[ndarray, "n 2"]] = {
        ScoreKey(tagger, name): values for tagger, values in dijets.scores.items() for name in names
    }
    keys = [ScoreKey(tagger.name, name) for tagger, _ in taggers for name in names]
    out |= {key: stored[key] for key in keys if key in stored}

    @cache
    def scored(model: Model, variation: str) -> ScoreRows:
        def read() -> JetConstituents:
            assert constituents is not None
            return constituents(variation)

        return model(read)

    for name in names:
        missing = [each for each in taggers if ScoreKey(each[0].name, name) not in out]
        if not missing:
            continue
        varied = kinematics_of(name, dijets, energy)
        where = tuple(np.nonzero(np.ones(dijets.pt.shape, bool)) if name == NOMINAL else changed_jets(varied, nominal))
        features = features_of(dijets, varied, where)
        rows = where[0] * 2 + where[1]
        for tagger, model in missing:
            unchanged = out.get(ScoreKey(tagger.name, NOMINAL))
            scores = np.empty(dijets.pt.shape, np.float32) if unchanged is None else unchanged.copy()
            score = scored(model, name if name in VARIED_N_TRK else NOMINAL)
            scores[where] = _finite(tagger, score(rows, features))
            out[ScoreKey(tagger.name, name)] = scores
    return Scores({key: out[key] for key in sorted(out)})


def _finite(tagger: Tagger, scores: Float32[ndarray, " m"]) -> Float32[ndarray, " m"]:
    """Raise an error for scores that are not finite, as they have no bin."""
    bad = ~np.isfinite(scores)
    if bad.any():
        raise InputError(
            f"tagger {tagger.name}: got {bad.sum()} of {len(scores)} scores that are no finite numbers, expected"
            f" probabilities; look at its model {tagger.model}"
        )
    return scores


_CHANGED: Final = "changed:"
"""Begins the name of the array of bits that says which scores differ from the nominal ones."""


def write_scores(scores: Scores, path: Path) -> None:
    """Write scores as a .npz; of a variation only the scores that differ from the nominal ones."""
    columns: dict[str, ndarray] = {}
    for key, values in scores.by_name.items():
        nominal = scores.by_name[key.nominal]
        changed = np.ones(values.shape, bool) if key == key.nominal else values != nominal
        columns |= {str(key): values[changed], _CHANGED + str(key): np.packbits(changed)}
    write_columns(path, columns)


def read_scores(path: Path) -> Scores:
    """Read what `write_scores` wrote.

    Raises:
        FileError: the file has another format.
    """
    columns = read_columns(path, "table of scores")
    by_name: dict[ScoreKey, Float32[ndarray, "n 2"]] = {}
    try:
        keys = [ScoreKey.parse(name) for name in columns if not name.startswith(_CHANGED)]
        for key in sorted(keys, key=lambda each: each != each.nominal):
            values = columns[str(key)]
            whole = values if key == key.nominal else by_name[key.nominal].reshape(-1).copy()
            whole[np.unpackbits(columns[_CHANGED + str(key)], count=len(whole)).astype(bool)] = values
            by_name[key] = whole.reshape(-1, 2)
    except (KeyError, ValueError, TypeError) as error:
        raise FileError(f"{path}: got no table of scores ({error})", path=path) from error
    return Scores({key: by_name[key] for key in keys})
