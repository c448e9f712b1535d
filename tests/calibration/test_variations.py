"""Names of variations: written for files in one place, and read back from them."""

from __future__ import annotations

import pytest

from beampipe.calibration.events.variations import GLUON_REWEIGHT, UNVARIED, Variation, matching


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
