"""The scale factors as a table in the terminal."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from beampipe.calibration.config import Configuration
from beampipe.calibration.method.factors import SHORT_NAMES, Factors
from beampipe.calibration.tasks.workspace import FACTORS
from beampipe.terminal import make_table

__all__ = ["print_factors"]


def print_factors(configuration: Configuration, console: Console) -> None:
    """Print the scale factors of the first working point, with statistical and total uncertainty.

    Args:
        configuration: configuration of a calibration that was run.
        console: console to print the table on.
    """
    path = configuration.output / FACTORS
    factors = Factors.read(path)
    point = factors.working_points[0]
    table = make_table(
        f"scale factors at the {point:.0%} working point: value +- statistical (total)",
        ("tagger", ""),
        (f"{low:g}-{high:g} GeV" for low, high in factors.bins),
    )
    for tagger in factors.taggers:
        for name, what in SHORT_NAMES.items():
            one = factors.against_pt(tagger=tagger, working_point=point, **what._asdict())
            cells = (
                f"{value:.3f} +- {error:.3f} ({total:.3f})" if np.isfinite(value) else "not known"
                for value, error, total in zip(one.nominal, one.statistical, one.total, strict=True)
            )
            table.add_row(tagger, name, *cells)
    console.print(table)
    console.print(f"SF_q: efficiency, SF_g: rejection; data / simulation. All of them: {path}", highlight=False)
