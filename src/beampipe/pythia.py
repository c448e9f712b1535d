"""Pythia 8: the module, a generator that has started, and seeds. Both simulations, of tracks and of jets, use it.

T. Sjostrand et al., An introduction to PYTHIA 8.2, Comput. Phys. Commun. 191 (2015) 159.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from beampipe.errors import ConfigError

__all__ = ["pythia8", "seed_of", "start_pythia"]

_SEEDS: Final = 899_999_999
"""Number of seeds that Pythia takes, from 1 on; 900 000 000 is the last one, and 0 means the time."""


def pythia8() -> Any:
    """The module pythia8mc.

    Raises:
        MissingExtraError: pythia8mc is not installed.
    """
    import pythia8mc

    return pythia8mc


def start_pythia(settings: Iterable[str]) -> Any:
    """A generator of Pythia after its initialisation.

    Args:
        settings: lines for Pythia, in order, e.g. ``"Beams:eCM = 13000"``.

    Raises:
        ConfigError: Pythia refuses a line, or all of them together.
        MissingExtraError: pythia8mc is not installed.
    """
    settings = tuple(settings)
    pythia = pythia8().Pythia("", False)
    for line in settings:
        if not pythia.readString(line):
            raise ConfigError(f"Pythia refuses the setting {line!r}")
    if not pythia.init():
        raise ConfigError(f"Pythia cannot start with {'; '.join(settings)}")
    return pythia


def seed_of(seed: int, *what: int) -> int:
    """A seed for Pythia that depends on all arguments: a number from 1 to 899 999 999.

    Args:
        seed: seed of the whole production.
        what: numbers that tell its parts apart, e.g. those of a sample and of a file.
    """
    return int(np.random.SeedSequence([seed, *what]).generate_state(1, np.uint64)[0] % _SEEDS) + 1
