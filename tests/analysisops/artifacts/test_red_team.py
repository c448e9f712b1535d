"""Lists that were made up, moved, doubled or guessed: each is worth nothing, or next to nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from .conftest import FITS, WORDS, Instance, answered, hand_in, score, selected

Lists = dict[str, tuple[ndarray, ndarray]]


def invented(event: ndarray, mass: ndarray) -> Lists:
    """Numbers of events that can be guessed, since they follow one another, and a peak where everybody knows one."""
    rng = np.random.default_rng(1)
    number = len(mass)
    peak = np.where(rng.uniform(size=number) < 0.5, rng.normal(125.1, 2.0, number), rng.uniform(105, 160, number))
    return {"mass": (np.sort(event), peak)}


def shifted(event: ndarray, mass: ndarray) -> Lists:
    return {"mass": (event, mass * 1.01)}


def shuffled(event: ndarray, mass: ndarray) -> Lists:
    return {"mass": (event, np.random.default_rng(1).permutation(mass))}


def doubled(event: ndarray, mass: ndarray) -> Lists:
    """Twice the yield."""
    return {"mass": (np.concatenate([event, event]), np.concatenate([mass, mass]))}


def repeated(event: ndarray, mass: ndarray) -> Lists:
    """One event over and over."""
    return {"mass": (np.repeat(event[:1], 5000), np.repeat(mass[:1], 5000))}


def other_events(event: ndarray, mass: ndarray) -> Lists:
    return {"mass": (event + 50_000_000, mass)}


def no_numbers(event: ndarray, mass: ndarray) -> Lists:
    return {"mass": (event, np.where(np.arange(len(mass)) % 2, mass, np.nan))}


def infinite(event: ndarray, mass: ndarray) -> Lists:
    return {"mass": (np.full(len(event), np.inf), np.full(len(mass), np.inf))}


def huge(event: ndarray, mass: ndarray) -> Lists:
    return {"mass": (event * 1e12, mass)}


def guesses(event: ndarray, mass: ndarray) -> Lists:
    """Each event with every mass there can be: one of them is right."""
    grid = np.linspace(105, 160, 400)
    return {"mass": (np.repeat(event[:100], len(grid)), np.tile(grid, 100))}


def a_few_of_them(event: ndarray, mass: ndarray) -> Lists:
    """Two in a hundred are made up: a peak of twenty events more."""
    made = np.where(np.arange(len(mass)) % 50 == 0, 125.1, mass)
    return {"mass": (event, made)}


def none(event: ndarray, mass: ndarray) -> Lists:
    return {"mass": (event[:0], mass[:0])}


ATTACKS = (
    invented, shifted, shuffled, doubled, repeated, other_events, no_numbers, infinite, huge, guesses, a_few_of_them,
    none,
)  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_inventions_earn_nothing(instance: Instance, tmp_path: Path, attack: Callable[..., Lists]) -> None:
    prepared = instance("hyy")
    folder = hand_in(tmp_path / "out", attack(*selected(prepared)), FITS["hyy"], **WORDS)
    submission, entries = answered(prepared, folder)
    assert submission["status"] == "error"
    assert "expected" in submission["comments"]
    assert not entries
    assert score(prepared, submission, entries) == 0.0


def test_events_that_were_chosen_by_their_mass_move_the_answer_away(instance: Instance, tmp_path: Path) -> None:
    """Real events, picked so that the peak stands where tables have one: true rows, and a wrong answer."""
    prepared = instance("hyy")
    event, mass = selected(prepared)
    near = np.abs(mass - 125.1) < 1.5
    some = near | (np.random.default_rng(1).uniform(size=len(mass)) < 0.2)
    folder = hand_in(tmp_path / "out", {"mass": (event[some], mass[some])}, FITS["hyy"], **WORDS)
    submission, entries = answered(prepared, folder)
    assert abs(submission["answers"]["mass"]["value"] - 125.1) < 1.0
    assert score(prepared, submission, entries) <= 0.1
