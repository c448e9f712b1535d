"""What a background beside a window expects within it: pulls of toys, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beampipe.analysisops.contract import ToolRefusedError
from beampipe.analysisops.tools.data_folder import DataFolder
from beampipe.analysisops.tools.fits import fit_background_tool
from beampipe.analysisops.tools.handles import Events, HandleStore, ToolContext, frozen

WINDOW, EXCLUDE = [105.0, 160.0], [121.0, 129.0]


@pytest.fixture
def bench(data: Path) -> ToolContext:
    return ToolContext(DataFolder(data), HandleStore(1 << 28))


def exponential(bench: ToolContext, seed: int, n: float, scale: float) -> str:
    """The handle of about so many events with masses that fall exponentially from 105 GeV on."""
    rng = np.random.default_rng(seed)
    number = rng.poisson(n)  # as in data: a fixed number would fluctuate less than its error says
    return bench.keep(Events(number, {"mass": frozen(105.0 + rng.exponential(scale, number))}))


def test_pulls_of_toys_have_width_one(bench: ToolContext) -> None:
    scale, n = 30.0, 4000
    share = np.exp(-(EXCLUDE[0] - 105) / scale) - np.exp(-(EXCLUDE[1] - 105) / scale)
    pulls = []
    for seed in range(80):
        result = fit_background_tool(bench, exponential(bench, seed, n, scale), "mass", WINDOW, EXCLUDE)
        assert result["valid"]
        pulls.append((result["expected"] - n * share) / result["expected_error"])
    assert abs(np.mean(pulls)) < 0.4  # 3.5 of its errors
    assert 0.8 < np.std(pulls) < 1.2


def test_what_is_within_has_no_part_in_it(bench: ToolContext) -> None:
    mass = np.asarray(105.0 + np.random.default_rng(1).exponential(30.0, 4000))
    bare = bench.keep(Events(len(mass), {"mass": frozen(mass)}))
    more = np.concatenate([mass, np.full(900, 125.0)])
    peaked = bench.keep(Events(len(more), {"mass": frozen(more)}))
    one, other = (fit_background_tool(bench, events, "mass", WINDOW, EXCLUDE) for events in (bare, peaked))
    assert one["expected"] == other["expected"]


def test_what_does_not_fit_is_refused(bench: ToolContext) -> None:
    events = exponential(bench, 1, 1000, 30.0)
    with pytest.raises(ToolRefusedError, match="inside of the window"):
        fit_background_tool(bench, events, "mass", WINDOW, [100.0, 129.0])
    with pytest.raises(ToolRefusedError, match="did you mean 'exponential'"):
        fit_background_tool(bench, events, "mass", WINDOW, EXCLUDE, "exponentail")
    with pytest.raises(ToolRefusedError, match="expected at least 20"):
        fit_background_tool(bench, exponential(bench, 1, 9, 30.0), "mass", WINDOW, EXCLUDE)
