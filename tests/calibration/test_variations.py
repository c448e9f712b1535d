"""Names of variations: written for files in one place, and read back from them; patterns choose among them.

A variation that is computed from selected jets is one entry of `IN_MEMORY`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from beampipe.calibration.config import Configuration, Energy, Systematic
from beampipe.calibration.events import variations
from beampipe.calibration.events.dijets import FLAVOURS
from beampipe.calibration.events.fill import fill_by_numpy, fill_table
from beampipe.calibration.events.scores import Scores
from beampipe.calibration.events.variations import (
    GLUON_REWEIGHT,
    IN_FILES,
    UNVARIED,
    JetVariation,
    Variation,
    jet_variations,
    kinematics_of,
    matching,
)
from beampipe.calibration.method.factors import Factors
from beampipe.calibration.ntuple.bookkeeping import Bookkeeping
from beampipe.calibration.run import run_calibration
from beampipe.calibration.tasks.plan import settings_of
from beampipe.calibration.tasks.runtime import FACTORS
from beampipe.errors import InputError, UnknownNameError
from beampipe.jets.ntuple_format import VARIED_N_TRK
from tests.calibration.campaign import INLINE, Toys, configuration_of, length_of_log, made
from tests.calibration.random_dijets import fill_settings, random_dijets


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


def more_tracks(pt: ndarray, n_trk: ndarray, label: ndarray) -> ndarray:
    """More tracks in gluon jets, by 2 % at 500 GeV and 4 % at 1 TeV."""
    gluon = label == FLAVOURS.index("gluon")
    varied: ndarray = n_trk * (1 + gluon * 0.02 * pt / 500)
    return varied


GLUON_TRACKS = JetVariation(
    name="gluon_tracks",
    title="tracks of gluon jets",
    group="fragmentation",
    makes="n_trk",
    reads=("pt", "n_trk", "label"),
    vary=more_tracks,
)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(variations, "IN_MEMORY", (GLUON_TRACKS,))
    jet_variations.cache_clear()
    yield
    jet_variations.cache_clear()


def test_the_files_have_the_variations_of_tracks() -> None:
    assert [variation.name for variation in IN_FILES] == list(VARIED_N_TRK)
    assert all(variation.vary is None for variation in IN_FILES)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("groups", [0, 5])
def test_a_registered_variation_is_filled_as_numpy_fills_it(groups: int) -> None:
    settings = replace(fill_settings(), kinematics=("trk_eff", "jes_1_up", "gluon_tracks", "jer_1_up"), groups=groups)
    assert settings.without_kernel == ("gluon_tracks",)
    dijets = random_dijets(3000, 5)
    filled, by_numpy = (fill(dijets, Scores(), settings) for fill in (fill_table, fill_by_numpy))
    assert filled.kinematics == settings.kinematics
    for name in ("sumw", "sumw2", "varied_sumw", "varied_sumw2", "replicas", "entries", "groups"):
        np.testing.assert_array_equal(getattr(filled, name), getattr(by_numpy, name))
    varied = kinematics_of("gluon_tracks", dijets, Energy())
    gluon = dijets.label == FLAVOURS.index("gluon")
    np.testing.assert_array_equal(varied.n_trk[~gluon], dijets.n_trk[~gluon])
    expected = np.rint(dijets.n_trk * (1 + 0.02 * dijets.pt / 500))
    np.testing.assert_array_equal(varied.n_trk[gluon], expected[gluon])


@pytest.mark.usefixtures("registered")
def test_a_registered_variation_is_a_systematic_that_selects_nothing_again(base: Configuration, tmp_path: Path) -> None:
    shutil.copytree(base.output, tmp_path / "copy")
    added = Systematic("fragmentation", "difference", kinematics=("gluon_tracks",))
    wanted = replace(base, output=tmp_path / "copy", systematics=(*base.systematics, added))
    before = length_of_log(wanted.output)
    run_calibration(wanted, INLINE)
    stages = made(wanted.output, before)
    assert stages["fill"] > 0
    assert "select" not in stages
    factors = Factors.read(wanted.output / FACTORS)
    assert (
        factors.at(tagger="n_trk", working_point=0.5, flavour="gluon", quantity="rejection", pt=700.0).sources[
            "fragmentation"
        ]
        > 0
    )


@pytest.mark.usefixtures("registered")
def test_a_shift_beyond_the_margin_of_the_selection_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    too_far = replace(GLUON_TRACKS, makes="pt", reads=("pt",), vary=lambda pt: 1.2 * pt)
    monkeypatch.setattr(variations, "IN_MEMORY", (too_far,))
    jet_variations.cache_clear()
    with pytest.raises(InputError, match=r"gluon_tracks: got a pT shifted by more than 10%"):
        kinematics_of("gluon_tracks", random_dijets(10, 1), Energy())
