"""The resolution of jets in simulation made that of data: by a resolution and a scale factor of correctionlib."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float64, Int64
from beampipe.calibration.layout.functions import evaluated
from beampipe.errors import ConfigError

__all__ = ["SYSTEMATIC", "GenJets", "PerJet", "Smearing", "smeared_pt"]

PerJet = Callable[[str], ndarray]
"""What gives one number for each jet of a column, a branch or an expression."""

SYSTEMATIC: Final = "systematic"
"""The input of a scale factor that is a text: which of its values is wanted."""


@dataclass(frozen=True)
class GenJets:
    """Jets of the generator that jets are compared with; without them, all jets are smeared by random numbers.

    Attributes:
        pt: branch or expression with the pT of the generator's jet that belongs to each jet, in `Layout.energy_unit`; 0
            or less if none does. With `index`, the branch of all of the generator's jets.
        index: branch with the place of each jet's in the lists of the generator's jets; any other number is none.
        eta: the same for the pseudorapidity, if `max_distance` is to be kept.
        phi: the same for the azimuth [rad].
        max_distance: limit that the distance in eta and phi must stay below: half of the radius of jets.
        max_pull: limit that \\|pT - pT of the generator\\| / (resolution x pT) must stay below.
    """

    pt: str = ""
    index: str = ""
    eta: str = ""
    phi: str = ""
    max_distance: float = 0.2
    max_pull: float = 3.0

    def __post_init__(self) -> None:
        if ((self.index or self.eta or self.phi) and not self.pt) or bool(self.eta) != bool(self.phi):
            raise ConfigError(f"layout.smearing.gen: got {self}, expected pt, and both of eta and phi or neither")


@dataclass(frozen=True)
class Smearing:
    """How the pT of simulated jets is smeared, after `Correction` and before `JetFunction`; data is not.

    With the relative resolution s and the scale factor c of a jet, the factor of its pT is
    1 + (c - 1)(pT - pT of the generator) / pT where there is a jet of the generator, else 1 + s n sqrt(max(c^2 - 1, 0))
    with a normal random number n; never below 0.

    Attributes:
        file: JSON file of correctionlib, packed or not.
        resolution: name of the correction that is the relative resolution of pT.
        scale_factor: name of the correction that is its ratio of data to simulation.
        resolution_inputs: what the resolution takes, in its order, as for `Correction`.
        scale_factor_inputs: what the scale factor takes; ``systematic`` stands for the text of that name.
        systematic: which value of the scale factor is wanted. A variation has ``smearing = "up"`` in its place.
        gen: jets of the generator.
        seed: what n is made of, by correctionlib's ``hashprng``: columns, branches or expressions. The pT is not among
            them, so that a jet keeps its n in all variations.
    """

    file: Path
    resolution: str
    scale_factor: str
    resolution_inputs: tuple[str, ...] = ("eta", "pt", "Rho_fixedGridRhoFastjetAll")
    scale_factor_inputs: tuple[str, ...] = ("eta", SYSTEMATIC)
    systematic: str = "nom"
    gen: GenJets = field(default_factory=GenJets)
    seed: tuple[str, ...] = ("run", "event", "eta")

    def __post_init__(self) -> None:
        if not self.seed:
            raise ConfigError("layout.smearing.seed: got nothing, expected columns, e.g. run, event and eta")

    @property
    def inputs(self) -> Mapping[str, str]:
        """Key in the configuration -> each column, branch or expression that is read for every jet."""
        found: dict[str, str] = {}
        for key in ("resolution_inputs", "scale_factor_inputs", "seed"):
            found |= {text: key for text in getattr(self, key) if text[:1] != "=" and text != SYSTEMATIC}
        gen = self.gen
        found |= {gen.index: "gen.index"} if gen.index else {}
        found |= {text: f"gen.{key}" for key in ("pt", "eta", "phi") if (text := getattr(gen, key))}
        return found


def smeared_pt(
    smearing: Smearing,
    pt: Float64[ndarray, " j"],
    per_jet: PerJet,
    per_gen: Callable[[str], tuple[ndarray, ndarray]],
    counts: Int64[ndarray, " n"],
    unit: float,
) -> Float64[ndarray, " j"]:
    """pT of jets as it would be with the resolution of data [GeV].

    Args:
        smearing: corrections, and jets of the generator.
        pt: pT of each jet before [GeV].
        per_jet: what the smearing depends on, for each jet.
        per_gen: number of the generator's jets of each event, and a branch of all of them.
        counts: number of jets of each event.
        unit: GeV in the unit of the file.

    Raises:
        ConfigError: the file has no such correction, or it takes other inputs.
        FileError: the file cannot be read.
    """
    if len(pt) == 0:
        return pt
    scale_inputs = tuple(f"={smearing.systematic}" if x == SYSTEMATIC else x for x in smearing.scale_factor_inputs)
    known = {text: per_jet(text) for text in (*smearing.resolution_inputs, *scale_inputs) if text[:1] != "="}
    resolution = evaluated(smearing.file, smearing.resolution, smearing.resolution_inputs, known)
    scale = evaluated(smearing.file, smearing.scale_factor, scale_inputs, known)
    factor = 1 + _noise([per_jet(text) for text in smearing.seed]) * resolution * np.sqrt(np.maximum(scale**2 - 1, 0))
    if smearing.gen.pt:
        there, near, gen_pt = _matched(smearing.gen, per_jet, per_gen, counts)
        off = pt - gen_pt * unit
        matched = there & near & (np.abs(off) < smearing.gen.max_pull * resolution * pt)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.where(matched, 1 + (scale - 1) * off / pt, factor)
    smeared: ndarray = pt * np.maximum(factor, 0)
    return smeared


def _matched(
    gen: GenJets, per_jet: PerJet, per_gen: Callable[[str], tuple[ndarray, ndarray]], counts: Int64[ndarray, " n"]
) -> tuple[Bool[ndarray, " j"], Bool[ndarray, " j"], Float64[ndarray, " j"]]:
    """For each jet, whether it has one of the generator, whether that is near, and its pT in the unit of the file."""
    n_jets = int(counts.sum())
    read: PerJet = per_jet
    there = np.ones(n_jets, bool)
    if gen.index:
        n_gen, first = per_gen(gen.pt)
        event, place = np.repeat(np.arange(len(counts)), counts), per_jet(gen.index).astype(np.int64)
        there = (place >= 0) & (place < n_gen[event])
        at = np.where(there, (np.cumsum(n_gen) - n_gen)[event] + place, 0)

        def read(branch: str) -> ndarray:
            numbers = first if branch == gen.pt else per_gen(branch)[1]
            return numbers[at] if len(numbers) else np.zeros(n_jets)

    gen_pt = read(gen.pt).astype(np.float64)
    near = np.ones(n_jets, bool)
    if gen.eta:
        across = per_jet("eta").astype(np.float64) - read(gen.eta)
        around = per_jet("phi").astype(np.float64) - read(gen.phi)
        around = np.abs((around + np.pi) % (2 * np.pi) - np.pi)
        near = np.hypot(across, around) < gen.max_distance
    return there & (gen_pt > 0), near, gen_pt


def _noise(seed: list[ndarray]) -> Float64[ndarray, " j"]:
    """A normal random number for each jet, the same on every machine."""
    given = [each.astype(np.int64 if each.dtype.kind in "iub" else np.float64) for each in seed]
    drawn: ndarray = _generator(tuple("int" if each.dtype.kind == "i" else "real" for each in given)).evaluate(*given)
    return drawn


@cache
def _generator(types: tuple[str, ...]) -> Any:
    """The correction of correctionlib that hashes inputs of some types."""
    import correctionlib

    inputs = [{"name": f"x{k}", "type": each} for k, each in enumerate(types)]
    data = {"nodetype": "hashprng", "inputs": [each["name"] for each in inputs], "distribution": "normal"}
    one = {"name": "n", "version": 1, "inputs": inputs, "output": {"name": "n", "type": "real"}, "data": data}
    return correctionlib.CorrectionSet.from_string(json.dumps({"schema_version": 2, "corrections": [one]}))["n"]
