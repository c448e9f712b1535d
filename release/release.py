"""A release but for its upload: changelog, citation, commit, tag, files, checks, site.

    make release VERSION=0.1.0

All is done in a clone of the last commit, so nothing that is not committed has a part in it. If every check holds, the
commit "Release 0.1.0" and its tag come back to this repository, and dist/ has the files; else nothing here changes.
`docs/release.md` says what a person does then.
"""

from __future__ import annotations

import re
import shutil
import sys
import tarfile
import tempfile
from datetime import date
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))  # for tests, which run the files beside it from elsewhere

from check import check, wheel_for
from using import ROOT, Failed, environment, run
from wheels import build

_VERSION: Final = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")


def released_changes(text: str, version: str, day: date) -> str:
    """The changelog with the section of a release in place of "Unreleased", which is empty again.

    Raises:
        Failed: there is nothing under "Unreleased", or the version has a section already.
    """
    head, mark, rest = text.partition("## Unreleased\n")
    if not mark or not rest.partition("\n## ")[0].strip():
        raise Failed("CHANGELOG.md: got nothing under ## Unreleased, expected what the release brings")
    if f"## {version} " in text:
        raise Failed(f"CHANGELOG.md: has a section {version} already")
    return f"{head}{mark}\n## {version} - {day.isoformat()}\n{rest}"


def released_citation(text: str, version: str, day: date) -> str:
    """The citation with version and date."""
    kept = re.sub(r"^(version|date-released): .*\n", "", text, flags=re.MULTILINE)
    return kept.rstrip("\n") + f"\nversion: {version}\ndate-released: {day.isoformat()}\n"


def tag_in_clone(clone: Path, version: str) -> None:
    """Clone this repository, commit what names the release, and tag it."""
    if not _VERSION.fullmatch(version):
        raise Failed(f"VERSION: got {version!r}, expected one like 0.1.0 or 0.2.0rc1")
    if run(["git", "tag", "--list", f"v{version}"]).strip():
        raise Failed(f"VERSION: the tag v{version} is there already")
    run(["git", "clone", "-q", str(ROOT), str(clone)])
    for name, change in (("CHANGELOG.md", released_changes), ("CITATION.cff", released_citation)):
        path = clone / name
        path.write_text(change(path.read_text(encoding="utf-8"), version, date.today()), encoding="utf-8")
    for key in ("user.name", "user.email"):
        run(["git", "config", key, run(["git", "config", key]).strip()], clone)
    run(["git", "commit", "-q", "-a", "-m", f"Release {version}"], clone)
    run(["git", "tag", "-a", f"v{version}", "-m", f"beampipe {version}"], clone)


def write_list_of_packages(folder: Path, version: str) -> None:
    """What an install with all extras brings, with versions and licences, as CycloneDX (SBOM)."""
    output = folder / f"beampipe-{version}.cdx.json"
    with environment(wheel_for(folder, "3.11"), "all", sys.executable) as bin_:
        run(["cyclonedx-py", "environment", str(bin_ / "python"), "--of", "JSON", "-o", str(output)])


def write_site(clone: Path, folder: Path, version: str) -> None:
    """The documentation with executed notebooks, as one archive."""
    run(["make", "docs"], clone)
    with tarfile.open(folder / f"beampipe-{version}-site.tar.xz", "w:xz") as archive:
        archive.add(clone / "docs/_build/html", f"beampipe-{version}-site")


def main(version: str) -> None:
    """Make a release; ends the program with a message if a step fails."""
    dist = ROOT / "dist"
    try:
        with tempfile.TemporaryDirectory(prefix="beampipe-release-") as name:
            clone, made = Path(name) / "beampipe", Path(name) / "dist"
            tag_in_clone(clone, version)
            build(made, clone)
            write_list_of_packages(made, version)
            write_site(clone, made, version)
            if failures := check(made, sys.executable):
                raise Failed(f"{failures} checks")
            run(["git", "fetch", "-q", str(clone), f"refs/tags/v{version}:refs/tags/v{version}"])
            run(["git", "merge", "-q", "--ff-only", f"v{version}"])
            dist.mkdir(exist_ok=True)
            for path in made.iterdir():
                shutil.move(path, dist / path.name)
    except Failed as error:
        sys.exit(f"FAILED {error}\nnothing was released; this repository is as before")
    print(f"dist/ has the files of beampipe {version}, tagged v{version}; docs/release.md says what is left to do")


if __name__ == "__main__":
    main(sys.argv[1])
