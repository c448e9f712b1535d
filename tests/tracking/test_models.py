"""Tracker models: found by name or folder, read strictly, and never used with files that are not theirs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.errors import BeampipeError, ConfigError, FileError, UnknownNameError
from beampipe.tracking import PIPELINES, load_model, load_pipeline, load_track_fitter, shipped_models
from beampipe.tracking.catalogue import CARD, complete_model, complete_pipeline
from beampipe.tracking.models import BinnedEfficiency, Performance
from beampipe.tracking.models.card import model_overview, pipeline_rows
from beampipe.tracking.windows import load_windows
from tests.tracking.digests import renew_digests

MEASURED = Performance(
    sample="six events",
    events=6,
    hits=1000.0,
    efficiency=0.99,
    fakes=0.01,
    hits_on_tracks=0.4,
    milliseconds=10.0,
    curves={"pt": BinnedEfficiency((0.3, 0.5, 1.0, 5.0), (200, 100, 100), (10, 60, 99))},
    displaced=0.5,
    dense=None,
)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The shipped model, to be damaged."""
    return Path(shutil.copytree(load_model().path, tmp_path / "mine"))


def test_every_shipped_model_is_whole() -> None:
    assert "generic" in shipped_models()
    for name, folder in shipped_models().items():
        model = load_model(name)
        assert (model.name, model.path) == (name, folder)
        model.check(deep=True)
        assert set(model.pipelines) <= set(PIPELINES)
        listed = {file for weights in model.weights.values() for file in weights.files}
        assert listed == {path.name for path in folder.iterdir()} - {CARD, "strips.safetensors"}


def test_the_layout_is_that_of_the_windows() -> None:
    model = load_model("generic")
    boxes = load_windows(model.path / "module_map.safetensors").layers
    np.testing.assert_array_equal(model.layout.boxes, boxes)
    assert len({layer.name for layer in model.layout.layers}) == len(boxes) == 48
    assert model.layout.field == 2.0


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("generi", UnknownNameError, "got 'generi', expected one of generic, odd; did you mean 'generic'"),
        (Path("nowhere"), FileError, "got no model.json there, expected a folder that `beampipe tracking train` wrote"),
        ("./generic", FileError, "got no model.json there"),
    ],
)
def test_what_is_no_model_is_refused(
    model: str | Path, error: type[BeampipeError], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        load_model(model)


DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "other format": (lambda card: card.update(format="9"), "got format '9', expected 'beampipe tracker model 1'"),
    "unknown key": (lambda card: card.update(nam="x"), "unknown key 'nam', expected some of .*did you mean 'name'"),
    "missing key": (lambda card: card.pop("layout"), "missing layout"),
    "text for a number": (lambda card: card["layout"].update(field="2"), "layout: field: got '2', expected float"),
    "another unit": (lambda card: card["layout"]["units"].update(length="cm"), "got 'cm', expected one of mm"),
    "empty box": (lambda card: card["layout"]["layers"]["barrel_1"].update(r_max=1.0), "expected a box: r_min < r_max"),
    "unknown pipeline": (
        lambda card: card.update(performance={"gnn": _table(MEASURED)}),
        "performance: got gnn, expected pipelines: exatrkx",
    ),
    "no weights": (lambda card: card.update(weights={}), "weights: got none, expected some"),
    "a path": (lambda card: card.update(path="/elsewhere"), "unknown key 'path'"),
    "fewer bins": (
        lambda card: card.update(
            performance={"exatrkx": _table(MEASURED) | {"curves": {"pt": {"edges": [1], "total": [1], "matched": [1]}}}}
        ),
        r"got \(0, 1, 1\) bins of edges",
    ),
}


def _table(measured: Performance) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(json.dumps(asdict(measured)))
    return table


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_card_is_read_strictly(damage: str, copied: Path) -> None:
    change, message = DAMAGES[damage]
    card = json.loads((copied / CARD).read_text())
    change(card)
    (copied / CARD).write_text(json.dumps(card))
    with pytest.raises((FileError, ConfigError, UnknownNameError), match=message) as caught:
        load_model(copied)
    assert str(copied / CARD) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", "\xff"])
def test_a_card_of_something_else_is_refused(text: str, copied: Path) -> None:
    (copied / CARD).write_bytes(text.encode("latin-1"))
    with pytest.raises(FileError, match=r"model\.json"):
        load_model(copied)


