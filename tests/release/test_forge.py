"""What a package says of where the project lives, and the workflows of a forge."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FORGE: dict[str, Any] = runpy.run_path(str(ROOT / "release/forge.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
ADDRESS = "https://forge.test/beampipe"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
LINKS = re.compile(r"\]\(([^)\s]+)\)")


def settings() -> dict[str, Any]:
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["dynamic-metadata"]
    return next(table for table in tables if "repository" in table)


def metadata(version: str = "1.2.3") -> dict[str, Any]:
    made: dict[str, Any] = FORGE["dynamic_metadata"](settings(), {"version": version})
    return made


def test_every_link_of_a_released_readme_is_absolute_and_leads_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAMPIPE_REPOSITORY", f"{ADDRESS}/")
    monkeypatch.chdir(ROOT)
    made = metadata()
    targets = LINKS.findall(made["readme"]["text"])
    assert len(targets) == len(LINKS.findall(README)) > 15
    assert all(target.startswith(("https://", "#")) for target in targets)
    inside = re.findall(rf"{ADDRESS}/(raw|blob)/v1\.2\.3/([^#\s]+)", " ".join(targets))
    assert {kind for kind, _ in inside} == {"raw", "blob"}
    assert not [path for _, path in inside if not (ROOT / path).exists()]
    assert set(made["urls"]) == {"Source", "Documentation", "Changelog", "Issues"}
    assert f"{ADDRESS}/blob/main/docs/tracking.md" in metadata("1.2.4.dev3+gabc")["readme"]["text"]


def test_without_an_address_there_is_no_link_that_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAMPIPE_REPOSITORY", "")
    monkeypatch.chdir(ROOT)
    made = metadata()
    assert made["urls"] == {}
    assert all(target.startswith(("https://", "#")) for target in LINKS.findall(made["readme"]["text"]))
    assert "![" not in made["readme"]["text"]
    assert "Documentation · Architecture" in made["readme"]["text"]


def test_notebooks_have_links_once_there_is_an_address() -> None:
    links = FORGE["notebook_links"]
    assert links("", "snippets") == {}
    assert links(ADDRESS, "snippets") == {
        "Binder": "https://mybinder.org/v2/git/https%3A%2F%2Fforge.test%2Fbeampipe/main"
        "?urlpath=lab/tree/docs/notebooks/snippets.md"
    }
    on_github = links("https://github.com/someone/beampipe", "snippets")
    assert on_github["Binder"].startswith("https://mybinder.org/v2/gh/someone/beampipe/main?urlpath=lab/tree/")
    colab, _, path = on_github["Colab"].partition("/github/someone/beampipe/blob/main/")
    assert colab == "https://colab.research.google.com"
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("name", FORGE["FOLLOWERS"])
def test_what_names_the_repository_follows_the_one_setting(name: str) -> None:
    text, naming = (ROOT / name).read_text(encoding="utf-8"), FORGE["naming"]
    assert text == naming(text, name, FORGE["address"]()), "run python release/forge.py"
    there, elsewhere = naming(text, name, ADDRESS), naming(naming(text, name, ADDRESS), name, "https://else.test/b")
    assert ADDRESS in there
    assert "<repository>" not in there
    assert ADDRESS not in elsewhere
    assert naming(there, name, FORGE["address"]()) == text
    if name.endswith(".cff"):
        assert yaml.safe_load(there)["repository-code"] == ADDRESS


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_targets_that_there_are_and_actions_by_their_hash(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    steps = [step for job in yaml.safe_load(text)["jobs"].values() for step in job["steps"]]
    assert len(steps) > 5
    called = {word for step in steps for word in re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))}
    assert called <= set(targets)
    assert all(re.search(r"@[0-9a-f]{40}$", step["uses"]) for step in steps if "uses" in step)


def test_the_pythons_that_are_named_are_those_that_are_tested_and_built() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = re.findall(r"Python :: (3\.\d+)", " ".join(project["project"]["classifiers"]))
    checks = yaml.safe_load((ROOT / ".github/workflows/checks.yml").read_text(encoding="utf-8"))
    assert checks["jobs"]["test"]["strategy"]["matrix"]["python"] == named
    built = runpy.run_path(str(ROOT / "release/wheels.py"))["PYTHONS"]
    assert list(built) == named[:2], "the wheel of the second serves all newer ones"
