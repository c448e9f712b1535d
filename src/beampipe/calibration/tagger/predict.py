"""Stage 2, `predict`: scores of the boosted taggers for every variation of the jets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from beampipe.calibration.config import Energy, Tagger
from beampipe.calibration.jets.dijets import Dijets, as_lists, from_lists
from beampipe.calibration.jets.kinematics import changed, kinematics_of
from beampipe.calibration.tagger.features import ScoreJets
from beampipe.calibration.tagger.taggers import features_of
from beampipe.calibration.variations import NOMINAL
from beampipe.errors import FileError, InputError

__all__ = ["Scores", "predict", "read_scores", "write_scores"]


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores by (tagger, variation): (n, 2) float32, the probability that the jet is a gluon's."""

    by_name: Mapping[tuple[str, str], Float32[ndarray, "n 2"]] = field(default_factory=dict)


def predict(
    dijets: Dijets, taggers: Sequence[tuple[Tagger, ScoreJets]], variations: Sequence[str], energy: Energy
) -> Scores:
    """Score all jets, and those that a variation changes again.

    Args:
        dijets: the jets.
        taggers: each boosted tagger with the function that scores.
        variations: of the jets, beside the nominal one.
        energy: how many parameters the jet energy has.

    Raises:
        InputError: a score is no finite number.
    """
    nominal = kinematics_of(NOMINAL, dijets, energy)
    out: dict[tuple[str, str], Float32[ndarray, "n 2"]] = {}
    for tagger, score in taggers:
        every = np.nonzero(np.ones(dijets.pt.shape, bool))
        out[tagger.name, NOMINAL] = _finite(tagger, score(features_of(dijets, nominal, every))).reshape(-1, 2)
    for name in variations:
        varied = kinematics_of(name, dijets, energy)
        where = tuple(changed(varied, nominal))
        features = features_of(dijets, varied, where)
        for tagger, score in taggers:
            scores = out[tagger.name, NOMINAL].copy()
            scores[where] = _finite(tagger, score(features))
            out[tagger.name, name] = scores
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
    """Write a table: one row per event, one column per tagger and variation."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({f"{tagger}:{name}": as_lists(values) for (tagger, name), values in scores.by_name.items()})
    pq.write_table(table, path, compression="lz4", use_dictionary=False, write_statistics=False)


def read_scores(path: Path) -> Scores:
    """Read what `write_scores` wrote.

    Raises:
        FileError: it is another file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table: Any = pq.read_table(path, memory_map=True)
        pairs = {name: tuple(name.split(":", 1)) for name in table.column_names}
        return Scores({(pair[0], pair[1]): from_lists(table[name]) for name, pair in pairs.items()})
    except (pa.ArrowException, OSError, IndexError, ValueError) as error:
        raise FileError(f"{path}: got no table of scores ({error})") from error