def test_weights_of_another_training_are_refused(copied: Path) -> None:
    path = copied / "module_map.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # as long as before
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"got another file .* take the whole folder from one training"):
        load_pipeline("module_map", threads=1, model=copied)
    assert load_track_fitter(copied, threads=1).threads == 1
    renew_digests(copied).check(deep=True)


def test_a_model_runs_what_it_was_trained_for(copied: Path) -> None:
    for path in copied.glob("exatrkx*"):
        path.unlink()
    for stem in ("module_map_soft", "module_map_displaced", "module_map_far"):
        (copied / f"{stem}.safetensors").unlink()
    model = renew_digests(copied)
    assert model.pipelines == ("module_map",)
    message = "got no exatrkx, expected it for pipeline exatrkx_walk; this model runs module_map"
    with pytest.raises(ConfigError, match=message):
        load_pipeline("exatrkx_walk", threads=1, model=copied)


def test_every_weak_bin_is_listed() -> None:
    assert list(MEASURED.weaknesses()) == [
        "pT 0.3 to 1 GeV: 5 to 60 % (of 300)",
        "from 2 to 100 mm off the beam line: 50 %",
    ]
    assert "within 10 mrad of another track: 40 %" in replace(MEASURED, dense=0.4).weaknesses()
    weak_in_many_places = replace(
        MEASURED,
        displaced=None,
        curves={
            "pt": BinnedEfficiency((0.3, 0.5, 1.0, 5.0, 50.0), (100, 100, 100, 20), (89, 95, 99, 16)),
            "eta": BinnedEfficiency((-3.0, -1.0, 1.0, 3.0), (100, 100, 100), (80, 90, 70)),
            "vertex_z": BinnedEfficiency((-240.0, 0.0, 240.0), (0, 50), (0, 50)),
            "origin": BinnedEfficiency((0.0, 2.0, 5.0, 10.0), (90, 9, 5), (90, 3, 4)),
            "jets": BinnedEfficiency((0.001, 0.0018, 0.0032, 1.0), (100, 100, 9000), (29, 61, 8990)),
        },
    )
    assert list(weak_in_many_places.weaknesses()) == [
        "pT 0.3 to 0.5 GeV: 89 +- 3 % (of 100)",
        "pT 5 to 50 GeV: 80 +- 9 % (of 20)",
        "eta -3 to -1: 80 +- 4 % (of 100)",
        "eta 1 to 3: 70 +- 5 % (of 100)",
        "in hard jets, distance to the nearest track 0.001 to 0.0032: 29 to 61 % (of 200)",
    ]
    assert list(weak_in_many_places.untested()) == ["vertex z -240 to 0 mm", "origin at r = 2 to 10 mm (7 of 14)"]
    assert list(MEASURED.untested()) == ["cores of hard jets"]


def test_the_overview_names_every_pipeline(copied: Path) -> None:
    model = replace(load_model(copied), performance={"module_map": MEASURED})
    output = "\n".join(model_overview(model))
    assert all(f"  {name}: " in output for name in model.pipelines)
    assert "finds less than 90 % of: pT 0.3 to 1 GeV: 5 to 60 % (of 300)" in output
    assert "too few particles to tell: cores of hard jets" in output
    assert "efficiency 99.00 %" in output
    assert output.count("not measured") == len(model.pipelines) - 1
    assert output.count("cannot take events of more than 60,000 hits (use module_map_soft)") == 2  # the soft networks
    assert "beyond this limit" not in output
    dense = replace(model, performance={"exatrkx_soft": replace(MEASURED, hits=160_000.0)})
    assert "\n".join(model_overview(dense)).count("measured on events of 160,000 hits, beyond this limit") == 1
    rows = {name: cannot for name, *_, cannot in pipeline_rows(model)}
    assert rows["exatrkx_walk_soft"] == "-; events of more than 60,000 hits (use module_map_soft)"
    assert rows["module_map_soft"] == "-"


def test_shells_complete_names_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "geometry").mkdir()
    (tmp_path / "geo.txt").touch()
    assert complete_model("ge") == ["generic", "geometry/"]
    assert complete_model("other") == []
    assert complete_model(f"nowhere{os.sep}x") == []
    assert complete_pipeline("exatrkx_w") == ["exatrkx_walk", "exatrkx_walk_soft"]
