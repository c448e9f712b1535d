"""Whoever analyses soundly, but not as the reference does, loses nearly nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks.analysisops.analyses import SOUND, VariedAgent

from beampipe.analysisops.assessment import ask_here, assess
from beampipe.analysisops.instances import PreparedInstance, oracle_of
from tests.analysisops.redteam.target import SEED

CASES = [
    *(("zmumu", name) for name in ("isolation 0.05, narrower", "pt > 20, quadratic")),
    ("hyy", "curved background"),
    *(("width", name) for name in ("narrower window", "whole spectrum, curved")),
    ("search", "bins of 1 GeV, photons above 20 GeV"),
    ("counting", "no errors of samples"),
    ("wz3l", "met > 30, mass from 76 to 106"),
    ("zz2mu2nu", "little met from 25, quadratic"),
    ("jets", "gap from 0.8 to 1.2"),
    ("gluon_fraction", "gap of 0.2, particles within 2"),
    ("tracks", "exatrkx_walk"),
    ("operations", "half of the interval for the uncertainty"),
]


@pytest.mark.parametrize(("task", "variation"), CASES)
def test_a_sound_analysis_scores_nearly_all(
    instance: Callable[[str], PreparedInstance], task: str, variation: str, tmp_path: Path
) -> None:
    prepared = instance(task)
    agent = VariedAgent(oracle_of(prepared.task, prepared.hidden), SOUND[task][variation])
    grade = assess(prepared, 3, SEED, ask_here(agent), tmp_path).grade
    assert grade["final"]["normalized_score"] >= 0.95, grade["checks"]
