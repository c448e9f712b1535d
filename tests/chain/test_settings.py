"""Settings of a chain: what is refused, and what the message says."""

from __future__ import annotations

from pathlib import Path

import pytest

import beampipe.chain
from beampipe.chain.settings import load_settings
from beampipe.errors import BeampipeError

DEMO = Path(beampipe.chain.__file__).parent / "demo.toml"


def test_demo_has_the_defaults_that_it_states(tmp_path: Path) -> None:
    settings = load_settings(DEMO, tmp_path)
    assert settings.output == tmp_path
    assert [settings.of_role(role).name for role in ("nominal", "data", "measured")] == ["nominal", "data", "measured"]
    assert settings.tracks.finder == "module_map_soft"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('role = "measured"', 'role = "data"'), "got data, measured with the role 'data'"),
        (("power = 5.0", "power = 5.0\npileup = 60.0"), "expected 0: tracks are not assigned to vertices yet"),
        (('generator = "vincia"        #', 'generator = "vinca"        #'), "'vinca'.*vincia"),
        (("[jets]\nmin_pt", "[jets]\nmin_ptt"), "unknown key 'min_ptt'"),
        (("dead_modules = 0.01", "dead_modules = 1.0"), "dead_modules=1.0"),
        (("working_points = [0.5, 0.7]", "working_points = [0.7, 0.5]"), "expected them to rise"),
    ],
)
def test_wrong_settings_are_refused(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    text = DEMO.read_text()
    assert text.count(change[0]) == 1
    path = tmp_path / "chain.toml"
    path.write_text(text.replace(*change))
    with pytest.raises(BeampipeError, match=message):
        load_settings(path)
