"""Functions that change jets: of this package, of users, or from a file of correctionlib; their code is in the key."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy import ndarray

from beampipe.calibration.layout.own_code import OwnCode, own_code
from beampipe.errors import ConfigError, FileError
from beampipe.workflow import Looks, file_digest, installed_version

__all__ = ["Correction", "JetFunction", "corrected_pt", "evaluated", "function_digest", "load_function"]


@dataclass(frozen=True)
class JetFunction:
    """A function that changes columns of jets.

    It is called with a mapping from the names of `inputs` to arrays, one number for each jet of a range of events
    (numbers of the event are repeated for each of its jets), and returns a mapping from the names of `changes` to
    arrays of the same length, pT in GeV. It must give the same for the same jet, whatever is read beside it: random
    numbers come from `run` and `event`.

    Attributes:
        call: ``package.module:function``; a module beside the configuration is found, too.
        inputs: columns (``pt`` in GeV, ``eta``, ``phi``, ``n_trk``, ``label``, ``run``, ``event``, ...), branches, or
            expressions of branches.
        changes: columns that it returns.
        files: files that it reads; their bytes count as its code does.
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
        name: name of the correction in the file; a compound one will do.
        inputs: what it takes, in its order: columns, branches or expressions as for `JetFunction`, and texts that
            stand for themselves, with ``=`` before them: ``"=nom"``.
        apply: ``factor`` multiplies pT by its value c; ``up`` by 1 + c; ``down`` by 1 - c.
    """

    file: Path
    name: str
    inputs: tuple[str, ...] = ("pt", "eta")
    apply: Literal["factor", "up", "down"] = "factor"


_loaded: dict[str, OwnCode] = {}
"""Module of a function -> its code when it was loaded."""


def load_function(call: str, folder: Path) -> Callable[..., Any]:
    """The function that a text ``package.module:function`` names; loaded again if its code has changed.

    Args:
        call: the text.
        folder: where modules are found, too, that are not installed.

    Raises:
        ConfigError: there is no such module or function.
    """
    module, _, name = call.partition(":")
    try:
        code = _code(module, folder)
        before = _loaded.get(module, code)
        if before != code:
            for each in before.modules | code.modules:
                sys.modules.pop(each, None)
        _loaded[module] = code
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a module of a user raises when it is imported
        raise ConfigError(
            f"got function {call!r}, which cannot be imported ({error}); expected package.module:function, installed,"
            " on PYTHONPATH, or in the folder where the command runs"
        ) from error
    if not callable(found):
        raise ConfigError(f"got {call!r}, which is no function ({type(found).__name__})")
    made: Callable[..., Any] = found
    return made


def _code(module: str, folder: Path) -> OwnCode:
    """What the module of a function is made of, as its files are now."""
    importlib.invalidate_caches()  # of folders, in which there may be new files
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        sys.path.append(str(folder))
    code = own_code(module)
    if module not in code.modules:
        raise ImportError("there is no such module")
    return code


def function_digest(function: JetFunction | None, files: Iterable[Path]) -> str:
    """What the results of a function and of corrections depend on beside their inputs; empty for none.

    That is the code of the function, see `own_code`, the bytes of the files that it reads and of corrections, and the
    version of correctionlib, if there are any of these.

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
        return _digest(path, Looks.of(path))
    except OSError as error:
        raise FileError(f"{path}: cannot be read; expected what jets are changed by ({error})", path=path) from error


@lru_cache(maxsize=256)
def _digest(path: Path, looks: Looks) -> str:
    return file_digest(path)


@lru_cache(maxsize=64)
def _correction(file: Path, name: str, looks: Looks) -> Any:
    """A correction of a file; one that looks otherwise is read anew."""
    import correctionlib

    try:
        every = correctionlib.CorrectionSet.from_file(str(file))
    except (RuntimeError, ValueError, OSError) as error:
        raise FileError(f"{file}: got no corrections of correctionlib ({error})", path=file) from error
    for kind in (every, every.compound):
        if name in list(kind):
            return kind[name]
    known = ", ".join(sorted([*every, *every.compound]))
    raise ConfigError(f"{file}: got no correction {name!r}, expected one of {known}")


def corrected_pt(correction: Correction, pt: ndarray, values: Mapping[str, ndarray]) -> ndarray:
    """pT of jets after a correction [GeV].

    Args:
        correction: which one, and how.
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
    """What a correction of correctionlib gives for each jet.

    Args:
        file: its file.
        name: its name.
        inputs: its inputs, as `Correction` has them.
        values: numbers of each input that is no text; not empty.

    Raises:
        ConfigError: there is no such correction, or it takes other inputs.
        FileError: its file cannot be read.
    """
    found = _correction(file, name, Looks.of(file))
    given = [each[1:] if each.startswith("=") else _plain(values[each]) for each in inputs]
    try:
        value: ndarray = np.asarray(found.evaluate(*given), np.float64)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        takes = ", ".join(f"{each.name} ({each.type})" for each in found.inputs)
        raise ConfigError(
            f"{file}: correction {name!r}: got inputs {', '.join(inputs)}, expected {takes}, inside its bins ({error})"
        ) from error
    return value


def _plain(values: ndarray) -> ndarray:
    """Numbers as correctionlib takes them."""
    return values.astype(np.int64 if values.dtype.kind in "iub" else np.float64)
