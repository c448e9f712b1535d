from __future__ import annotations

from collections.abc import Callable

import pytest

from beampipe.errors import ConfigError, MissingExtraError
from beampipe.simulation.pythia import seed_of, start_pythia


def test_seeds_differ_and_are_those_that_pythia_takes() -> None:
    seeds = {seed_of(seed, process, block) for seed in range(20) for process in range(2) for block in range(50)}
    assert len(seeds) == 20 * 2 * 50
    assert len({seed_of(1, k, n) for k in range(20) for n in range(20)}) == 400
    assert 1 <= seed_of(0) <= 899_999_999
    assert 1 <= min(seeds) <= max(seeds) <= 899_999_999


def test_a_refused_setting_is_named() -> None:
    with pytest.raises(ConfigError, match="refuses the setting 'Tune:pq = 3'"):
        start_pythia(["Print:quiet = on", "Tune:pq = 3"])
    with pytest.raises(ConfigError, match="cannot start with Print:quiet = on; Beams:eCM = 1"):
        start_pythia(["Print:quiet = on", "Beams:eCM = 1"])  # below the mass of the protons


def test_the_extra_is_named(hide: Callable[[str], None]) -> None:
    hide("pythia8mc")
    with pytest.raises(MissingExtraError, match=r"beampipe.simulation.pythia needs pythia8mc.*beampipe\[simulation\]"):
        start_pythia([])
