"""Tables of what is registered in the code: one row for each entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from beampipe.calibration.config import Energy
from beampipe.calibration.events.variations import jet_variations
from beampipe.calibration.method.extractions import EXTRACTIONS
from beampipe.calibration.taggers import KINDS
from beampipe.events import TRACK_FILE_COLUMNS, TrackQuantities
from beampipe.tables import quantities


def table(registry: str) -> str:
    """The table of a registry in Markdown: a key of `TABLES`."""
    head, rows = TABLES[registry]
    lines = [head, ["---"] * len(head), *rows()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def variations() -> Iterable[Sequence[str]]:
    """Variations of jets, with one parameter of each kind for the jet energy."""
    for each in jet_variations(Energy(1, 1)).values():
        yield f"`{each.name}`", each.title, each.group


def taggers() -> Iterable[Sequence[str]]:
    """Kinds of taggers."""
    for each in KINDS:
        yield each.title, each.group, ", ".join(each.reads)


def extractions() -> Iterable[Sequence[str]]:
    """Extractions of this package."""
    for each in EXTRACTIONS:
        yield f'`"{each.name}"`', each.title, each.reads


def track_columns() -> Iterable[Sequence[str]]:
    """Columns of tracks, by the names of files; the covariances are one row."""
    tables = {each.name: each for each in quantities(TrackQuantities) if each.in_tables}
    for name, each in {**tables, **TRACK_FILE_COLUMNS}.items():
        if name.startswith("cov_"):
            continue
        place = " and ".join(["files"] * (name in TRACK_FILE_COLUMNS) + ["tables"] * (name in tables))
        yield f"`{name}`", each.unit or "1", each.meaning, place
    yield "`cov_A_B`", "their product", "covariance of A and B, each pair once, such as `cov_z0_d0`", "files"


TABLES: dict[str, tuple[Sequence[str], Callable[[], Iterable[Sequence[str]]]]] = {
    "variations": (("`kinematics`", "varied", "of"), variations),
    "taggers": (("tagger", "computed from", "reads"), taggers),
    "extractions": (("`extraction`", "method", "relies on simulation for"), extractions),
    "track-columns": (("column", "unit", "meaning", "in"), track_columns),
}
"""Head and rows of the table of each registry."""
