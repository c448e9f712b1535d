"""Files for other packagers and for the forge are read by the programs that they are for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from rattler_build import Stage0Recipe

ROOT = Path(__file__).parents[2]
FORMS = [path for path in sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")) if path.stem != "config"]


def test_the_recipe_for_conda_is_valid() -> None:
    text = (ROOT / "release/recipe.yaml").read_text(encoding="utf-8")
    (package,) = Stage0Recipe.from_yaml(text).render()
    assert "beampipe" in repr(package)
    with pytest.raises(Exception, match="licence"):
        Stage0Recipe.from_yaml(text.replace("  license:", "  licence:")).render()


@pytest.mark.parametrize(
    ("schema", "paths"),
    [
        ("citation-file-format", [ROOT / "CITATION.cff"]),
        ("github-workflows", sorted((ROOT / ".github/workflows").glob("*.yml"))),
        ("github-issue-forms", FORMS),
    ],
)
def test_files_of_the_forge_follow_their_schema(schema: str, paths: list[Path]) -> None:
    assert paths
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
