"""What the pages promise: their Python runs, their tables are those of the code, their names and commands are there."""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, get_args

import numpy as np
import pytest
import typer
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from PIL import Image

from beampipe.analysisops.grading.checks import GATES, JUDGED, RULES
from beampipe.analysisops.registry import JudgeFile
from beampipe.analysisops.tasks.load import TaskSpec, all_tasks, load_task
from beampipe.calibration import DEMO_CONFIGURATION
from beampipe.cli import app
from beampipe.figures import GROUND, INK, metadata_of
from beampipe.plugins import Kind
from beampipe.tracking.catalogue import PIPELINES, Components
from beampipe.tracking.display.figure import DETECTOR, FAKE, PT_COLOURS
from beampipe.tracking.loading import DEFAULT_MODEL_FOLDER

DOCS = Path(__file__).parent.parent / "docs"
SOURCE = DOCS.parent / "src" / "beampipe"
EXAMPLES = DOCS.parent / "examples"
PAGES = sorted(str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md") if "_build" not in path.parts)
AREAS = ("analysisops", "calibration", "fleet", "serving", "simulation", "tracking", "triton", "workflow")
FACES = [f"beampipe.{area}" for area in AREAS]
PROGRAM: Any = typer.main.get_command(app)
"""Made once, as it imports its commands when they are first used and keeps them."""


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def blocks(name: str) -> list[str]:
    """The Python on a page."""
    result = re.findall(r"^```python\n(.*?)^```$", page(name), re.M | re.S)
    assert result
    return result


def run(folder: Path, code: str) -> str:
    """What Python prints, in a folder."""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, code + done.stderr
    return done.stdout


def test_the_modules_and_names_on_the_pages_are_there() -> None:
    text = "".join(map(page, PAGES))
    names = set(re.findall(r"(?<![\w/.-])(beampipe(?:\.[A-Za-z_]\w*)+)", text))
    assert len(names) > 30
    for name in names - {f"beampipe.{kind}" for kind in get_args(Kind)}:
        resolve_name(name)


def test_the_files_of_the_architecture_are_there() -> None:
    text = page("architecture")
    paths = set(re.findall(r"`([a-z_0-9]+/[\w/]*(?:\.py|\.cpp|/))`", text))
    assert len(paths) > 40
    roots = [SOURCE, SOURCE / "tracking", DOCS.parent]
    assert not [path for path in paths if not any((root / path).exists() for root in roots)]


def test_pages_and_examples_import_from_the_faces() -> None:
    """A name that a face has comes from there."""
    homes = {name: face for face in FACES for name in importlib.import_module(face).__all__}
    texts = [*map(page, PAGES), *(path.read_text(encoding="utf-8") for path in EXAMPLES.rglob("*.py"))]
    imports = [result for text in texts for result in re.findall(r"^from (beampipe\S*) import (.+)$", text, re.M)]
    assert len(imports) > 20
    for module, names in imports:
        # Areas may have the same name for things of their own, such as `evaluate`.
        deep = [name for name in names.split(", ") if module.startswith(f"{homes.get(name, module)}.")]
        assert not deep, f"from {module} import {', '.join(deep)}: these are in {homes[deep[0]]}"


def test_the_commands_on_the_pages_are_there() -> None:
    """Sub-commands and options; what they do is tested with the commands."""
    text = re.sub(r"\\\n *", "", "".join(map(page, PAGES)))
    lines = re.findall(r"^    (beampipe .*)$", text, re.M) + re.findall(r"`(beampipe [a-z][^`]*)`", text)
    assert len(lines) > 40
    for line in lines:
        check_command(line)


def check_command(line: str) -> None:
    """Check that there is such a command, and that it has these options."""
    words = shlex.split(line, comments=True)[1:]
    words = words[: words.index("--")] if "--" in words else words  # then another program and its options
    command = PROGRAM
    while words and hasattr(command, "commands") and words[0].islower():
        assert words[0] in command.commands, line
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert {word for word in words if re.match("--?[a-z]", word)} <= known, line


def pipeline_table() -> str:
    """The named pipelines as a table in Markdown."""
    rows = [
        "| pipeline | what it is | edges from | edges scored | tracks by | fewest hits |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for spec in PIPELINES.values():
        tracks_by = "components" if isinstance(spec.segmentation, Components) else "best paths"
        scored = "yes" if spec.scored else "no"
        cells = (f"`{spec.name}`", spec.for_what, spec.graph, scored, tracks_by, str(spec.segmentation.min_hits))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def test_the_tables_are_those_of_the_code() -> None:
    assert f"\n\n{pipeline_table()}\n\n" in page("tracking")


def first_cells(name: str) -> dict[str, str]:
    """The rows of the tables of a page by each name that stands in their first cell."""
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", page(name), re.M)
    return {item: row for first, row in rows for item in re.findall(r"`([^`]+)`", first)}


def test_the_tables_of_tasks_name_all_that_there_is() -> None:
    tasks, rows = first_cells("analysisops"), first_cells("analysisops_tasks")
    for name, folder in all_tasks().items():
        points = ", ".join(f"{rule.id} {rule.points:g}" for rule in load_task(folder).rubric.rules)
        assert tasks[name].endswith(f" | {points}"), name
    for name, kind in {**GATES, **RULES, **JUDGED}.items():
        settings = {field.name for field in fields(kind)} - {"points", "missing_points"}
        assert settings <= set(re.findall(r"`(\w+)`", rows[name])), name
    without_effect = {"mode", "workers", "cache", "reuse_existing"}
    keys = {field.name for field in fields(TaskSpec) if not field.name.endswith("_path")} - without_effect
    assert keys <= rows.keys()
    described = {item.name for item in fields(JudgeFile)}
    assert described <= first_cells("analysisops_agents").keys()


@pytest.mark.parametrize("name", ["get_started", "tracking", "formats"])
def test_the_python_of_a_page_runs(name: str, tmp_path: Path) -> None:
    """Each block by itself, in a folder where a reader has trained weights."""
    shutil.copytree(DEFAULT_MODEL_FOLDER, tmp_path, dirs_exist_ok=True)
    run(tmp_path, "\n".join(f"exec({block!r}, {{}})" for block in blocks(name)))


def test_the_python_about_stages_runs(tmp_path: Path) -> None:
    """Its blocks in order, after the finder that the page includes, in a folder with a file of events."""
    write = 'write_events("events.parquet", shipped_events(0))'
    run(tmp_path, f"from beampipe.tracking import shipped_events, write_events; {write}")
    # As a module: its last lines are for whoever runs it as a script.
    own = (EXAMPLES / "own_finder.py").read_text(encoding="utf-8")
    printed = run(tmp_path, own.replace("__main__", "") + "".join(blocks("stage")))
    assert "track_id" in printed
    assert (tmp_path / "tracks.parquet").exists()


def test_the_python_of_the_calibration_runs(tmp_path: Path) -> None:
    """On the demo's files, with fewer replicas and uncertainties: the full demo has a test of its own."""
    for path in DEMO_CONFIGURATION.parent.glob("*.root"):
        (tmp_path / path.name).symlink_to(path)
    demo = re.sub(r"\[taggers\.gbdt\][^\[]*", "", DEMO_CONFIGURATION.read_text(encoding="utf-8"))
    small = demo.partition("[systematics")[0].replace("replicas = 200", "replicas = 10")
    (tmp_path / "dijets.toml").write_text(small, encoding="utf-8")
    (block,) = blocks("calibration")
    (tmp_path / "page.py").write_text(block, encoding="utf-8")  # worker processes import it
    done = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert re.fullmatch(r"1\.0\d* \+- 0\.0\d*\n", done.stdout), done.stderr


def test_the_pictures_of_the_event_say_what_is_found_in_it() -> None:
    """Both pictures, and the words beside them on the README and on the first page of the site."""
    script = runpy.run_path(str(DOCS / "draw_event.py"))
    words = str(metadata_of(script["drawn"](dark=False), "png")["Description"])
    for path in script["PICTURES"].values():
        with Image.open(path) as picture:
            assert picture.info["Description"] == words, "run python docs/draw_event.py"
    n_hits, n_tracks = re.findall(r"([\d,]+) (?:hits|tracks)", words)
    for text in ((DOCS.parent / "README.md").read_text(encoding="utf-8"), page("index")):
        assert f"{n_hits} hits, and the {n_tracks} tracks above 1 GeV" in text


@pytest.mark.parametrize(("name", "dark"), [("event", False), ("event_dark", True)])
def test_the_picture_of_the_event_has_the_colours_of_its_scale(name: str, dark: bool) -> None:
    """A palette with few colours once dropped those of hard tracks and of fakes."""
    colours = np.rint(255 * imread(DOCS / "_static" / f"{name}.png")[..., :3]).astype(np.uint32) @ (1 << 16, 1 << 8, 1)
    pixels = np.unique(colours)[:, np.newaxis] >> (16, 8, 0) & 255
    scale = PT_COLOURS[dark](np.linspace(0, 1, 9))[:, :3]
    for wanted in (*scale, *map(to_rgb, (FAKE[dark], DETECTOR[dark], INK[dark], GROUND[dark]))):
        assert np.abs(pixels / 255 - wanted).max(axis=1).min() < 0.06, wanted
