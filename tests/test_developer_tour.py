"""The changes of the developer's tour, made to a copy of the package, have the results that its page shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "developer_tour.md").read_text(encoding="utf-8")
CHANGES = {
    title: text
    for title, _, text in (section.partition("\n") for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:])
    if "```sh\n" in text
}
FILE = re.compile(r"^```\{code-block\} \w+\n:caption: (\S+)\n\n?(.*?)^```$", re.MULTILINE | re.DOTALL)
WITHOUT_THE_INSTALLED_ONE = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__name__ != "ScikitBuildRedirectingFinder"]
"""
"""For Python before it starts: an editable installation would be found before the copy."""


def blocks(kind: str, text: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package with what its build made."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=ignored)
    built = Path(sysconfig.get_path("purelib")) / "beampipe"
    shutil.copytree(built, tmp_path / "src" / "beampipe", ignore=ignored, dirs_exist_ok=True)
    (tmp_path / "src" / "sitecustomize.py").write_text(WITHOUT_THE_INSTALLED_ONE, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "title",
    [pytest.param(title, marks=pytest.mark.prometheus if "promtool" in CHANGES[title] else ()) for title in CHANGES],
)
def test_a_change_has_the_result_that_the_page_shows(title: str, copy: Path) -> None:
    text = CHANGES[title]
    for change in blocks("diff", text):
        subprocess.run(["git", "apply", "-"], cwd=copy, input=change, text=True, check=True)
    for name, content in FILE.findall(text):
        path = copy / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    (commands,) = blocks("sh", text)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(copy / "src"),
        # `pip install` of the page, beside the copy and from nothing but what is here.
        "PIP_TARGET": str(copy / "src"),
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # 0 is pip's word for "without"
    }
    command = ["bash", "-euo", "pipefail", "-c", commands]
    done = subprocess.run(
        command, cwd=copy, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    (shown,) = blocks("text", text)
    printed = [line.rstrip() for line in done.stdout.splitlines()]
    for line in shown.splitlines():
        assert line.rstrip() in printed, done.stdout
