"""Where the project lives: the one place that knows it is `repository` in `pyproject.toml`.

The build asks for it (`[[tool.dynamic-metadata]]`), for the URLs of a package and a README whose links hold away from
here. The variable ``BEAMPIPE_REPOSITORY`` goes before it, so that a forge can tell its own. Where neither is set, a
package has no URLs, and what the README links to inside of the repository is plain text in it. The documentation has a
link to it, once it is set. Files that name it are written anew by

    python release/forge.py

A test holds that this was done.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

__all__ = ["FOLLOWERS", "absolute_links", "address", "dynamic_metadata", "naming", "notebook_links", "project_urls"]

ROOT: Final = Path(__file__).parents[1]

FOLLOWERS: Final = ("CONTRIBUTING.md", "CITATION.cff")
"""Files that name the address of the repository, or would: nobody writes it into them."""

_CLONE: Final = re.compile(r"(?<=git clone )\S+(?= beampipe\b)")
"""The address in a line that clones the repository."""

_CITED: Final = re.compile(r"^repository-code: .*\n", re.MULTILINE)
"""The line of a citation that tells it."""

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


def notebook_links(repository: str, name: str) -> dict[str, str]:
    """Addresses at which a notebook can be run in a browser, by service; none where the repository has no address.

    Colab opens notebooks from GitHub only.

    Args:
        repository: address of the repository, without a slash at its end; empty if it has none.
        name: file name of the page under `docs/notebooks`, without its ending.
    """
    if not repository:
        return {}
    on_github = repository.removeprefix("https://github.com/")
    is_on_github = on_github != repository
    source = f"gh/{on_github}" if is_on_github else f"git/{quote(repository, safe='')}"
    links = {"Binder": f"https://mybinder.org/v2/{source}/main?urlpath=lab/tree/docs/notebooks/{name}.md"}
    if is_on_github:
        links["Colab"] = f"https://colab.research.google.com/github/{on_github}/blob/main/binder/colab/{name}.ipynb"
    return links


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


def address(settings: Mapping[str, Any] | None = None) -> str:
    """The address of the repository, without a slash at its end; empty if it has none.

    Args:
        settings: our table in `pyproject.toml`; None to read it, and to leave out what a forge tells.
    """
    if settings is not None:
        return str(os.environ.get("BEAMPIPE_REPOSITORY", settings["repository"])).rstrip("/")
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["dynamic-metadata"]
    return str(next(table["repository"] for table in tables if "repository" in table)).rstrip("/")


def naming(text: str, name: str, repository: str) -> str:
    """The text of a file of `FOLLOWERS` with this address, in place of another or of none.

    Args:
        text: what the file holds.
        name: path of the file from the root.
        repository: address of the repository; if it is empty, a placeholder stands where one must.
    """
    if name.endswith(".cff"):
        return _CITED.sub("", text) + (f"repository-code: {repository}\n" if repository else "")
    return _CLONE.sub(lambda _: repository or "<repository>", text)


def dynamic_metadata(settings: Mapping[str, Any], project: Mapping[str, Any]) -> dict[str, Any]:
    """The part of ``[project]`` that follows from where the project lives; called by scikit-build-core.

    Args:
        settings: the table in `pyproject.toml`, with the key `repository`.
        project: the table ``[project]``, with the version that an earlier table told.
    """
    repository = address(settings)
    text = naming(Path("README.md").read_text(encoding="utf-8"), "README.md", repository)
    text = absolute_links(text, repository, project["version"])
    return {"urls": project_urls(repository), "readme": {"content-type": "text/markdown", "text": text}}


if __name__ == "__main__":
    for follower in FOLLOWERS:
        path = ROOT / follower
        path.write_text(naming(path.read_text(encoding="utf-8"), follower, address()), encoding="utf-8")
