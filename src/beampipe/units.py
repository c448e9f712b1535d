"""Units: lengths in mm, energies and momenta in GeV, angles in rad, magnetic field in T; and numbers with errors.

Multiply a number by its unit to store it, and divide by the wanted unit to print it.
"""

from typing import Final, NamedTuple

mm: Final = 1.0
um: Final = 1e-3
cm: Final = 10.0
m: Final = 1e3
GeV: Final = 1.0
MeV: Final = 1e-3
rad: Final = 1.0
mrad: Final = 1e-3
T: Final = 1.0
ms: Final = 1e-3  # of a second


class Estimate(NamedTuple):
    """A number with its statistical error; the error is NaN if it is unknown."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.error:.2g}"
