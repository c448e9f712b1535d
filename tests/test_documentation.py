"""What the pages promise: their Python runs, their tables are those of the code, no public name is left out."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from beampipe.serving.catalogue import MODELS
from beampipe.tracking.loading import WEIGHTS
from beampipe.tracking.pipelines.specs import pipeline_table

DOCS = Path(__file__).parent.parent / "docs"
FACES = [f"beampipe.{area}" for area in ("calibration", "serving", "tracking", "triton", "workflow")]


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("face", FACES)
def test_the_reference_has_every_public_name(face: str) -> None:
    described = set(re.findall(r"^\.\. (?:auto\w+|py:data):: (\S+)$", page("reference"), re.M))
    names = getattr(importlib.import_module(face), "__all__", [])
    assert {f"{face}.{name}" for name in names} <= described


def test_the_pipelines_are_those_of_the_code() -> None:
    assert f"\n\n{pipeline_table()}\n\n" in page("tracking")


def test_the_serving_page_names_every_model() -> None:
    text = page("serving")
    assert not [name for name in MODELS if f"`{name.removesuffix('_ragged')}`" not in text]


@pytest.mark.parametrize("name", ["tracking", "formats"])
def test_the_python_of_a_page_runs(name: str, tmp_path: Path) -> None:
    """Each block by itself, in a folder where a reader has trained weights."""
    blocks = re.findall(r"^```python\n(.*?)^```$", page(name), re.M | re.S)
    assert len(blocks) > 1
    shutil.copytree(WEIGHTS, tmp_path, dirs_exist_ok=True)
    for block in blocks:
        done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, block + done.stderr
