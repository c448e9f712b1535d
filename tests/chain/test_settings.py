"""Settings of a chain: what is refused, and what the message says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from beampipe.chain.run import sample_settings
from beampipe.chain.settings import EXAMPLE, demo_settings, load_settings
from beampipe.errors import BeampipeError
from beampipe.simulation.ntuples.ntuple_files import read_bookkeeping


def test_demo_adds_shipped_ntuples_of_another_seed(tmp_path: Path) -> None:
    settings = demo_settings(tmp_path)
    assert settings.output == tmp_path
    assert [settings.of_role(role).name for role in ("nominal", "data", "measured")] == ["nominal", "data", "measured"]
    for sample in settings.samples.values():
        (path,) = sample.further
        book = read_bookkeeping(path)
        made_with = json.loads(book["settings"])
        assert made_with["seed"] != settings.seed
        assert made_with["settings"] == list(sample_settings(sample, settings))
        assert book["n_generated"] >= 1000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('role = "measured"', 'role = "data"'), "got data, measured with the role 'data'"),
        (("pileup = 0.0", "pileup = 600.0"), "got pileup 600, expected 0 to 300"),
        (('generator = "vincia"        #', 'generator = "vinca"        #'), "'vinca'.*vincia"),
        (("[jets]\nmin_pt", "[jets]\nmin_ptt"), "unknown key 'min_ptt'"),
        (("dead_modules = 0.01", "dead_modules = 1.0"), "dead_modules=1.0"),
        (("working_points = [0.8]", "working_points = [0.8, 0.6]"), "expected them to rise"),
    ],
)
def test_wrong_settings_are_refused(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    assert text.count(change[0]) == 1
    path = tmp_path / "chain.toml"
    path.write_text(text.replace(*change))
    with pytest.raises(BeampipeError, match=message):
        load_settings(path)
