"""Hidden parameters of an instance, drawn at random: each depends on its name, not on the order of the draws."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.simulation.pythia import seed_of


class RandomParameters:
    """The random numbers of one instance.

    Args:
        family: family of the instance.
        seed: seed of the instance.
        ranges: name of a hidden parameter -> lowest and highest value, in place of the family's own range.

    Raises:
        ConfigError: a range is empty or not finite.
    """

    def __init__(self, family: str, seed: int, ranges: Mapping[str, tuple[float, float]] | None = None) -> None:
        for name, (low, high) in (ranges or {}).items():
            if not (np.isfinite([low, high]).all() and low <= high):
                raise ConfigError(f"{family}, parameter {name}: got the range ({low}, {high}), expected low <= high")
        self._family, self._seed = family, seed
        self._ranges = dict(ranges or {})
        self._drawn: dict[str, float] = {}

    @property
    def drawn(self) -> dict[str, float]:
        """All hidden numbers drawn so far, by name."""
        return dict(self._drawn)

    def generator(self, what: str) -> np.random.Generator:
        """A generator of random numbers for this instance and name."""
        return np.random.default_rng(
            np.random.SeedSequence([abs(self._seed), int(self._seed < 0), _key(self._family), _key(what)])
        )

    def seed(self, what: str) -> int:
        """A seed for Pythia for this instance and name."""
        return seed_of(abs(self._seed), int(self._seed < 0), _key(self._family), _key(what))

    def uniform(self, name: str, low: float, high: float) -> float:
        """A hidden number from a range."""
        low, high = self._ranges.get(name, (low, high))
        return self._keep(name, float(self.generator(name).uniform(low, high)))

    def away(self, name: str, centre: float, near: float, far: float) -> float:
        """A hidden number at a distance between `near` and `far` from a known value, above or below it.

        A range given by the caller is used unchanged, without the gap.
        """
        if name in self._ranges:
            return self.uniform(name, centre, centre)
        side, distance = self.generator(name).uniform(size=2)
        return self._keep(name, float(centre + np.sign(side - 0.5) * (near + (far - near) * distance)))

    def choice(self, name: str, number: int) -> int:
        """A hidden number from 0 to `number` - 1."""
        low, high = self._ranges.get(name, (0, number - 1))
        chosen = self.generator(name).integers(int(low), int(high) + 1)
        return int(self._keep(name, float(chosen)))

    def count(self, name: str, mean: float) -> int:
        """A Poisson-distributed number of events; only its mean is a hidden parameter."""
        return int(self.generator(f"count of {name}").poisson(mean))

    def check(self) -> None:
        """Check that every range belongs to a parameter that was drawn.

        Raises:
            UnknownNameError: the family has no such parameter.
        """
        for name in self._ranges:
            if name not in self._drawn:
                raise UnknownNameError(f"hidden parameter of {self._family}", name, self._drawn)

    def _keep(self, name: str, value: float) -> float:
        self._drawn[name] = value
        return value


def _key(name: str) -> int:
    return zlib.crc32(name.encode())
