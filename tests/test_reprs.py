"""Whatever a reader of a notebook may hold shows itself in little: objects of public classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pytest

import beampipe
from beampipe import tracking
from beampipe.analysisops import load_task, shipped_tasks
from beampipe.calibration import DEMO_CONFIGURATION, RunSettings, load_configuration, run_calibration
from beampipe.fleet.specification import read_fleet
from beampipe.serving import MODELS, ServingSettings, named_models
from beampipe.tracking import load_model
from tests.test_public import SURFACE

MOST: Final = 2000
"""Most characters of a repr."""

PUBLIC: Final = {name for names in SURFACE.values() for name in names} | {"Plan", "SamplePlan", "Fleet"}
FEW: Final = 50
"""How many elements of a container are looked at."""


def things_in(*starts: object) -> Iterator[object]:
    """Objects of our classes that are reached through attributes and containers."""
    waiting, seen = list(starts), set[int]()
    while waiting:
        one: Any = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Mapping):
            waiting += islice(one.values(), FEW)
        elif isinstance(one, list | tuple | set | frozenset):
            waiting += islice(one, FEW)
        if type(one).__module__.startswith("beampipe."):
            yield one
            waiting += getattr(one, "__dict__", {}).values()


def of_tracking() -> list[object]:
    event = tracking.shipped_events(60)[0]
    finder = tracking.load_pipeline("exatrkx")
    tracks = tracking.load_track_fitter()(event.hits, finder.find(event.hits))
    evaluation = tracking.evaluate({"exatrkx": finder}, [event], sample="one event")
    return [event, finder, tracks, evaluation, tracking.PIPELINES, tracking.load_model("generic")]


def of_calibration(folder: Path) -> list[object]:
    @contextmanager
    def silent(_: str, __: int | None) -> Iterator[Any]:
        yield lambda: None

    configuration = load_configuration(DEMO_CONFIGURATION, output=folder)
    return [configuration, run_calibration(configuration, RunSettings("inline", 1), until="select", progress=silent)]


def test_reprs_are_short(tmp_path: Path) -> None:
    tasks = [load_task(folder) for folder in shipped_tasks().values()]
    fleets = [read_fleet(path) for path in Path(tracking.__file__).parents[1].glob("fleet/examples/*.toml")]
    starts = [
        *of_tracking(),
        *of_calibration(tmp_path),
        *tasks,
        MODELS,
        *named_models(ServingSettings(("module_map",))),
        *fleets,
    ]
    results = [item for item in things_in(*starts) if type(item).__name__ in PUBLIC]
    long = {
        f"{type(result).__module__}.{type(result).__name__}": len(repr(result))
        for result in results
        if len(repr(result)) > MOST
    }
    assert not long, "make it a beampipe.notebook.Shown"
    seen = {type(result).__name__ for result in results}
    assert seen >= {"Event", "Hits", "Tracks", "Pipeline", "Plan", "SamplePlan", "Recipe", "Task", "Configuration"}
    assert len(seen) > 20


@pytest.mark.parametrize("known", [True, False])
def test_where_something_comes_from_is_one_line(known: bool) -> None:
    from beampipe.workflow import Provenance

    leaf = Provenance("events", "ab" * 20, "file.root", None)
    tree = Provenance("", "cd" * 20, "all", {"stage": "fill", "label": "all"}, (leaf,) * 1000)
    text = repr(tree if known else leaf)
    assert text.startswith(f"Provenance(stage: {'fill' if known else 'file'}, label: ")
    assert len(text) < 200


def test_no_folder_of_the_machine_is_shown() -> None:
    """Of tasks and models that come with the package: pages with notebooks are the same wherever they are built."""
    for shown in (load_task(shipped_tasks()["zmumu"]), load_model()):
        assert str(Path(beampipe.__file__).parents[1]) not in f"{shown}{shown._repr_html_()}"
        assert "folder: beampipe/" in str(shown)
