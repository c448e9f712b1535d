"""Files at a server of XRootD, as sites have them, are read like those here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from beampipe.calibration.config import DijetSelection
from beampipe.calibration.events.dijets import WeightUnits
from beampipe.calibration.events.select import SelectSettings, select
from beampipe.calibration.ntuple.file_checks import inspect_file
from beampipe.calibration.run import run_calibration
from beampipe.errors import FileError
from tests.calibration.campaign import INLINE, Toys, configuration_of, factors_sha256
from tests.calibration.layout.servers import xrootd

pytestmark = pytest.mark.xrootd


@pytest.fixture(scope="module")
def url(toys: Toys) -> Iterator[str]:
    samples = ("nominal", "data", "shower")
    with xrootd([path for name in samples for path in toys.files(name)]) as address:
        yield address


def test_a_file_at_a_server_is_read_like_one_here(toys: Toys, url: str) -> None:
    path = toys.files("nominal")[0]
    there = Path(f"{url}/{path.name}")
    facts = inspect_file(path)
    assert inspect_file(there) == facts
    settings = SelectSettings(DijetSelection(), WeightUnits(36), True, True)
    here, elsewhere = (select(each, 0, facts.n_events, settings) for each in (path, there))
    assert len(here) > 0
    for name in ("event", "pt", "n_trk", "weight"):
        np.testing.assert_array_equal(getattr(elsewhere, name), getattr(here, name))


def test_a_file_that_is_not_there_is_one_error(url: str) -> None:
    with pytest.raises(FileError, match=r"root://.*/none\.root: is not there; expected a ROOT file"):
        inspect_file(Path(f"{url}/none.root"))


def test_factors_from_a_server_are_those_from_here(toys: Toys, url: str, tmp_path: Path) -> None:
    here = configuration_of(toys, tmp_path / "here", systematics=())
    here = replace(here, taggers=here.taggers[:1], keep_tables=False)
    samples = {
        name: replace(sample, files=tuple(Path(f"{url}/{path.name}") for path in sample.files))
        for name, sample in here.samples.items()
    }
    there = replace(here, output=tmp_path / "there", samples=samples)
    for configuration in (here, there):
        run_calibration(configuration, INLINE)
    assert factors_sha256(there) == factors_sha256(here)
