"""Systematics: the sources of uncertainty that a configuration lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from beampipe.errors import ConfigError, UnknownNameError

__all__ = ["Rule", "Systematic"]

Rule = Literal["envelope", "quadrature", "difference", "up_down"]
"""How the variations of a source become one uncertainty: see `beampipe.calibration.method.combine`."""

_METHODS: Final = ("gluon_reweight", "nonclosure")


@dataclass(frozen=True)
class Systematic:
    """One source of uncertainty; exactly one of `weights`, `kinematics`, `samples`, `method` says where it comes from.

    Attributes:
        name: name of the source.
        rule: how its variations become one uncertainty.
        weights: patterns (``pdf_*``) for names of weights of the nominal sample.
        kinematics: patterns for variations of jets: ``jes_*``, ``jer_*``, ``trk_*``.
        samples: names of one other sample (against nominal) or of two (against each other).
        method: variation of the method itself: ``gluon_reweight`` or ``nonclosure``.
        experimental: whether the source comes from the detector; it is then drawn as a bar, not as a band.
        smooth: whether each shift is replaced by a smooth function of jet pT that its statistical errors allow.
    """

    name: str
    rule: Rule = "difference"
    weights: tuple[str, ...] = ()
    kinematics: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()
    method: str = ""
    experimental: bool = False
    smooth: bool = False

    def __post_init__(self) -> None:
        given = [bool(self.weights), bool(self.kinematics), bool(self.samples), bool(self.method)]
        if sum(given) != 1:
            raise ConfigError(
                f"systematic {self.name}: got {sum(given)} of weights, kinematics, samples, method; expected one of"
                " them"
            )
        if len(self.samples) > 2:
            raise ConfigError(f"systematic {self.name}: got {len(self.samples)} samples, expected one or two")
        if self.method not in ("", *_METHODS):
            raise UnknownNameError(f"method of systematic {self.name}", self.method, _METHODS)
