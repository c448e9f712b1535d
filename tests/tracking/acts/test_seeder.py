"""Our tracks as seeds of ACTS: which hits, and what the CKF makes of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from beampipe.errors import ConfigError, FileError, UnknownNameError
from beampipe.tracking import load_model
from beampipe.tracking.acts import ACTS_BEAMPIPE, ActsTrackFinder, beampipe_seeder
from beampipe.tracking.acts.finder import three_of_each


def test_tracks_without_three_hits_give_no_seed() -> None:
    xyz = np.random.default_rng(2).normal(0, 100, (9, 3))
    track = np.array([0, 0, -1, 1, 1, 1, -1, 2, -1])
    (rows,) = three_of_each(xyz, track)
    assert sorted(rows) == [3, 4, 5]
    assert three_of_each(xyz, np.full(9, -1, np.int64)) == []
    assert three_of_each(xyz[:0], track[:0]) == []


@pytest.mark.acts
def test_the_seeder_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    pytest.importorskip("acts")
    added: list[Any] = []
    sequencer = SimpleNamespace(addAlgorithm=added.append)
    with pytest.raises(ConfigError, match=r"customSeederConfig.*did you mean 'pipeline'"):
        beampipe_seeder(s=sequencer, spacePoints="points", outputSeeds="seeds", config={"pipelin": "module_map"})
    with pytest.raises(UnknownNameError, match="did you mean 'module_map'"):
        beampipe_seeder(s=sequencer, spacePoints="points", outputSeeds="seeds", config={"pipeline": "module_mop"})
    for model, error, message in (
        ("generi", UnknownNameError, "did you mean 'generic'"),
        (str(tmp_path), FileError, r"got no model\.json there"),
    ):
        with pytest.raises(error, match=message):
            beampipe_seeder(s=sequencer, spacePoints="points", outputSeeds="seeds", config={"model": model})
    assert added == []
    of_acts = {"trackingGeometry": None, "logLevel": None}
    assert beampipe_seeder(s=sequencer, spacePoints="points", outputSeeds="seeds", config={}, **of_acts) == "seeds"
    mine = shutil.copytree(load_model().path, tmp_path / "mine")
    mine_too = {"model": str(mine), "pipeline": "exatrkx_walk"}
    assert beampipe_seeder(s=sequencer, spacePoints="points", outputSeeds="seeds", config=mine_too) == "seeds"
    assert len(added) == 2


@pytest.mark.acts
def test_the_filter_finds_the_muons_on_our_seeds() -> None:
    pytest.importorskip("acts")
    from tests.tracking.acts.gun import shoot

    event = shoot(1, 30, seed=11)[0]
    assert event.truth is not None
    tracks = ActsTrackFinder(ACTS_BEAMPIPE).find(event.hits)
    assert tracks.candidates is not None
    assert tracks.counts["spacepoints"] == len(event.hits)
    owners = [np.unique(event.truth.particle_id[rows]) for rows in tracks.candidates]
    assert len({int(who[0]) for who in owners if len(who) == 1}) >= 29
    assert tracks.counts["seeds"] <= 3 * 31
