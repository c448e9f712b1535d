"""Numbers as text: as many digits as are significant, and signs that print well."""

from __future__ import annotations

import math


def score(value: float) -> str:
    """A normalised score; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def with_error(value: float, error: float | None) -> str:
    """A score with its standard error; a question mark if the error is unknown.

    >>> with_error(0.94321, 0.0123), with_error(0.5, None)
    ('0.943 ± 0.012', '0.500 ± ?')
    """
    return score(value) if math.isnan(value) else f"{score(value)} ± {'?' if error is None else f'{error:.3f}'}"


def count(value: int | float) -> str:
    """A number of things, short from ten thousand on.

    >>> count(1234), count(23_456), count(7_890_000)
    ('1\\u202f234', '23.5k', '7.89M')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= (size if size > 1e3 else 1e4):
            return f"{value / size:.3g}{letter}"
    return f"{value:,.0f}".replace(",", "\u202f")


def cost(value: float) -> str:
    """An amount of money [USD].

    >>> cost(0.0), cost(0.00123), cost(12.345)
    ('$0', '$0.0012', '$12.35')
    """
    if value == 0.0:
        return "$0"
    return f"${value:.2f}" if value >= 1 else f"${value:.{1 - math.floor(math.log10(value))}f}"


def duration(seconds: float) -> str:
    """A time.

    >>> duration(0.25), duration(75.0), duration(7500.0)
    ('0.25 s', '1 min 15 s', '2 h 5 min')
    """
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds) // 60
    return f"{minutes} min {round(seconds) % 60} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def shade(value: float) -> str:
    """The class of the colour for a score.

    >>> shade(0.0), shade(0.949), shade(1.0), shade(math.nan)
    ('h0', 'h9', 'h10', 'h-none')
    """
    return "h-none" if math.isnan(value) else f"h{math.floor(10 * value + 1e-9)}"
