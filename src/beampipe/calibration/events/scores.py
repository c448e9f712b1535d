"""Stage 2, `predict`: scores of models for every variation of the jets, from a local model or from Triton."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32
from beampipe.calibration.config import Energy
from beampipe.calibration.events.dijets import Dijets, read_columns
from beampipe.calibration.events.variations import NOMINAL, Kinematics, changed_jets, kinematics_of
from beampipe.calibration.taggers import Model, ScoreRows, Tagger
from beampipe.errors import FileError, InputError
from beampipe.jets.ntuple_format import VARIED_N_TRK
from beampipe.jets.substructure import JetConstituents


def features_of(dijets: Dijets, kinematics: Kinematics, where: Sequence[ndarray]) -> Float32[ndarray, "m 5"]:
    """`beampipe.jets.substructure.JET_FEATURES` of chosen jets.

    Args:
        dijets: events with two leading jets, for the features that a variation does not change.
        kinematics: pT and n_trk of the variation.
        where: indices (event, jet) of the chosen jets.
    """
    at = tuple(where)
    columns = (kinematics.n_trk[at], dijets.width[at], dijets.c1[at], kinematics.pt[at], np.abs(dijets.eta[at]))
    return np.stack([column.astype(np.float32) for column in columns], axis=1)


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
            scores[where] = made = score(rows, features)
            bad = ~np.isfinite(made)
            if bad.any():  # they have no bin
                raise InputError(
                    f"tagger {tagger.name}: got {bad.sum()} of {len(made)} scores that are no finite numbers, expected"
                    f" probabilities; look at its model {tagger.model}"
                )
            out[ScoreKey(tagger.name, name)] = scores
    return Scores({key: out[key] for key in sorted(out)})


_CHANGED: Final = "changed:"
"""Begins the name of the array of bits that says which scores differ from the nominal ones."""


def write_scores(scores: Scores, path: Path) -> None:
    """Write scores as a .npz; of a variation only the scores that differ from the nominal ones."""
    columns: dict[str, Any] = {}
    for key, values in scores.by_name.items():
        nominal = scores.by_name[key.nominal]
        changed = np.ones(values.shape, bool) if key == key.nominal else values != nominal
        columns |= {str(key): values[changed], _CHANGED + str(key): np.packbits(changed)}
    np.savez(path, **columns)


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
