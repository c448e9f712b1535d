"""Stage 2: scores, and which jets are scored again for a variation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from beampipe.arrays import Float32
from beampipe.calibration.config import Energy
from beampipe.calibration.events.dijets import WeightUnits
from beampipe.calibration.events.fill import fill_table
from beampipe.calibration.events.histograms import Filled
from beampipe.calibration.events.scores import (
    ScoreKey,
    Scores,
    features_of,
    predict,
    read_scores,
    write_scores,
)
from beampipe.calibration.events.variations import NOMINAL, kinematics_of
from beampipe.calibration.taggers import SHIPPED_MODELS, Model, ScoreJets, Tagger, local_scores, model_bytes
from beampipe.errors import FileError, InputError
from beampipe.jets.network import JetNetwork, constituent_features
from beampipe.jets.substructure import JET_FEATURES, JetConstituents
from tests.calibration.campaign import Toys
from tests.calibration.random_dijets import fill_settings, random_dijets
from tests.jets.random_constituents import random_constituents

ENERGY = Energy(10, 1)
VARIATIONS = ("trk_eff", "jes_1_up", "jer_1_down")


class Counting:
    """A tagger that gives a function of all its features, and counts the jets."""

    def __init__(self) -> None:
        self.jets: list[int] = []

    def __call__(self, features: Float32[ndarray, "m 5"]) -> Float32[ndarray, " m"]:
        self.jets.append(len(features))
        # Not by BLAS, some of which raise floating-point flags for what lies beside the numbers.
        sums = (features * np.array([0.01, 1, 1, 1e-4, 0.1], np.float32)).sum(axis=1)
        out: Float32[ndarray, " m"] = (sums % np.float32(1)).astype(np.float32)
        return out


def of_features(score: ScoreJets) -> Model:
    """A model that takes no constituents."""
    return lambda read: lambda rows, features: score(features)


def test_scores_are_those_of_every_jet_scored_alone() -> None:
    dijets, tagger, count = random_dijets(300, 3), Tagger("toy", 10, 0.0, 1.0, "m"), Counting()
    scores = predict(dijets, [(tagger, of_features(count))], VARIATIONS, ENERGY)
    everywhere = np.nonzero(np.ones((300, 2), bool))
    for name in (NOMINAL, *VARIATIONS):
        varied = kinematics_of(name, dijets, ENERGY)
        want = Counting()(features_of(dijets, varied, everywhere)).reshape(300, 2)
        np.testing.assert_array_equal(scores.by_name[ScoreKey("toy", name)], want, err_msg=name)
    assert count.jets[0] == 600
    assert 0 < count.jets[2] < 450, "a variation of few jets scores few again"


def test_scores_that_are_no_numbers_are_refused() -> None:
    def spoilt(features: Float32[ndarray, "m 5"]) -> Float32[ndarray, " m"]:
        scores = Counting()(features)
        scores[3:5] = np.nan
        return scores

    tagger = Tagger("toy", 10, 0.0, 1.0, "m")
    with pytest.raises(InputError, match="tagger toy: got 2 of 20 scores that are no finite numbers, expected prob"):
        predict(random_dijets(10, 1), [(tagger, of_features(spoilt))], VARIATIONS, ENERGY)


def test_a_model_of_lightgbm(toys: Toys) -> None:
    dijets = random_dijets(400, 3)
    tagger = Tagger("gbdt", 10, 0.0, 1.0, str(toys.model))
    result = predict(dijets, [(tagger, tagger.open())], VARIATIONS, ENERGY)
    scores = result.by_name[ScoreKey("gbdt", NOMINAL)]
    assert scores.dtype == np.float32
    assert 0 < scores.min() < 0.3 < 0.5 < scores.max() < 1
    few = dijets.n_trk < 12
    assert scores[few].mean() < scores[~few].mean(), "jets of few tracks are quark-like: low"
    assert local_scores(toys.model)(np.empty((0, 5), np.float32)).shape == (0,)
    assert model_bytes(tagger) == toys.model.read_bytes()


def jets_at_thresholds(n: int) -> np.ndarray:
    """Features of jets; many are thresholds of the shipped trees, or the next number; some are 0 or NaN."""
    rng = np.random.default_rng(7)
    features = rng.uniform([0, 0, 0, 450, 0], [90, 0.4, 0.4, 2200, 2.1], (n, 5)).astype(np.float32)
    features[:, 0] = np.rint(features[:, 0])
    stated = re.findall(rb"^(split_feature|threshold)=(.+)$", SHIPPED_MODELS["shipped"].read_bytes(), re.MULTILINE)
    columns = [int(each) for name, values in stated if name == b"split_feature" for each in values.split()]
    edges = [float(each) for name, values in stated if name == b"threshold" for each in values.split()]
    assert len(edges) > 800
    for step in (-np.inf, 0.0, np.inf):
        numbers = np.array(edges, np.float32)
        rows = rng.integers(0, n, len(edges))
        features[rows, columns] = np.nextafter(numbers, np.float32(step)) if step else numbers
    features[0], features[1, 1], features[2, 2] = 0, np.nan, 1e-36
    return features


def test_the_compiled_trees_give_the_bits_of_lightgbm(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("beampipe.calibration.kernels._native", exc_type=ImportError)
    features = jets_at_thresholds(20_001)
    models = (SHIPPED_MODELS["shipped"], toys.model)
    compiled = [local_scores(path)(features) for path in models]
    one_by_one = [local_scores(SHIPPED_MODELS["shipped"])(features[k : k + 1]) for k in range(100)]
    np.testing.assert_array_equal(np.concatenate(one_by_one), compiled[0][:100])
    monkeypatch.setattr("beampipe.calibration.taggers.native", lambda: None)
    for path, scores in zip(models, compiled, strict=True):
        np.testing.assert_array_equal(scores, local_scores(path)(features))


@pytest.mark.parametrize(
    "changes", [{"num_leaves": 40}, {"objective": "regression"}, {"boosting": "rf"}, {"missing": True}]
)
def test_other_trees_are_scored_by_lightgbm(tmp_path: Path, changes: dict[str, Any]) -> None:
    import lightgbm

    features = jets_at_thresholds(4000)
    features[0::7, 1] = np.nan if changes.pop("missing", False) else 0.1
    features[1, 1] = 0.1 if changes else np.nan
    labels = (features[:, 0] + features[:, 3] / 50 > 70).astype(int)
    settings = {"objective": "binary", "verbose": -1, "bagging_fraction": 0.5, "bagging_freq": 1, **changes}
    data = lightgbm.Dataset(features, labels, feature_name=list(JET_FEATURES))
    booster = lightgbm.train(settings, data, num_boost_round=5)
    booster.save_model(tmp_path / "other.txt")
    want = np.asarray(booster.predict(features), np.float32)
    np.testing.assert_array_equal(local_scores(tmp_path / "other.txt")(features), want)


def test_wrong_models_are_refused(tmp_path: Path) -> None:
    missing = Tagger("gbdt", 10, 0.0, 1.0, str(tmp_path / "none.txt"))
    with pytest.raises(FileError, match=r"tagger gbdt: .*none\.txt cannot be read .*train-tagger"):
        model_bytes(missing)
    (tmp_path / "text.txt").write_text("no model")
    with pytest.raises(FileError, match=r"text\.txt: got no model of LightGBM"):
        local_scores(tmp_path / "text.txt")
    assert model_bytes(Tagger("far", 10, 0.0, 1.0, "grpc://host:1/gbdt")) == b"grpc://host:1/gbdt"


def test_a_damaged_model_is_refused(toys: Toys, tmp_path: Path) -> None:
    """LightGBM ends the whole process on most of these."""
    text, path = toys.model.read_text(), tmp_path / "damaged.txt"
    place = text.index("leaf_value=") + len("leaf_value=")
    for wrong in (
        text[:place] + "0" + text[place:],
        text[: len(text) // 2],
        text[:place],
        text.replace("Tree=1", "T=1"),
    ):
        path.write_text(wrong)
        with pytest.raises(FileError, match=r"damaged\.txt: got no model of LightGBM .its trees are not"):
            local_scores(path)
    for line in re.findall("^(?:left_child|split_feature|threshold|leaf_value|is_linear)=.*$", text, re.MULTILINE)[:5]:
        path.write_text(text.replace(line, "x" * len(line), 1))
        with pytest.raises(FileError, match=r"damaged\.txt: got no model of LightGBM .*train it again"):
            local_scores(path)
    path.write_text(re.sub("(?<=^left_child=)([0-9-]+)", lambda one: "9" * len(one[0]), text, flags=re.MULTILINE))
    with pytest.raises(FileError, match=r"damaged\.txt: got no model of LightGBM .*train it again"):
        local_scores(path)


def test_a_model_of_other_features_is_refused(tmp_path: Path) -> None:
    import lightgbm

    rng = np.random.default_rng(1)
    data = lightgbm.Dataset(rng.normal(size=(100, 2)), rng.integers(0, 2, 100), feature_name=["n_trk", "mass"])
    lightgbm.train({"objective": "binary", "verbose": -1}, data, num_boost_round=1).save_model(tmp_path / "m.txt")
    with pytest.raises(FileError, match=r"m\.txt: got features \['n_trk', 'mass'\], expected \['n_trk', 'width'"):
        local_scores(tmp_path / "m.txt")


def test_a_tagger_of_constituents(network: Path) -> None:
    dijets, read = random_dijets(40, 3), list[str]()
    every = random_constituents(80, 5)

    def constituents(variation: str) -> JetConstituents:
        read.append(variation)
        return every.of_variation(variation)

    tagger = Tagger("network", 10, 0.0, 1.0, str(network))
    names = (*VARIATIONS, "jes_2_up")
    scores = predict(dijets, [(tagger, tagger.open())], names, ENERGY, constituents=constituents).by_name
    assert read == [NOMINAL, "trk_eff"], "once for all variations of pT"
    nominal = scores[ScoreKey("network", NOMINAL)]
    assert nominal.dtype == np.float32
    assert nominal.std() > 0.01
    of_file = JetNetwork(network)
    for name in names:
        varied = kinematics_of(name, dijets, ENERGY)
        rows = every.of_variation(name if name == "trk_eff" else NOMINAL)
        features = features_of(dijets, varied, np.nonzero(np.ones((40, 2), bool)))
        described = of_file.describe(constituent_features(rows), np.diff(rows.offset))
        want = of_file.scores(described, features[:, 3:]).reshape(40, 2)
        changed = (varied.pt != dijets.pt) | (varied.n_trk != dijets.n_trk)
        np.testing.assert_array_equal(scores[ScoreKey("network", name)], np.where(changed, want, nominal))
        assert (scores[ScoreKey("network", name)] != nominal).any()


def test_a_table_gives_back_what_was_written(tmp_path: Path) -> None:
    tagger = Tagger("toy", 10, 0.0, 1.0, "m")
    for n in (0, 30):
        scores = predict(random_dijets(n, 1), [(tagger, of_features(Counting()))], VARIATIONS, ENERGY)
        write_scores(scores, tmp_path / "scores.npz")
        again = read_scores(tmp_path / "scores.npz")
        assert again.by_name.keys() == scores.by_name.keys()
        for name, values in scores.by_name.items():
            np.testing.assert_array_equal(again.by_name[name], values)


def filled_with(values: list[list[float]], bins: int, low: float, high: float) -> Filled:
    """Histograms of given scores."""
    scores = Scores({ScoreKey("toy", NOMINAL): np.array(values, np.float32)})
    settings = fill_settings(taggers=(Tagger("toy", bins, low, high, "m"),), kinematics=(), units=WeightUnits(10))
    return fill_table(random_dijets(len(values), 11), scores, settings)


def test_scores_outside_the_axis_are_in_its_end_bins() -> None:
    """Left-closed bins; what is below the first or above the last edge is counted in the first and the last."""
    values = [-3.0, -1.0, -0.51, -0.5, 0.0, 0.99, 1.0, 7.0]
    filled = filled_with([[value, value] for value in values * 40], 4, -1.0, 1.0)
    dijets = random_dijets(320, 11)
    low, high = dijets.pt.min(axis=1).astype(float), dijets.pt.max(axis=1).astype(float)
    good = (low > 500) & (high < 2000) & (high < 1.5 * low) & (dijets.n_trk >= 2).all(axis=1)
    bins = np.tile([0, 0, 0, 1, 2, 3, 3, 3], 40)
    want = 2 * np.bincount(bins[good], minlength=4)
    assert want.min() > 10
    np.testing.assert_array_equal(filled.entries.reshape(-1, 4).sum(axis=0), want)
