"""Colours as people with and without colour blindness see them, for tests."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Final

import numpy as np
from matplotlib.colors import to_rgb

VISION: Final = {
    "normal": np.eye(3),
    "protanopia": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "deuteranopia": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
}
"""Linear RGB seen, from linear RGB. Source: G. Machado et al., IEEE Trans. Vis. Comput. Graph. 15 (2009) 1291."""

TO_XYZ: Final = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE: Final = np.array([0.9505, 1.0, 1.089])


def linear(colour: object) -> np.ndarray:
    """Linear RGB of an sRGB colour."""
    rgb: np.ndarray = np.array(to_rgb(colour))  # type: ignore[arg-type]
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(colour: object, vision: str) -> np.ndarray:
    """Lightness and two axes of hue (CIE L*a*b*) of a colour."""
    xyz = TO_XYZ @ np.clip(VISION[vision] @ linear(colour), 0, 1) / WHITE
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def smallest_difference(colours: Iterable[object]) -> float:
    """Smallest distance of two of the colours in L*a*b*, for the vision in which it is smallest; 2.3 is just seen."""
    pairs = list(combinations(colours, 2))
    return min(float(np.linalg.norm(lab(a, who) - lab(b, who))) for who in VISION for a, b in pairs)


def contrast(one: object, other: object) -> float:
    """Contrast as WCAG defines it, 1 to 21."""
    low, high = sorted(float(TO_XYZ[1] @ linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)
