"""Masses, pairs and combinations against plain loops over all of them."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beampipe.analysisops.contract import ToolRefusedError
from beampipe.analysisops.tools.data_folder import DataFolder
from beampipe.analysisops.tools.events import (
    calc_combination_mass_tool,
    calc_dilepton_mass_tool,
    calc_system_invariant_mass_tool,
)
from beampipe.analysisops.tools.handles import Content, Events, HandleStore, Jagged, ToolContext

MOMENTA = {"pt": "pt", "eta": "eta", "phi": "phi", "e": "e"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    (path / "manifest.json").write_text('{"files": []}')
    return path


def some(seed: int, n: int = 12, most: int = 5) -> Events:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, most + 1, n)
    total = int(counts.sum())
    pt, eta = rng.uniform(5, 80, total), rng.uniform(-2.5, 2.5, total)
    columns = {
        "pt": pt,
        "eta": eta,
        "phi": rng.uniform(-np.pi, np.pi, total),
        "e": pt * np.cosh(eta) + rng.uniform(0, 2, total),
        "q": rng.choice([-1.0, 1.0], total),
        "kind": rng.choice([11.0, 13.0], total),
        "tag": rng.uniform(size=total) < 0.4,
    }
    return Events(n, {"row": np.arange(n, dtype=float), **{name: Jagged.of(counts, v) for name, v in columns.items()}})


def rows_of(events: Events) -> list[list[dict[str, float]]]:
    jagged = {name: column for name, column in events.columns.items() if isinstance(column, Jagged)}
    offsets = next(iter(jagged.values())).offsets
    return [
        [{name: float(column.values[i]) for name, column in jagged.items()} for i in range(first, last)]
        for first, last in itertools.pairwise(offsets.tolist())
    ]


def mass_of(objects: Any) -> float:
    energy = sum(item["e"] for item in objects)
    x = sum(item["pt"] * math.cos(item["phi"]) for item in objects)
    y = sum(item["pt"] * math.sin(item["phi"]) for item in objects)
    z = sum(item["pt"] * math.sinh(item["eta"]) for item in objects)
    return math.sqrt(max(energy**2 - x**2 - y**2 - z**2, 0.0))


def pt_of(objects: Any) -> float:
    return math.hypot(*(sum(item["pt"] * f(item["phi"]) for item in objects) for f in (math.cos, math.sin)))


def run(folder: Path, tool: Any, events: Events, **arguments: Any) -> Events:
    shelf = HandleStore(1 << 30)
    bench = ToolContext(DataFolder(folder), shelf)
    handle = bench.keep(events)
    result = tool(bench, handle, **arguments)
    content: Content = shelf.get(result["handle"])[0]
    assert isinstance(content, Events)
    assert content.n == result["n_events"]
    return content


def column(events: Events, name: str) -> list[float]:
    values = events.columns[name]
    assert isinstance(values, np.ndarray)
    return [float(value) for value in values]


def same(events: Events, truth: dict[int, float], name: str = "mass") -> None:
    assert column(events, "row") == [float(row) for row in truth]
    np.testing.assert_allclose(column(events, name), list(truth.values()), rtol=1e-9, atol=1e-4)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_pairs(folder: Path, seed: int) -> None:
    events = some(seed)
    leading, opposite, closest, other = {}, {}, {}, {}
    for row, objects in enumerate(rows_of(events)):
        ordered = sorted(objects, key=lambda item: -item["pt"])
        if len(ordered) > 1:
            leading[row] = mass_of(ordered[:2])
        pairs = [
            (a, b) for a, b in itertools.combinations(objects, 2) if a["q"] + b["q"] == 0 and a["kind"] == b["kind"]
        ]
        if pairs:
            opposite[row] = mass_of(max(pairs, key=lambda pair: pair[0]["pt"] + pair[1]["pt"]))
            best = min(pairs, key=lambda pair: abs(mass_of(pair) - 50))
            closest[row] = mass_of(best)
            other[row] = next((item["pt"] for item in objects if not any(item is used for used in best)), math.nan)
    same(run(folder, calc_dilepton_mass_tool, events, **MOMENTA), leading)
    labels = {"charge": "q", "lepton_type": "kind"}
    same(run(folder, calc_dilepton_mass_tool, events, **MOMENTA, **labels, pairing="opposite_charge"), opposite)
    result = run(folder, calc_dilepton_mass_tool, events, **MOMENTA, **labels, pairing="closest", target=50.0)
    same(result, closest)
    same(result, other, "other_pt")
    for row, first, second in zip(*(column(result, name) for name in ("row", "first", "second")), strict=True):
        objects = rows_of(events)[int(row)]
        assert mass_of([objects[int(first)], objects[int(second)]]) == pytest.approx(closest[int(row)], abs=1e-4)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_systems_and_combinations(folder: Path, seed: int) -> None:
    events = some(seed, most=6)
    every, leading, highest, tagged = {}, {}, {}, {}
    for row, objects in enumerate(rows_of(events)):
        if objects:
            every[row] = mass_of(objects)
        if len(objects) >= 3:
            leading[row] = mass_of(sorted(objects, key=lambda item: -item["pt"])[:3])
            triples = list(itertools.combinations(objects, 3))
            highest[row] = mass_of(max(triples, key=pt_of))
            fitting = [triple for triple in triples if sum(part["tag"] for part in triple) == 1]
            if fitting:
                tagged[row] = mass_of(min(fitting, key=lambda item: abs(mass_of(item) - 100)))
    same(run(folder, calc_system_invariant_mass_tool, events, **MOMENTA), every)
    same(run(folder, calc_system_invariant_mass_tool, events, **MOMENTA, number=3), leading)
    same(run(folder, calc_combination_mass_tool, events, **MOMENTA), highest)
    chosen = {"choose": "closest", "target": 100.0, "must": "tag"}
    same(run(folder, calc_combination_mass_tool, events, **MOMENTA, **chosen), tagged)


def test_collections_taken_together(folder: Path) -> None:
    one, other = some(1), some(2)
    both = Events(one.n, {**one.columns, **{f"other_{name}": values for name, values in other.columns.items()}})
    lists = {name: [name, f"other_{name}"] for name in MOMENTA}
    result = run(folder, calc_system_invariant_mass_tool, both, **lists)
    truth = {
        row: mass_of([*a, *b]) for row, (a, b) in enumerate(zip(rows_of(one), rows_of(other), strict=True)) if a or b
    }
    same(result, truth)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"pairing": "opposite_charge"}, "charge"),
        ({"pairing": "closest", "charge": "q"}, "target"),
        ({"target": 3.0}, "target"),
        ({"name": "sum"}, "name"),
        ({"charge": "nothing"}, "nothing"),
        ({"charge": "row"}, "one value for each event"),
    ],
)
def test_refusals(folder: Path, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ToolRefusedError, match=says):
        run(folder, calc_dilepton_mass_tool, some(1), **MOMENTA, **arguments)


def test_too_many_objects_are_not_tried(folder: Path) -> None:
    values = np.ones(60)
    events = Events(1, {name: Jagged.of(np.array([60]), values) for name in MOMENTA})
    with pytest.raises(ToolRefusedError, match="select_objects_tool"):
        run(folder, calc_combination_mass_tool, events, **MOMENTA, number=4)
