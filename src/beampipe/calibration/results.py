"""The scale factors as a table in the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np
from rich.console import Console

from beampipe.calibration.config.configuration import Configuration
from beampipe.calibration.method.best_estimate import BestEstimate
from beampipe.calibration.method.factors import SHORT_NAMES, Factors, FlavourAndQuantity, ScaleFactor
from beampipe.calibration.method.validity import FLAGS, NO_VALID_ERROR
from beampipe.calibration.tasks.workspace import FACTORS
from beampipe.notebook import html_table
from beampipe.terminal import make_table

__all__ = ["factors_html", "flag_lines", "print_estimate", "print_factors"]

_TITLE: Final = "scale factors at the {point:.0%} working point: value +- statistical (total)"
_NAMES: Final = "SF_q: efficiency, SF_g: rejection; data / simulation."
_STAR: Final = "*: flagged, see Factors.table()."


def print_factors(configuration: Configuration, console: Console) -> None:
    """Print the scale factors of the first working point, with statistical and total uncertainty, and all flags.

    Args:
        configuration: configuration of a calibration that was run.
        console: console to print the table on.
    """
    path = configuration.output / FACTORS
    factors = Factors.read(path)
    point = factors.working_points[0]
    table = make_table(_TITLE.format(point=point), ("tagger", ""), _bins(factors))
    for row in _rows(factors, point):
        table.add_row(*row)
    console.print(table)
    console.print(f"{_NAMES} All of them: {path}", highlight=False)
    for line in flag_lines(factors):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def factors_html(factors: Factors) -> str:
    """The same table in HTML, for a notebook.

    Args:
        factors: the scale factors.
    """
    point = factors.working_points[0]
    heads = ("tagger", "", *_bins(factors))
    return html_table(_TITLE.format(point=point), _rows(factors, point), heads, caption=f"{_NAMES} {_STAR}", most=10)


def _bins(factors: Factors) -> list[str]:
    """Names of the bins of pT."""
    return [f"{low:g}-{high:g} GeV" for low, high in factors.bins]


def _rows(factors: Factors, point: float) -> Iterator[tuple[str, ...]]:
    """Tagger, short name and the cells of every bin, for each scale factor that is quoted most."""
    for tagger in factors.taggers:
        for name, what in SHORT_NAMES.items():
            one = factors.against_pt(tagger=tagger, working_point=point, **what._asdict())
            yield (tagger, name, *(_cell(one, place) for place in range(len(factors.bins))))


def flag_lines(factors: Factors) -> Iterator[str]:
    """What speaks against the scale factors `SHORT_NAMES`, a line for each flag of a tagger; nothing if none is set.

    Args:
        factors: the scale factors.
    """
    names = {what: name for name, what in SHORT_NAMES.items()}
    places: dict[tuple[str, str], dict[str, set[str]]] = {}
    for row in factors.table():
        name = names.get(FlavourAndQuantity(row.flavour, row.quantity))
        for flag in row.flags if name is not None else ():
            found = places.setdefault((flag, row.tagger), {})
            found.setdefault(f"{name} {row.pt_low:g}-{row.pt_high:g} GeV", set()).add(f"{row.working_point:.0%}")
    order = list(FLAGS)
    for (flag, tagger), found in sorted(places.items(), key=lambda item: (order.index(item[0][0]), item[0][1])):
        lost = "no total uncertainty" if flag in NO_VALID_ERROR else "look before use"
        every = len(factors.working_points)
        where = ", ".join(
            bins if len(points) == every else f"{bins} ({', '.join(sorted(points))})" for bins, points in found.items()
        )
        yield f"{lost}: {FLAGS[flag]} [{flag}]: {tagger}: {where}"


def print_estimate(found: BestEstimate, console: Console) -> None:
    """Print combined scale factors `SHORT_NAMES`: value, total uncertainty and weights of the sets, and chi2.

    Args:
        found: the scale factors from several sets.
        console: console to print the table on.
    """
    joint = found.joint
    edges = joint.pt_edges
    heads = (f"{low:g}-{high:g} GeV" for low, high in pairwise(edges))
    table = make_table(
        f"combined: value +- total (weights of {', '.join(found.names)})", ("tagger", "point", ""), (*heads, "chi2/ndf")
    )
    errors = np.sqrt(np.diagonal(joint.covariance))
    for k, key in enumerate(joint.keys):
        name = next((name for name, what in SHORT_NAMES.items() if what == (key.flavour, key.quantity)), "")
        if name:
            place = joint.part(key)
            numbers = zip(joint.nominal[place], errors[place], found.shares(key).T, strict=True)
            cells = [
                f"{value:.3f} +- {error:.3f} ({', '.join(f'{one:.2f}' for one in weights)})"
                if np.isfinite(error)
                else "not known"
                for value, error, weights in numbers
            ]
            table.add_row(key.tagger, f"{key.working_point:.0%}", name, *cells, f"{found.chi2[k]:.2f}/{found.ndf[k]}")
    console.print(table)


def _cell(one: ScaleFactor, place: int) -> str:
    """A scale factor in one bin: its value and uncertainties, as far as they are known; a star if it is flagged."""
    value, error, total = one.nominal[place], one.statistical[place], one.total[place]
    if not np.isfinite(value):
        return "not known"
    if not one.valid[place]:
        return f"{value:.3f}, no valid error"
    return f"{value:.3f} +- {error:.3f} ({total:.3f}){' *' if one.flags[place] else ''}"
