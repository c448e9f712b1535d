"""The data of each task hold what they were made with, and no value that stands in tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

from beampipe.analysisops.instances import PreparedInstance
from beampipe.analysisops.samples.dataset import RandomParameters
from beampipe.analysisops.tasks.load import shipped_tasks
from tests.analysisops.samples.reading import Made, make, opposite_muons

MadeBy = Callable[[str], Made]


@pytest.mark.parametrize("name", [name for name in shipped_tasks() if name != "tracks"])
def test_the_reference_analysis_finds_what_the_data_were_made_with(
    instance: Callable[[str], PreparedInstance], name: str
) -> None:
    prepared = instance(name)
    truth, reference = prepared.hidden.truth, prepared.reference
    known = [answer for answer in prepared.task.spec.answers if answer in truth]
    assert known
    for answer in known:
        measured = reference.quantities[answer]
        assert abs(measured.value - truth[answer]) < 4 * measured.uncertainty, answer
    assert dict(reference.words) == dict(prepared.hidden.words)


@pytest.mark.parametrize(
    ("known", "near", "far", "precision"),
    [(91.1876, 1.0, 5.0, 0.04), (125.2, 6.0, 13.0, 0.15), (125.2, 9.0, 17.0, 0.7), (172.57, 8.0, 13.0, 0.7)],
)
def test_a_remembered_mass_is_many_errors_away(known: float, near: float, far: float, precision: float) -> None:
    masses = [RandomParameters("hyy", seed).away("mass", known, near, far) for seed in range(100)]
    assert min(abs(value - known) for value in masses) > 8 * precision
    assert min(masses) < known < max(masses)


def test_no_edge_of_the_generator_lies_within_the_spectrum_of_width(tmp_path: Path) -> None:
    fixed = {"mass": 315.0, "width": 6.0, "background_scale": 80.0, "background_share": 0.14, "resonances": 13_000.0}
    made = make("width", 1, tmp_path, {name: (value, value) for name, value in fixed.items()})
    masses = opposite_muons(made.columns(), 15.0)
    for edge in (315.0 - 110.0, 315.0 - 72.0):  # the lowest masses of the continuum and of the line before
        below, above = (np.sum((masses > low) & (masses < low + 15)) for low in (edge - 15, edge))
        assert below == pytest.approx(above * np.exp(15 / 80), abs=4 * np.sqrt(below + above))
    assert np.sum((masses > 100) & (masses < 115)) > 500
    beyond = np.sum((masses > 315 + 72) & (masses < 400))
    assert beyond > 20


def test_counting_expects_what_was_made(made: MadeBy) -> None:
    instance = made("counting")
    luminosity = instance.hidden.luminosity
    assert luminosity is not None
    expected = {}
    for name in ("background", "signal"):
        columns = instance.columns(f"{name}_mc")
        facts = next(file for file in instance.manifest["files"] if file["role"] == f"{name}_mc")
        weight = facts["cross_section_pb"] * 1000 * luminosity / facts["sum_of_weights"]
        expected[name] = float(ak.sum(columns["mcWeight"]) * weight)
        assert expected[name] == pytest.approx(instance.hidden.parameters[name], rel=1e-3)
        assert 0.01 < np.mean(ak.to_numpy(columns["mcWeight"]) < 0) < 0.1
    mean = (
        expected["background"] * instance.hidden.parameters["background_factor"]
        + expected["signal"] * instance.hidden.parameters["signal_strength"]
    )
    assert instance.tree().num_entries == pytest.approx(mean, abs=5 * np.sqrt(mean))
