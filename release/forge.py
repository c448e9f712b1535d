"""Where the project lives, for the metadata of a package: its URLs, and a README whose links hold away from here.

The build asks for it (`pyproject.toml`, `[[tool.dynamic-metadata]]`). The address of the repository is one setting
there, `repository`; the variable ``BEAMPIPE_REPOSITORY`` goes before it, so that a forge can tell its own. Where
neither is set, a package has no URLs, and what the README links to inside of the repository is plain text in it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

__all__ = ["absolute_links", "dynamic_metadata", "project_urls"]

_LINK: Final = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#|mailto:)([^)\s]+)\)")
"""An image or a link of Markdown to a file of the repository: bang, text, path."""

_RELEASE: Final = re.compile(r"\d+(\.\d+)*((a|b|rc)\d+)?")
"""Version of a release, which has a tag."""


def project_urls(repository: str) -> dict[str, str]:
    """The URLs of a package by their labels; none where the repository has no address.

    Args:
        repository: address of the repository, without a slash at its end; empty if it has none.
    """
    if not repository:
        return {}
    return {
        "Source": repository,
        "Documentation": f"{repository}/tree/main/docs",
        "Changelog": f"{repository}/blob/main/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }


def absolute_links(text: str, repository: str, version: str) -> str:
    """The text of a README with links and images that work wherever it is read.

    Args:
        text: Markdown, whose relative links start at the root of the repository.
        repository: address of the repository; if it is empty, links become their text, and images are left out.
        version: version of the package; a release is linked to its tag, and any other version to the branch `main`.
    """
    at = f"v{version}" if _RELEASE.fullmatch(version) else "main"

    def absolute(link: re.Match[str]) -> str:
        bang, words, path = link.groups()
        if not repository:
            return "" if bang else words
        return f"{bang}[{words}]({repository}/{'raw' if bang else 'blob'}/{at}/{path})"

    return _LINK.sub(absolute, text)


def dynamic_metadata(settings: Mapping[str, Any], project: Mapping[str, Any]) -> dict[str, Any]:
    """The part of ``[project]`` that follows from where the project lives; called by scikit-build-core.

    Args:
        settings: the table in `pyproject.toml`, with the key `repository`.
        project: the table ``[project]``, with the version that an earlier table told.
    """
    repository = os.environ.get("BEAMPIPE_REPOSITORY", settings["repository"]).rstrip("/")
    text = absolute_links(Path("README.md").read_text(encoding="utf-8"), repository, project["version"])
    return {"urls": project_urls(repository), "readme": {"content-type": "text/markdown", "text": text}}
