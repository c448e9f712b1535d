"""The scale factors as a table in the terminal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from beampipe.calibration.config import Configuration
from beampipe.calibration.explain import SCALE_FACTORS
from beampipe.calibration.method.factors import Factors
from beampipe.calibration.run import FACTORS

__all__ = ["print_factors"]


def print_factors(configuration: Configuration, console: Console) -> None:
    """Print the scale factors of the first working point, statistical and total uncertainty."""
    path: Path = configuration.output / FACTORS
    factors = Factors.read(path)
    point = factors.working_points[0]
    table = Table(title=f"scale factors at the {point:.0%} working point: value +- statistical (total)")
    table.add_column("tagger")
    table.add_column("")
    for low, high in zip(factors.pt_edges, factors.pt_edges[1:], strict=False):
        table.add_column(f"{low:g}-{high:g} GeV", justify="right")
    for tagger in factors.taggers:
        for name, (flavour, quantity) in SCALE_FACTORS.items():
            one = factors.by_name[tagger, point, flavour, quantity]
            cells = (
                f"{value:.3f} +- {error:.3f} ({total:.3f})" if np.isfinite(value) else "not known"
                for value, error, total in zip(one.nominal, one.statistical, one.total, strict=True)
            )
            table.add_row(tagger, name, *cells)
    console.print(table)
    console.print(f"SF_q: efficiency, SF_g: rejection; data / simulation. All of them: {path}", highlight=False)
