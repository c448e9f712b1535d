"""Names of variations: written for files in one place, and read back from them; patterns choose among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from beampipe.calibration.config import Energy, Systematic
from beampipe.calibration.events.variations import GLUON_REWEIGHT, UNVARIED, Variation, matching
from beampipe.calibration.ntuple.bookkeeping import Bookkeeping
from beampipe.calibration.tasks.plan import settings_of
from beampipe.errors import UnknownNameError
from tests.calibration.campaign import Toys, configuration_of


@pytest.mark.parametrize(
    ("variation", "text"),
    [
        (UNVARIED, "nominal"),
        (GLUON_REWEIGHT, "gluon_reweight"),
        (Variation("weight", "pdf_1"), "weight:pdf_1"),
        (Variation("weight", "a:b"), "weight:a:b"),
        (Variation("jets", "jes_1_up"), "jets:jes_1_up"),
        (Variation("sample", "nominal"), "sample:nominal"),
    ],
)
def test_a_variation_in_a_file_is_the_same_variation(variation: Variation, text: str) -> None:
    assert str(variation) == text
    assert Variation.parse(text) == variation


def test_a_pattern_is_for_one_kind() -> None:
    one = Variation("weight", "fsr_up")
    assert one.matches("weight", ("pdf_*", "*_up"))
    assert not one.matches("jets", ("*_up",))
    assert not one.matches("weight", ("weight:*",))
    assert matching(("b", "a", "c"), ("[ab]",)) == ("b", "a")


def test_patterns_choose_the_variations_of_tracks_that_files_have(toys: Toys, tmp_path: Path) -> None:
    tracking = Systematic("tracking", "quadrature", kinematics=("trk_*",))
    configuration = configuration_of(toys, tmp_path, systematics=(tracking,), energy=Energy(0, 0))
    sample = configuration.samples["nominal"]
    one = settings_of(configuration, sample, Bookkeeping("toy", ("nominal",), ("trk_eff",), True, ()))
    assert one.fill.kinematics == one.select.varied == ("trk_eff",)
    with pytest.raises(UnknownNameError, match=r"got 'trk_\*'") as error:
        settings_of(configuration, sample, Bookkeeping("toy", ("nominal",), (), True, ()))
    assert "layout.branches.n_trk_eff" in str(error.value)
