"""The weak bins of a card are those that a scorer of its own, in plain loops, finds on the same events."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from beampipe.events import BeamSpot, Event
from beampipe.tracking import load_model
from beampipe.tracking.data import shipped_events, shipped_path
from beampipe.tracking.models import TrackerModel
from beampipe.tracking.models.card import model_overview
from beampipe.tracking.training.validation import validate
from tests.in_process import run


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return list(shipped_events(60))[:2]


@pytest.fixture(scope="module")
def validated(events: list[Event]) -> TrackerModel:
    """The shipped model with its windows alone, as if it had ACTS beside: the same numbers under another name."""
    model = load_model()
    model = replace(model, weights={stem: model.weights[stem] for stem in ("module_map", "fit")}, performance={})
    model = validate(model, events, "shipped").written_to(model)
    return replace(model, acts={"acts": model.performance["module_map"]})


def test_the_card_has_layers_chi2_and_acts_beside(validated: TrackerModel) -> None:
    measured = validated.performance["module_map"]
    assert len(measured.layers) == len(validated.layout.layers)
    assert 0 < min(measured.layers) < np.mean(measured.layers) < max(measured.layers) < 1
    median, mean = measured.chi2
    assert 0.7 < median < 1.3
    assert mean > median
    lines = "\n".join(model_overview(validated))
    assert measured.good_fits is not None
    assert 0.9 < measured.good_fits <= 1
    share = f"{measured.good_fits:.2%} of the tracks"
    assert f"chi2 per degree of freedom of fits that are not suspect ({share}): median {median:.2f}" in lines
    assert "hits on tracks by layer: " in lines
    for weakness in measured.weaknesses(validated.acts):
        own, acts = weakness.split(", acts ")
        assert own.startswith(("pT", "eta", "vertex", "origin", "distance", "from", "within", "all"))
        assert acts.removesuffix(" %") in own


def test_a_beam_line_off_the_axis_changes_no_number(events: list[Event], validated: TrackerModel) -> None:
    moved = replace(validated, layout=replace(validated.layout, beam_spot=BeamSpot(3.0, -1.0)), performance={})
    measured = validate(moved, events, "shipped").written_to(moved)  # events relative to that line
    (before,), (after,) = validated.performance.values(), measured.performance.values()
    assert replace(after, milliseconds=before.milliseconds) == before


def test_a_card_does_not_silently_lose_its_efficiencies_in_jets(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(load_model().path, folder)  # its card has them
    before = (folder / "model.json").read_bytes()
    done = run("tracking", "validate", shipped_path(60), "--tracker-model", folder, "--card")
    assert done.returncode != 0
    assert "efficiencies in jets" in done.stderr
    assert "--jets" in done.stderr
    assert (folder / "model.json").read_bytes() == before
