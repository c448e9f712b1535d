"""The script that trains one weight file: its options, and the tables of the track fit."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from beampipe.tracking.data import shipped_events, shipped_path
from beampipe.tracking.fitting.tables import load_fit_tables
from beampipe.tracking.models import load_model, weight_file
from beampipe.tracking.training.fit_tables import learn_fit_tables
from beampipe.tracking.windows import load_windows

pytest.importorskip("torch")
WINDOWS = weight_file(load_model().path, "module_map")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    from tools.train_part import main

    monkeypatch.setattr(sys, "argv", ["train_part.py", *arguments])
    main()


def test_tables_of_the_fit_are_learned_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "fit.safetensors"
    run(monkeypatch, "fit", str(shipped_path(60)), "--windows", str(WINDOWS), "--field", "2", "-o", str(out))
    learned = learn_fit_tables(shipped_events(60), load_windows(WINDOWS).layers, 2.0)
    np.testing.assert_array_equal(load_fit_tables(out).scattering, learned.scattering)
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["training"]["command"] == (
        f"python tools/train_part.py fit {shipped_path(60).name} --windows module_map.safetensors --field 2"
        " -o fit.safetensors"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "--windows", "w"], "fit: --field is missing"),
        (["exatrkx", "--windows", "w", "--validation", "v", "--field", "2"], "exatrkx: --field has no effect"),
        (["module_map", "--windows", "w"], "module_map: --windows has no effect"),
    ],
)
def test_options_that_do_not_belong_are_refused(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, *arguments, "events.parquet", "-o", str(tmp_path / "out.safetensors"))
    assert message in capsys.readouterr().err
