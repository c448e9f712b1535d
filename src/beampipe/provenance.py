"""How events were made: written into files by what makes them, carried by events, checked before a step is repeated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from beampipe.errors import ConfigError, InputError

__all__ = ["DEGRADATION", "SIMULATION", "UNITS", "Provenance", "installed", "require_once"]

SIMULATION: Final = "simulation"
"""Name of the step that simulates events; its settings are generator, detector, `field_T`, seed and versions."""

DEGRADATION: Final = "degradation"
"""Name of the step that loses hits and adds noise; its settings are fractions and seeds."""

UNITS: Final = "mm, rad, GeV, e, T"
"""Units of all numbers in our files of events."""


@dataclass(frozen=True)
class Provenance:
    """The steps that made events, in order.

    Attributes:
        steps: of each step ``step``, its name, ``program``, name and version, and its settings, as values of JSON.
    """

    steps: tuple[Mapping[str, Any], ...] = ()

    def after(self, step: str, **settings: object) -> Provenance:
        """The same events after one more step of this program.

        Args:
            step: name of the step.
            settings: its settings, as values that JSON can hold.
        """
        made = {"step": step, "program": f"beampipe {installed('beampipe')}", **settings}
        return Provenance((*self.steps, json.loads(json.dumps(made))))

    def settings(self, step: str) -> Mapping[str, Any] | None:
        """The settings of the last step of that name; None if there was none."""
        return next((each for each in reversed(self.steps) if each.get("step") == step), None)

    @property
    def text(self) -> str:
        """The steps as JSON, as `parse` reads them."""
        return json.dumps({"units": UNITS, "steps": self.steps}, sort_keys=True)

    @classmethod
    def parse(cls, text: str | bytes) -> Provenance:
        """Read what `text` gives.

        Raises:
            ConfigError: the text is another one.
        """
        try:
            return cls(tuple(dict(step) for step in json.loads(text)["steps"]))
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"provenance: got {text[:80]!r}, expected JSON with steps") from error


def require_once(provenance: Provenance | None, step: str, where: str, again: str) -> None:
    """Refuse to do a step again. Events without provenance, as those of other programs, are accepted.

    Args:
        provenance: that of the events.
        step: the step that is to be done.
        where: event or file, for the message.
        again: what asks for it, for the message.

    Raises:
        InputError: the step was done.
    """
    done = None if provenance is None else provenance.settings(step)
    if done is not None:
        settings = ", ".join(f"{name} {value}" for name, value in done.items() if name not in ("step", "program"))
        raise InputError(
            f"{where}: got events after {step} ({settings}), expected them as simulated; doing it twice would count"
            f" losses and noise twice. If that is meant, give {again}"
        )


@cache
def installed(distribution: str) -> str | None:
    """The version of an installed distribution, None if it is not."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
