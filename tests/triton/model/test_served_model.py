"""Finding the class that a configuration names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from beampipe.errors import ConfigError
from beampipe.triton.model.contract import Instance, Model, model_class

MODEL = """
from __future__ import annotations

from dataclasses import dataclass

@dataclass(frozen=True)
class Cut:
    value: float

class Fine:
    inputs = ()
    outputs = ()

    def __init__(self, instance):
        self.cut = Cut(instance.threads)

    def run(self, requests):
        return []

    @classmethod
    def example(cls):
        return {}

class Half:
    inputs = ()

    def run(self, requests):
        return []
"""


def test_a_class_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODEL)
    result = model_class("mine.py:Fine", tmp_path)
    assert isinstance(result(Instance(threads=3)), Model)
    assert result(Instance(threads=3)).cut.value == 3
    assert model_class(f"{tmp_path}/mine.py:Fine")(Instance()).cut.value == 1


def test_a_file_takes_no_other_modules_name(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text(MODEL)
    model_class("json.py:Fine", tmp_path)
    import json as again

    assert again is json
    assert again.loads("1") == 1


@pytest.mark.parametrize(
    "path",
    [
        "",
        ":",
        "beampipe.serving.tracking_model",
        "beampipe.serving.tracking_model:",
        "beampipe.serving.tracking_model:TrackingModl",
        "beampipe.nowhere:Model",
        "nowhere.py:Model",
        ".relative:Model",
    ],
)
def test_no_such_class(path: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected 'package.module:Class' or 'file.py:Class'") as raised:
        model_class(path, tmp_path)
    assert repr(path) in str(raised.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import math\n\nspec = math.sqrt()\n", "TypeError: math.sqrt() takes exactly one argument (0 given), line 3"),
        ("import numpi\n", "ModuleNotFoundError: No module named 'numpi', line 1"),
        ("x = 1\ny = nothing\n", "NameError: name 'nothing' is not defined, line 2"),
        ("class Mine\n", "SyntaxError: expected ':' (mine.py, line 1)"),
    ],
)
def test_a_file_that_cannot_be_imported_says_where(tmp_path: Path, code: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(ConfigError) as raised:
        model_class("mine.py:Mine", tmp_path)
    assert str(raised.value) == f"model: mine.py cannot be imported ({message})"


def test_a_class_that_is_no_model_says_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODEL)
    with pytest.raises(ConfigError, match="without outputs, example"):
        model_class("mine.py:Half", tmp_path)
