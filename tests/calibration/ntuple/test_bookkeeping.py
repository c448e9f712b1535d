"""Sums of weights, and files that do not belong together."""

from __future__ import annotations

import itertools
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.calibration.config import InputSample, Kind
from beampipe.calibration.ntuple.bookkeeping import FileInfo, slice_factors
from beampipe.calibration.ntuple.file_checks import inspect_file
from beampipe.errors import FileError
from tests.calibration.campaign import Toys


def facts(number: int, sums: tuple[float, ...] = (1.0, 2.0), **changes: Any) -> FileInfo:
    standard: dict[str, Any] = {
        "dataset": "toy",
        "slice": 0,
        "n_slices": 1,
        "file_number": number,
        "n_files": 2,
        "cross_section": 30.0,
        "filter_efficiency": 0.5,
        "sum_weights": sums,
        "weight_names": ("nominal", "up"),
        "n_events": 10,
        "borders": (0, 10),
        "varied": ("trk_eff",),
        "simulated": True,
        "settings": "{}",
    }
    return FileInfo(**(standard | changes))


def sample(kind: Kind = "simulation", luminosity: float = 4.0) -> InputSample:
    return InputSample("mine", (), kind, luminosity)


def at(*members: FileInfo) -> dict[Path, FileInfo]:
    return {Path(f"files/toy.slice{item.slice}.{k:04d}.root"): item for k, item in enumerate(members)}


def test_factors_by_hand() -> None:
    """4 / pb times 30 pb times 1/2 is 60 events, over 1 + 5 and 2 + 3; slice 1: 4 times 9 times 1 over 12 and 18."""
    other: dict[str, Any] = {"slice": 1, "n_files": 1, "cross_section": 9.0, "filter_efficiency": 1.0}
    members = at(facts(0, n_slices=2), facts(1, (5.0, 3.0), n_slices=2), facts(0, (12.0, 18.0), n_slices=2, **other))
    books = slice_factors(sample(), members)
    assert [(item.number, item.factors) for item in books.slices] == [(0, (10.0, 12.0)), (1, (3.0, 2.0))]
    assert (books.dataset, books.weight_names, books.varied, books.labelled) == (
        "toy",
        ("nominal", "up"),
        ("trk_eff",),
        True,
    )


def test_a_variation_without_a_sum_of_weights_cannot_be_used_and_disturbs_no_other() -> None:
    negative = slice_factors(sample(), at(facts(0, (1.0, -2.0)), facts(1, (5.0, -3.0))))
    assert negative.slices[0].factors == (10.0, -12.0)  # weights below 0 over a sum below 0: a share above 0
    zero = slice_factors(sample(), at(facts(0, (1.0, -2.0)), facts(1, (5.0, 2.0))))
    assert zero.slices[0].factors[0] == 10.0
    assert np.isnan(zero.slices[0].factors[1])


def test_a_missing_slice_is_named() -> None:
    members = at(facts(0, n_slices=3), facts(1, n_slices=3), facts(0, slice=2, n_files=1, n_slices=3))
    with pytest.raises(FileError, match=r"got 2 of 3 slices, missing 1 \(in files\)"):
        slice_factors(sample(), members)


def test_data_counts_as_it_is() -> None:
    plain = {"simulated": False, "varied": (), "weight_names": ("nominal",), "cross_section": 0.0}
    books = slice_factors(sample("data"), at(facts(0, (7.0,), **plain), facts(1, (3.0,), **plain)))
    assert [item.factors for item in books.slices] == [(1.0,)]
    assert not books.labelled


def test_no_order_of_files_changes_a_bit() -> None:
    """Ten and nine powers of ten: floats added one after another differ by order."""
    values = (1e16, 1.0, -1e16, 0.1, 3e-9, 7.7)
    members = [facts(k, (value, 1.0), n_files=len(values)) for k, value in enumerate(values)]
    result, naive = set(), set()
    for order in itertools.permutations(range(len(values))):
        books = slice_factors(sample(), {Path(f"{k}.root"): members[k] for k in order})
        result.add(books.slices[0].factors)
        naive.add(reduce(add, (values[k] for k in order)))  # from Python 3.12 on, `sum` corrects its rounding
    assert len(result) == 1
    assert len(naive) > 1


@pytest.mark.parametrize(
    ("members", "kind", "message"),
    [
        ([facts(0)], "simulation", r"got 1 of 2 files, missing toy\.slice0\.0001\.root \(in files\); without"),
        ([facts(0, n_files=9)], "simulation", r"missing toy\.slice0\.0001\.root, .*0005\.root \.\.\. \(in files\)"),
        ([facts(0), facts(1), facts(1)], "simulation", r"0002\.root: .* got file 1 twice, also as files/.*0001\.root"),
        ([facts(0), facts(1, dataset="other")], "simulation", r"0001\.root: got dataset 'other'.*'toy' as in"),
        ([facts(0), facts(1, n_files=3)], "simulation", r"0001\.root: .*got n_files 3, expected 2 as in"),
        ([facts(0), facts(1, cross_section=9.0)], "simulation", "got cross_section 9.0, expected 30.0 as in"),
        ([facts(0), facts(1, filter_efficiency=0.1)], "simulation", "got filter_efficiency 0.1, expected 0.5"),
        ([facts(0), facts(1, weight_names=("nominal", "down"))], "simulation", "got weight_names"),
        ([facts(0), facts(1, varied=())], "simulation", r"got varied \(\), expected \('trk_eff',\)"),
        ([facts(0), facts(1, simulated=False)], "simulation", r"0001\.root: got data .* of kind simulation; take"),
        ([facts(0), facts(1, simulated=False)], "pseudo-data", "got data .* of kind pseudo-data"),
        ([facts(0, simulated=False), facts(1)], "data", "got simulation in sample mine of kind data; take it"),
        ([facts(0, (1.0, 2.0)), facts(1, (-1.0, 2.0))], "simulation", r"got a sum 0\.0 of weights 'nominal'"),
        ([facts(0, (float("nan"), 1.0)), facts(1)], "simulation", "got a sum nan of weights 'nominal'"),
    ],
)
def test_what_does_not_belong_together_is_refused(members: list[FileInfo], kind: Kind, message: str) -> None:
    with pytest.raises(FileError, match=message):
        slice_factors(sample(kind), at(*members))


def test_a_missing_file_is_named_after_its_siblings() -> None:
    for name, missing in [("run7_a.root", r"run0_a\.root"), ("x.root", "number 0"), ("b_007.root", r"b_000\.root")]:
        with pytest.raises(FileError, match=f"missing {missing}"):
            slice_factors(sample(), {Path(name): facts(7, n_files=9)})


def test_facts_of_a_file(toys: Toys) -> None:
    path = toys.files("nominal")[0]
    result = inspect_file(path)
    assert (result.dataset, result.slice, result.file_number, result.n_files) == ("nominal", 0, 0, 2)
    assert result.simulated
    assert result.varied == ("trk_eff", "trk_fake")
    assert len(result.weight_names) == len(result.sum_weights) == 8
    assert result.borders[0] == 0
    assert result.borders[-1] == result.n_events
    assert len(result.borders) > 2, "several baskets"
    assert not inspect_file(toys.files("data")[0]).simulated
