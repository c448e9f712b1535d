"""Corrections of jets from user functions, correctionlib files and smearing of simulated jets."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float64, Int64
from beampipe.errors import ConfigError, FileError
from beampipe.identity import UserCode, user_code
from beampipe.workflow import FileStamp, file_digest, installed_version


@dataclass(frozen=True)
class JetFunction:
    """A function that changes columns of jets.

    It is called with a mapping from the names of `inputs` to arrays, one number for each jet of a range of events
    (event quantities are repeated for each jet), and returns a mapping from the names of `changes` to arrays of the
    same length, pT in GeV. The result for a jet must not depend on the other jets of the range; random numbers must be
    functions of `run` and `event`.

    Attributes:
        call: ``package.module:function``; modules in the folder of the configuration can be used, too.
        inputs: columns (``pt`` in GeV, ``eta``, ``phi``, ``n_trk``, ``label``, ``run``, ``event``, ...), branches, or
            expressions of branches.
        changes: columns that it returns.
        files: files that it reads; a change of their contents makes results again, as a change of its code does.
    """

    call: str
    inputs: tuple[str, ...] = ("pt", "eta")
    changes: tuple[str, ...] = ("pt",)
    files: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        module, colon, name = self.call.partition(":")
        if not (module and colon and name):
            raise ConfigError(f"got function {self.call!r}, expected package.module:function")
        if not self.changes:
            raise ConfigError(f"function {self.call}: got no changes, expected the names of columns, e.g. pt")


@dataclass(frozen=True)
class Correction:
    """A correction of correctionlib that changes the pT of jets.

    Attributes:
        file: JSON file of correctionlib, packed or not.
        name: name of the correction in the file; compound corrections work, too.
        inputs: its inputs, in its order: columns, branches or expressions as for `JetFunction`, and literal texts after
            an ``=``: ``"=nom"``.
        apply: ``factor`` multiplies pT by its value c; ``up`` by 1 + c; ``down`` by 1 - c.
    """

    file: Path
    name: str
    inputs: tuple[str, ...] = ("pt", "eta")
    apply: Literal["factor", "up", "down"] = "factor"


_loaded: dict[str, UserCode] = {}
"""Module of a function -> its code when it was imported."""


def load_function(call: str, folder: Path) -> Callable[..., Any]:
    """Import a function ``package.module:function``; it is imported again if its code has changed.

    Args:
        call: the text.
        folder: additional folder to search for modules.

    Raises:
        ConfigError: there is no such module or function.
    """
    module, _, name = call.partition(":")
    try:
        importlib.invalidate_caches()  # folders may contain new files
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            sys.path.append(str(folder))
        code = user_code(module)
        if module not in code.modules:
            raise ImportError("there is no such module")
        before = _loaded.get(module, code)
        if before != code:
            for each in before.modules | code.modules:
                sys.modules.pop(each, None)
        _loaded[module] = code
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except Exception as error:  # the import of a user's module may raise anything
        raise ConfigError(
            f"got function {call!r}, which cannot be imported ({error}); expected package.module:function, installed,"
            " on PYTHONPATH, or in the folder where the command runs"
        ) from error
    if not callable(function):
        raise ConfigError(f"got {call!r}, which is no function ({type(function).__name__})")
    return function


def function_digest(function: JetFunction | None, files: Iterable[Path]) -> str:
    """Digest of all that the results of a function and of corrections depend on besides their inputs; empty for none.

    It covers the code of the function (see `user_code`), the contents of the files that it reads and of corrections,
    and the version of correctionlib if that is used.

    Args:
        function: the function; None for none.
        files: files of corrections.

    Raises:
        ConfigError: there is no such function.
        FileError: a file cannot be read.
    """
    parts = []
    if function is not None:
        load_function(function.call, Path.cwd())
        parts = [_loaded[function.call.partition(":")[0]].digest, *map(_digest_of, function.files)]
    of_files = [*map(_digest_of, files)]
    return " ".join([*parts, *of_files, *([f"correctionlib {installed_version('correctionlib')}"] if of_files else [])])


def _digest_of(path: Path) -> str:
    try:
        return _digest(path, FileStamp.of(path))
    except OSError as error:
        raise FileError(f"{path}: cannot be read; expected what jets are changed by ({error})", path=path) from error


@lru_cache(maxsize=256)
def _digest(path: Path, stamp: FileStamp) -> str:
    return file_digest(path)


@lru_cache(maxsize=64)
def _correction(file: Path, name: str, stamp: FileStamp) -> Any:
    """A correction of a file; a file whose stamp has changed is read again."""
    import correctionlib

    try:
        every = correctionlib.CorrectionSet.from_file(str(file))
    except (RuntimeError, ValueError, OSError) as error:
        raise FileError(f"{file}: got no corrections of correctionlib ({error})", path=file) from error
    for kind in (every, every.compound):
        if name in list(kind):
            return kind[name]
    names = ", ".join(sorted([*every, *every.compound]))
    raise ConfigError(f"{file}: got no correction {name!r}, expected one of {names}")


def corrected_pt(correction: Correction, pt: ndarray, values: Mapping[str, ndarray]) -> ndarray:
    """pT of jets after a correction [GeV].

    Args:
        correction: the correction, and how to apply it.
        pt: pT of jets before [GeV].
        values: numbers of each input that is no text.

    Raises:
        ConfigError: there is no such correction, or it takes other inputs.
        FileError: its file cannot be read.
    """
    if len(pt) == 0:
        return pt
    value = evaluated(correction.file, correction.name, correction.inputs, values)
    factor = {"factor": value, "up": 1 + value, "down": 1 - value}[correction.apply]
    changed: ndarray = pt * factor
    return changed


def evaluated(file: Path, name: str, inputs: Sequence[str], values: Mapping[str, ndarray]) -> ndarray:
    """Evaluate a correction of correctionlib for each jet.

    Args:
        file: its file.
        name: its name.
        inputs: its inputs, as `Correction` has them.
        values: numbers of each input that is no text; not empty.

    Raises:
        ConfigError: there is no such correction, or it takes other inputs.
        FileError: its file cannot be read.
    """
    correction = _correction(file, name, FileStamp.of(file))
    given = [each[1:] if each.startswith("=") else _plain(values[each]) for each in inputs]
    try:
        value: ndarray = np.asarray(correction.evaluate(*given), np.float64)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        takes = ", ".join(f"{each.name} ({each.type})" for each in correction.inputs)
        raise ConfigError(
            f"{file}: correction {name!r}: got inputs {', '.join(inputs)}, expected {takes}, inside its bins ({error})"
        ) from error
    return value


def _plain(values: ndarray) -> ndarray:
    """Numbers as correctionlib takes them."""
    return values.astype(np.int64 if values.dtype.kind in "iub" else np.float64)


PerJet = Callable[[str], ndarray]
"""Function that returns one number per jet of a column, a branch or an expression."""

SYSTEMATIC: Final = "systematic"
"""The text input of a scale factor that selects nominal, up or down."""


@dataclass(frozen=True)
class GenJets:
    """Generator jets matched to jets; unmatched jets, or all jets without this table, are smeared by random numbers.

    Attributes:
        pt: branch or expression with the pT of the generator jet matched to each jet, in `Layout.energy_unit`; 0 or
            less if there is none. With `index`, the branch of all generator jets.
        index: branch with the index of the matched generator jet for each jet; any number out of range means none.
        eta: branch with pseudorapidities, as `pt`; needed for `max_distance`.
        phi: branch with azimuths [rad], as `pt`.
        max_distance: upper limit of the distance in eta and phi; usually half of the jet radius.
        max_pull: upper limit of \\|pT - generator pT\\| / (resolution x pT).
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
    """Smearing of the pT of simulated jets (not data), after `Correction` and before `JetFunction`.

    With the relative resolution s and the scale factor c of a jet, its pT is multiplied by
    1 + (c - 1)(pT - generator pT) / pT if it has a matched generator jet, else by 1 + s n sqrt(max(c^2 - 1, 0))
    with a standard normal random number n. The factor is at least 0.

    Attributes:
        file: JSON file of correctionlib, compressed or not.
        resolution: name of the correction with the relative resolution of pT.
        scale_factor: name of the correction with the ratio of the resolutions in data and simulation.
        resolution_inputs: inputs of the resolution, in its order, as for `Correction`.
        scale_factor_inputs: inputs of the scale factor; ``systematic`` stands for the value of that attribute.
        systematic: which value of the scale factor to use. A variation sets ``smearing = "up"`` instead.
        gen: generator jets.
        seed: inputs of correctionlib's ``hashprng``, which gives n: columns, branches or expressions. Leave out the pT,
            so that a jet has the same n in all variations.
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
        keys: dict[str, str] = {}
        for key in ("resolution_inputs", "scale_factor_inputs", "seed"):
            keys |= {text: key for text in getattr(self, key) if text[:1] != "=" and text != SYSTEMATIC}
        gen = self.gen
        keys |= {gen.index: "gen.index"} if gen.index else {}
        keys |= {text: f"gen.{key}" for key in ("pt", "eta", "phi") if (text := getattr(gen, key))}
        return keys


def smeared_pt(
    smearing: Smearing,
    pt: Float64[ndarray, " j"],
    per_jet: PerJet,
    per_gen: Callable[[str], tuple[ndarray, ndarray]],
    counts: Int64[ndarray, " n"],
    unit: float,
) -> Float64[ndarray, " j"]:
    """pT of simulated jets smeared to the resolution of data [GeV].

    Args:
        smearing: corrections, and generator jets.
        pt: pT of each jet before [GeV].
        per_jet: inputs of the smearing for each jet.
        per_gen: number of generator jets of each event, and a branch of all of them.
        counts: number of jets of each event.
        unit: GeV in the unit of the file.

    Raises:
        ConfigError: the file has no such correction, or it takes other inputs.
        FileError: the file cannot be read.
    """
    if len(pt) == 0:
        return pt
    scale_inputs = tuple(f"={smearing.systematic}" if x == SYSTEMATIC else x for x in smearing.scale_factor_inputs)
    numbers = {text: per_jet(text) for text in (*smearing.resolution_inputs, *scale_inputs) if text[:1] != "="}
    resolution = evaluated(smearing.file, smearing.resolution, smearing.resolution_inputs, numbers)
    scale = evaluated(smearing.file, smearing.scale_factor, scale_inputs, numbers)
    seeds = [_plain(per_jet(text)) for text in smearing.seed]
    noise = _generator(tuple("int" if each.dtype.kind == "i" else "real" for each in seeds)).evaluate(*seeds)
    factor = 1 + noise * resolution * np.sqrt(np.maximum(scale**2 - 1, 0))
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
    """For each jet: whether it has a generator jet, whether that is near, and its pT in the unit of the file."""
    n_jets = int(counts.sum())
    read: PerJet = per_jet
    there = np.ones(n_jets, bool)
    if gen.index:
        n_gen, first = per_gen(gen.pt)
        event, number = np.repeat(np.arange(len(counts)), counts), per_jet(gen.index).astype(np.int64)
        there = (number >= 0) & (number < n_gen[event])
        at = np.where(there, (np.cumsum(n_gen) - n_gen)[event] + number, 0)

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


@cache
def _generator(types: tuple[str, ...]) -> Any:
    """The correction of correctionlib that hashes inputs of these types to a normal number, equal on every machine."""
    import correctionlib

    inputs = [{"name": f"x{k}", "type": each} for k, each in enumerate(types)]
    data = {"nodetype": "hashprng", "inputs": [each["name"] for each in inputs], "distribution": "normal"}
    correction = {"name": "n", "version": 1, "inputs": inputs, "output": {"name": "n", "type": "real"}, "data": data}
    return correctionlib.CorrectionSet.from_string(json.dumps({"schema_version": 2, "corrections": [correction]}))["n"]
