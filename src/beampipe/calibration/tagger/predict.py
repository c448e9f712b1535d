"""Stage 2, `predict`: scores of the boosted taggers for every variation of the jets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32
from beampipe.calibration.config.configuration import Energy, Tagger
from beampipe.calibration.jets.dijets import Dijets, as_lists, from_lists
from beampipe.calibration.jets.kinematics import changed, kinematics_of
from beampipe.calibration.tagger.features import ScoreJets
from beampipe.calibration.tagger.taggers import features_of
from beampipe.calibration.variations import NOMINAL
from beampipe.errors import FileError, InputError

__all__ = ["ScoreKey", "Scores", "predict", "read_scores", "write_scores"]


class ScoreKey(NamedTuple):
    """What tells the scores of one tagger and variation from all others.

    Attributes:
        tagger: name of the tagger.
        variation: name of the variation of jets.
    """

    tagger: str
    variation: str

    def __str__(self) -> str:
        """The scores' column in a file."""
        return f"{self.tagger}:{self.variation}"

    @classmethod
    def parse(cls, column: str) -> ScoreKey:
        """The scores that are in a column of a file."""
        return cls(*column.split(":", 1))


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of the boosted taggers.

    Attributes:
        by_name: (n, 2) float32, probability that each jet is a gluon's, by tagger and variation of jets.
    """

    by_name: Mapping[ScoreKey, Float32[ndarray, "n 2"]] = field(default_factory=dict)


def predict(
    dijets: Dijets, taggers: Sequence[tuple[Tagger, ScoreJets]], variations: Sequence[str], energy: Energy
) -> Scores:
    """Score all jets, and those that a variation changes again. Scores that the files have stay what they are.

    Args:
        dijets: events with two leading jets.
        taggers: each boosted tagger with the function that scores.
        variations: names of the variations of jets, beside the nominal one.
        energy: number of nuisance parameters of the jet energy.

    Raises:
        InputError: a score is no finite number.
    """
    nominal = kinematics_of(NOMINAL, dijets, energy)
    out: dict[ScoreKey, Float32[ndarray, "n 2"]] = {
        ScoreKey(tagger, name): values for tagger, values in dijets.scores.items() for name in (NOMINAL, *variations)
    }
    for tagger, score in taggers:
        every = np.nonzero(np.ones(dijets.pt.shape, bool))
        out[ScoreKey(tagger.name, NOMINAL)] = _finite(tagger, score(features_of(dijets, nominal, every))).reshape(-1, 2)
    for name in variations:
        varied = kinematics_of(name, dijets, energy)
        where = tuple(changed(varied, nominal))
        features = features_of(dijets, varied, where)
        for tagger, score in taggers:
            scores = out[ScoreKey(tagger.name, NOMINAL)].copy()
            scores[where] = _finite(tagger, score(features))
            out[ScoreKey(tagger.name, name)] = scores
    return Scores(out)


def _finite(tagger: Tagger, scores: Float32[ndarray, " m"]) -> Float32[ndarray, " m"]:
    """A score that is no number has no bin."""
    bad = ~np.isfinite(scores)
    if bad.any():
        raise InputError(
            f"tagger {tagger.name}: got {bad.sum()} of {len(scores)} scores that are no finite numbers, expected"
            f" probabilities; look at its model {tagger.model}"
        )
    return scores


def write_scores(scores: Scores, path: Path) -> None:
    """Write scores as Parquet: one row per event, one column per tagger and variation."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({str(key): as_lists(values) for key, values in scores.by_name.items()})
    pq.write_table(table, path, compression="lz4", use_dictionary=False, write_statistics=False)


def read_scores(path: Path) -> Scores:
    """Read what `write_scores` wrote.

    Raises:
        FileError: the file is another one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table: Any = pq.read_table(path, memory_map=True)
        return Scores({ScoreKey.parse(name): from_lists(table[name]) for name in table.column_names})
    except (pa.ArrowException, OSError, TypeError, ValueError) as error:
        raise FileError(f"{path}: got no table of scores ({error})", path=path) from error
