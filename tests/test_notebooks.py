"""The notebooks run from top to bottom, show little, and the snippets are as short as they say.

A Jupyter kernel is not needed: cells are run one after the other in one process, and what their last lines give is
looked at as a notebook would show it. The calibration is the demo's with fewer replicas and without systematics.
"""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.calibration import DEMO_CONFIGURATION, Factors, RunSettings, load_configuration, run_calibration
from beampipe.triton.engine import Engine

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "docs" / "notebooks"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.md") if path.stem != "index")
CELL = re.compile(r"^```\{code-cell\} ipython3\n(.*?)^```$", re.M | re.S)

RUNNER = """
import ast, asyncio, json, sys
import beampipe.calibration.run

async def main(cells, configuration):  # a kernel runs an event loop, too
    beampipe.calibration.run.DEMO_CONFIGURATION = beampipe.calibration.run.Path(configuration)
    names, shown = {"__name__": "cells"}, []
    for cell in cells:
        tree = ast.parse(cell)
        last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, cell, "exec"), names)
        value = None if last is None else eval(compile(last, cell, "eval"), names)
        html, png = (getattr(value, name, lambda: None)() for name in ("_repr_html_", "_repr_png_"))
        shown.append({"type": type(value).__name__, "text": repr(value), "html": html, "png": len(png or b"")})
    print("shown:" + json.dumps(shown))

if __name__ == "__main__":  # worker processes import this file
    asyncio.run(main(*json.load(open("cells.json"))))
"""


def cells(name: str) -> list[str]:
    result = CELL.findall((NOTEBOOKS / f"{name}.md").read_text(encoding="utf-8"))
    assert result
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where notebooks run one after the other: the second calibration finds what the first one has made."""
    return tmp_path_factory.mktemp("notebooks")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration of the demo's sample that is run in a few seconds."""
    tmp_path = tmp_path_factory.mktemp("small")
    for path in DEMO_CONFIGURATION.parent.glob("*.root"):
        (tmp_path / path.name).symlink_to(path)
    text = re.sub(r"\[taggers\.gbdt\][^\[]*", "", DEMO_CONFIGURATION.read_text(encoding="utf-8"))
    written = tmp_path / "small.toml"
    written.write_text(text.partition("[systematics")[0].replace("replicas = 200", "replicas = 20"), encoding="utf-8")
    return written


def run(folder: Path, code: list[str], configuration: Path) -> list[dict[str, Any]]:
    """What each cell shows."""
    (folder / "cells.json").write_text(json.dumps([code, str(configuration)]), encoding="utf-8")
    (folder / "runner.py").write_text(RUNNER, encoding="utf-8")
    command = [sys.executable, "-W", "error", "runner.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown: list[dict[str, Any]] = json.loads(done.stdout.rpartition("shown:")[2])
    return shown


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_and_shows_little(name: str, folder: Path, small: Path, engine: Engine) -> None:
    for shown in run(folder, cells(name), small):
        assert len(shown["text"]) <= 2000, shown["type"]
        if shown["type"] != "Page":
            assert len(shown["html"] or "") <= 8000, shown["type"]
        if shown["type"] == "Picture":
            assert 10_000 < shown["png"] < 1_000_000


def test_the_notebook_of_an_event_shows_everything_on_the_way() -> None:
    """Its page names what a newcomer must meet; that it runs is tested above."""
    text = (NOTEBOOKS / "first_event.md").read_text(encoding="utf-8")
    for word in ("shipped_events", "load_pipeline", ".plot(", ".display(", ".pt[", "to_awkward", "compare("):
        assert word in text


def test_each_snippet_is_one_import_and_two_lines() -> None:
    _, *parts = re.split(r"^## (?=\d+\. )", (NOTEBOOKS / "snippets.md").read_text(encoding="utf-8"), flags=re.M)
    assert [int(part.partition(".")[0]) for part in parts] == list(range(1, 11))
    for part in parts:
        (cell,) = CELL.findall(part)
        lines = [line for line in cell.splitlines() if line.strip()]
        imports = [line for line in lines if re.match(r"(from|import) ", line)]
        assert len(imports) <= 1, part
        assert len(lines) - len(imports) <= 2, part


def test_the_index_names_every_notebook() -> None:
    text = (NOTEBOOKS / "index.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| \[[^\]]+\]\((\w+)\.md\)", text, re.M)) == NAMES
    (names,) = re.findall(r"^```\{notebook-links\}\n(.*?)^```$", text, re.M | re.S)
    assert sorted(names.split()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_opens_in_jupyter_and_its_copy_for_colab_is_current(name: str) -> None:
    """Jupytext refuses a kernel without a name to display."""
    nbformat = pytest.importorskip("nbformat")
    script = runpy.run_path(str(ROOT / "binder" / "colab.py"))
    text = script["for_colab"](name)
    assert (ROOT / "binder" / "colab" / f"{name}.ipynb").read_text(encoding="utf-8") == text, (
        "run python binder/colab.py"
    )
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    install, *code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert re.fullmatch(r"%pip install -q 'beampipe\[\w+(,\w+)*\]'", install)
    assert code == [cell.rstrip("\n") for cell in cells(name)]


def test_the_image_of_binder_has_what_every_notebook_needs() -> None:
    script = runpy.run_path(str(ROOT / "binder" / "colab.py"))
    needed = {extra for extras in script["extras"]().values() for extra in extras.split(",")}
    (installed,) = re.findall(r"^\.\[([\w,]+)\]$", (ROOT / "binder" / "requirements.txt").read_text(), re.M)
    assert set(installed.split(",")) == needed


def test_scale_factors_of_files_with_other_names_are_those_of_the_same_jets(folder: Path, small: Path) -> None:
    """The substitute under names of NanoAOD contains the shipped jets, so the nominal values are equal."""
    own = folder / "calibration_own" / "factors.json"
    if not own.exists():  # this test runs alone
        run(folder, cells("calibrate_own"), small)
    configuration = load_configuration(small, output=folder / "same_jets")
    run_calibration(configuration, RunSettings("inline", 1))
    for flavour, quantity in (("quark", "efficiency"), ("gluon", "rejection")):
        expected, result = (
            factors.against_pt(tagger="n_trk", working_point=0.5, flavour=flavour, quantity=quantity)
            for factors in (Factors.read(configuration.output / "factors.json"), Factors.read(own))
        )
        np.testing.assert_array_equal(result.nominal, expected.nominal)
