"""Taggers: what they look at, and where their scores come from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32
from beampipe.calibration.config.configuration import Tagger
from beampipe.calibration.jets.dijets import Dijets
from beampipe.calibration.jets.kinematics import Kinematics
from beampipe.calibration.tagger.features import JET_FEATURES, ScoreJets
from beampipe.errors import FileError

__all__ = ["SHIPPED_MODEL", "features_of", "local_scores", "model_bytes", "score_function"]

SHIPPED_MODEL: Final = Path(__file__).parents[1] / "data" / "gbdt.txt"
"""Model file of the boosted tagger that comes with the package."""


def features_of(dijets: Dijets, kinematics: Kinematics, where: Sequence[ndarray]) -> Float32[ndarray, "m 5"]:
    """`JET_FEATURES` of chosen jets.

    Args:
        dijets: events with two leading jets, for what a variation does not change.
        kinematics: pT and n_trk of the variation.
        where: places (event, jet) of the chosen jets.
    """
    at = tuple(where)
    columns = (kinematics.n_trk[at], dijets.width[at], dijets.c1[at], kinematics.pt[at], np.abs(dijets.eta[at]))
    return np.stack([column.astype(np.float32) for column in columns], axis=1)


def score_function(tagger: Tagger) -> ScoreJets:
    """What scores jets for a boosted tagger: its model here, or a server that holds it.

    Raises:
        FileError: the model file is missing or no LightGBM model of `JET_FEATURES`.
        MissingExtraError: lightgbm or the client is not installed.
    """
    if tagger.served:
        from beampipe.calibration.tagger.served import served_scores

        return served_scores(tagger.model)
    return local_scores(model_path(tagger))


def model_path(tagger: Tagger) -> Path:
    """The model file of a local tagger."""
    return SHIPPED_MODEL if tagger.shipped else Path(tagger.model)


def model_bytes(tagger: Tagger) -> bytes:
    """What the scores depend on: the model, or for a served one its address; nothing for scores that the files have."""
    if tagger.in_files:
        return b""
    if tagger.served:
        return tagger.model.encode()
    try:
        return model_path(tagger).read_bytes()
    except OSError as error:
        raise FileError(
            f"tagger {tagger.name}: {model_path(tagger)} cannot be read ({error.strerror}); make it:"
            " beampipe calibration train-tagger"
        ) from error


def local_scores(path: Path) -> ScoreJets:
    """Scores of a LightGBM model, one thread: as many processes run as there are cores."""
    import lightgbm

    _refuse_damaged(path)
    try:
        booster = lightgbm.Booster(model_file=str(path))
    except lightgbm.basic.LightGBMError as error:
        raise FileError(f"{path}: got no model of LightGBM ({error})", path=path) from error
    if tuple(booster.feature_name()) != JET_FEATURES:
        raise FileError(f"{path}: got features {booster.feature_name()}, expected {list(JET_FEATURES)}", path=path)

    def score(features: Float32[ndarray, "m 5"]) -> Float32[ndarray, " m"]:
        if len(features) == 0:
            return np.empty(0, np.float32)
        return np.asarray(booster.predict(features, num_threads=1), dtype=np.float32)

    return score


def _refuse_damaged(path: Path) -> None:
    """LightGBM trusts the lengths that a model states for its trees, and ends the process if they are wrong."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise FileError(
            f"{path}: cannot be read ({error.strerror}); expected a model of LightGBM", path=path
        ) from error
    stated = re.search(rb"^tree_sizes=([\d ]*)$", text, re.MULTILINE)
    place = text.find(b"Tree=0\n")
    for number, size in enumerate(stated[1].split() if stated else ()):
        if place < 0 or not text.startswith(b"Tree=%d\n" % number, place):
            break
        place += int(size)
    if not stated or not text.startswith(b"end of trees", max(place, 0)):
        raise FileError(
            f"{path}: got no model of LightGBM (its trees are not as long as it states); copy or train it again:"
            " beampipe calibration train-tagger",
            path=path,
        )
