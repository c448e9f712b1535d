"""What a release writes into the project, and the install lines that are tried."""

from __future__ import annotations

import runpy
from datetime import date
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RELEASE: dict[str, Any] = runpy.run_path(str(ROOT / "release/release.py"))
LINES: dict[str, Any] = runpy.run_path(str(ROOT / "release/lines.py"))
DAY = date(2026, 12, 24)
CHANGES = "# Changes\n\n## Unreleased\n\n- More.\n\n## 0.1.0 - 2026-12-01\n\n- The first.\n"


def test_what_was_unreleased_stands_under_the_version() -> None:
    changes = RELEASE["released_changes"](CHANGES, "0.2.0", DAY)
    assert changes.startswith(
        "# Changes\n\n## Unreleased\n\n## 0.2.0 - 2026-12-24\n\n- More.\n\n## 0.1.0 - 2026-12-01\n"
    )


@pytest.mark.parametrize(
    ("text", "version", "cause"),
    [
        (
            "# Changes\n\n## Unreleased\n\n## 0.1.0 - 2026-12-01\n\n- The first.\n",
            "0.2.0",
            "nothing under ## Unreleased",
        ),
        (CHANGES, "0.1.0", "has a section 0.1.0 already"),
    ],
)
def test_a_changelog_without_news_or_with_the_version_is_refused(text: str, version: str, cause: str) -> None:
    with pytest.raises(RELEASE["Failed"], match=cause):
        RELEASE["released_changes"](text, version, DAY)


def test_the_citation_names_the_last_version_only() -> None:
    cite = RELEASE["released_citation"]
    text = cite(cite((ROOT / "CITATION.cff").read_text(encoding="utf-8"), "0.1.0", date(2026, 12, 1)), "0.2.0", DAY)
    assert text.endswith("\nversion: 0.2.0\ndate-released: 2026-12-24\n")
    assert text.count("version: ") == 2, "that of the format, and that of the package"


def test_every_extra_and_every_line_of_the_pages_is_tried() -> None:
    lines = LINES["install_lines"]()
    assert len(lines) == len(set(lines))
    for line in (
        "pip install '.[tracking]'",
        "pip install 'beampipe[all]'",
        "pip install .",
        "pip install perf-analyzer",
    ):
        assert line in lines
    assert not [line for line in lines if "..." in line or "[dev]" in line or "./" in line]


def test_without_the_source_a_wheel_stands_for_it(tmp_path: Path) -> None:
    words_of = LINES["words_of"]
    found = ["--find-links", str(tmp_path)]
    assert words_of("pip install '.[chain,train]'", tmp_path, None) == ["install", "beampipe[chain,train]", *found]
    assert words_of("pip install .", tmp_path, None) == ["install", "beampipe", *found]
    assert words_of("pip install '.[chain]'", tmp_path, ROOT) == ["install", ".[chain]"]
    assert words_of("pip install perf-analyzer", tmp_path, None) == ["install", "perf-analyzer"]
