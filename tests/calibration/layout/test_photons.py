"""A second pair of regions by configuration: jets beside a photon, and dijets, in the same files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.calibration.config import Configuration, DijetSelection, Regions
from beampipe.calibration.events.dijets import WeightUnits
from beampipe.calibration.events.select import SelectSettings, select
from beampipe.calibration.layout import preset_layout
from beampipe.errors import ConfigError, FileError
from tests.calibration.campaign import Toys, configuration_of
from tests.calibration.layout.disguises import tree

LINES: dict[str, Any] = {
    "branches": {
        "run": "",
        "event": "event",
        # The photon takes the place of the second jet: it must balance the first, and counts in no region.
        "pt": ["jet1_pt", "photon * photon_pt + (1 - photon) * jet2_pt"],
        "eta": ["jet1_eta", "photon * photon_eta + (1 - photon) * jet2_eta"],
        "n_trk": ["jet1_n", "photon * 99 + (1 - photon) * jet2_n"],
        "label": ["jet1_label", "photon * 21 + (1 - photon) * jet2_label"],
        "region": ["1 - photon", "1 - 2 * photon"],
        "phi": "",
        "width": "",
        "c1": "",
    },
    "weights": {"nominal": ""},
}
SELECTION = DijetSelection(min_subleading_pt=100.0)


def written(path: Path) -> dict[str, Any]:
    rng = np.random.default_rng(4)
    n = 300
    table: dict[str, Any] = {"event": np.arange(n, dtype=np.uint64), "photon": (rng.random(n) < 0.4).astype(np.int8)}
    for name in ("jet1", "jet2", "photon"):
        table[f"{name}_pt"] = rng.uniform(80, 400, n).astype(np.float32)
        table[f"{name}_eta"] = rng.uniform(-2.4, 2.4, n).astype(np.float32)
    for name in ("jet1", "jet2"):
        table[f"{name}_n"] = rng.integers(0, 40, n).astype(np.int32)
        table[f"{name}_label"] = rng.choice([1, 2, 21], n).astype(np.int32)
    tree(path, "ntuple", table)
    return table


def test_jets_beside_photons_and_dijets_make_two_regions(tmp_path: Path) -> None:
    path = tmp_path / "a.root"
    table = written(path)
    expected: list[tuple[int, float, int, int]] = []
    for k in range(300):
        other = "photon" if table["photon"][k] else "jet2"
        high, low = sorted((table["jet1_pt"][k], table[f"{other}_pt"][k]), reverse=True)
        tracks = [table["jet1_n"][k], table["jet2_n"][k] if other == "jet2" else 99]
        inside = max(abs(table["jet1_eta"][k]), abs(table[f"{other}_eta"][k])) < 2.1
        if low > 100 and high < 1.5 * low and inside and min(tracks) >= 2:
            expected.append((k, float(table["jet1_pt"][k]), int(tracks[0]), 0 if other == "photon" else 1))
            if other == "jet2":
                expected.append((k, float(table["jet2_pt"][k]), int(tracks[1]), 1))
    layout = preset_layout("ntuple", LINES)
    result = select(
        path, 0, 300, SelectSettings(SELECTION, WeightUnits(20), True, True, layout=layout, region_in_files=True)
    )
    assert result.region is not None
    high, low = result.pt.max(axis=1), result.pt.min(axis=1)
    passed = (low > 100) & (high < 1.5 * low) & (result.n_trk.min(axis=1) >= 2)
    got = [
        (int(result.event[k]), float(result.pt[k, j]), int(result.n_trk[k, j]), int(result.region[k, j]))
        for k in np.flatnonzero(passed)
        for j in range(2)
        if result.region[k, j] >= 0
    ]
    assert sorted(got) == sorted(expected)
    assert {row[3] for row in got} == {0, 1}


def test_a_region_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.root"
    written(path)
    lines = {**LINES, "branches": {**LINES["branches"], "region": ["event", "1"]}}
    settings = SelectSettings(
        SELECTION, WeightUnits(20), True, True, layout=preset_layout("ntuple", lines), region_in_files=True
    )
    with pytest.raises(FileError, match=r"got region \d+, expected 0, 1, or -1"):
        select(path, 0, 100, settings)


def test_a_rule_without_its_branch_is_refused(toys: Toys, base: Configuration, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"got rule 'branch' and layout\.branches\.region none"):
        configuration_of(toys, tmp_path, regions=Regions("branch"))
    with pytest.raises(ConfigError, match="expected a branch for the rule 'branch' and for no other"):
        replace(base, layout=preset_layout("ntuple", LINES))
