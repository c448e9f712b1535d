"""What the tests of the calibration share: toy files, written once, and the campaign that was run on them."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from beampipe.calibration.config import Configuration
from beampipe.calibration.run import run_calibration
from beampipe.jets.substructure import JET_FEATURES
from beampipe.simulation.ntuples import toy_events
from tests.calibration.campaign import INLINE, Toys, configuration_of, write_toys
from tests.jets.random_constituents import random_network

N_EVENTS = 3000
"""Of the nominal sample."""


def train_model(path: Path) -> None:
    """A boosted tagger of a few trees."""
    import lightgbm

    events = toy_events(3000, 99)
    at = events.offset[:-1, None] + np.arange(2)
    columns = (events.jet_n_trk, events.jet_width, events.jet_c1, events.jet_pt, np.abs(events.jet_eta))
    features = np.stack([column[at].ravel().astype(np.float32) for column in columns], axis=1)
    assert events.jet_label is not None
    labels = (events.jet_label[at].ravel() == 21).astype(np.int8)
    settings = {"objective": "binary", "num_leaves": 6, "num_threads": 1, "verbose": -1, "deterministic": True}
    data = lightgbm.Dataset(features, labels, feature_name=list(JET_FEATURES))
    lightgbm.train(settings, data, num_boost_round=8).save_model(path)


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Toys:
    """Files of the small campaign; not to be changed."""
    folder = tmp_path_factory.mktemp("toys")
    made = write_toys(folder, events=N_EVENTS)
    train_model(made.model)
    time.sleep(2.1)  # digests of files that changed less than two seconds ago are not remembered
    return made


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tagger of constituents with random weights."""
    return random_network(tmp_path_factory.mktemp("network") / "network.safetensors")


@pytest.fixture(scope="session")
def base(toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> Configuration:
    """The small campaign, run once; its store is not to be changed."""
    configuration = configuration_of(toys, tmp_path_factory.mktemp("base"))
    run_calibration(configuration, INLINE)
    return configuration
