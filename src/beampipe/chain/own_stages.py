"""Stages of a user in place of shipped ones: a class in a file, in a module, or of a plug-in.

The class is a frozen dataclass of settings, with a method `make` whose parameters name what it needs::

    @dataclass(frozen=True)
    class LargeCells:
        cell: float = 0.2

        def make(self, collisions: Collisions, seed: int) -> Towers: ...
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_type_hints

import numpy as np
from numpy import ndarray

from beampipe.chain.collisions import read_collisions, read_towers
from beampipe.chain.settings import StageUse
from beampipe.chain.tables import JetEvents, TrackEvents
from beampipe.errors import ConfigError
from beampipe.identity import FileStamp, digest_of, user_code
from beampipe.plugins import load_plugin, plugin_digest, plugin_names
from beampipe.settings import build
from beampipe.simulation.calorimeter import Towers
from beampipe.simulation.pythia import CollisionPool, Collisions
from beampipe.tables import load_table, save_tables

if TYPE_CHECKING:
    from beampipe.chain.recipes import Chunk

READ: Final[Mapping[str, tuple[str, Callable[[Chunk, Path], object]]]] = {
    "collisions": ("generate", lambda chunk, path: read_collisions(path)),
    "pool": ("generate", lambda chunk, path: load_table(path, "pool", CollisionPool)),
    "events": ("simulate", lambda chunk, path: chunk.events(path)),
    "towers": ("towers", lambda chunk, path: read_towers(path)),
    "tracks": ("tracks", lambda chunk, path: TrackEvents.load(path)),
}
"""Parameter of `make` -> the stage that makes its value, and how it is read."""

GIVEN: Final[Mapping[str, Callable[[Chunk], object]]] = {
    "seed": lambda chunk: chunk.seed(6),
    "n_events": lambda chunk: chunk.n_events,
}
"""Parameter of `make` -> its value."""


def _write_generated(path: Path, made: Any) -> None:
    if not isinstance(made, tuple) or len(made) != 2:
        raise ConfigError(f"got {type(made).__name__}, expected two: Collisions and CollisionPool")
    save_tables(path, collisions=checked(made[0], Collisions), pool=checked(made[1], CollisionPool))


def _write_events(path: Path, made: Any) -> None:
    from beampipe.tracking.formats.parquet import write_events

    write_events(path, made)


WRITE: Final[Mapping[str, Callable[[Path, Any], object]]] = {
    "generate": _write_generated,
    "simulate": _write_events,
    "towers": lambda path, made: save_tables(path, towers=checked(made, Towers)),
    "tracks": lambda path, made: checked(made, TrackEvents).save(path),
    "jets": lambda path, made: checked(made, JetEvents).save(path),
}
"""Stage -> how what `make` returns is checked and written."""


@dataclass(frozen=True)
class OwnStage:
    """A stage of a user.

    Attributes:
        name: name of the stage that it replaces.
        inputs: stages whose artifacts it reads.
        digest: digest of its code.
        stage: the instance, with its settings.
        parameters: parameters of `make`, and whether each has no default.
    """

    name: str
    inputs: tuple[str, ...]
    digest: str
    stage: Any
    parameters: Mapping[str, bool]

    def make(self, chunk: Chunk, path: Path, inputs: Mapping[str, Path]) -> None:
        """Make the artifact of a chunk."""
        values: dict[str, Any] = {}
        for name, is_needed in self.parameters.items():
            if name in GIVEN:
                values[name] = GIVEN[name](chunk)
            elif READ[name][0] in inputs:
                values[name] = READ[name][1](chunk, inputs[READ[name][0]])
            elif is_needed:
                raise ConfigError(
                    f"stage {self.name}: needs {name}, which {chunk.label} has not: it starts with files; give the"
                    " parameter a default, which is used then"
                )
        try:
            WRITE[self.name](path, self.stage.make(**values))
        except ConfigError as error:
            raise ConfigError(f"stage {self.name} ({type(self.stage).__name__}) of {chunk.label}: {error}") from error


def own_stage(use: StageUse) -> OwnStage:
    """The stage that a table ``[stage.NAME]`` describes.

    Raises:
        ConfigError: there is no such class, it is no dataclass with a method `make` that fits, or its settings do not.
    """
    if use.file is None:
        return _own_stage(use, ())
    beside = {use.file, *use.file.parent.glob("*.py"), *use.file.parent.glob("*/*.py")}  # it may import these
    return _own_stage(use, tuple(map(FileStamp.of, sorted(beside))))


@lru_cache(maxsize=64)
def _own_stage(use: StageUse, stamps: tuple[FileStamp, ...]) -> OwnStage:
    kind, digest = _class_of(use)
    where = f"[stage.{use.name}]"
    if not (isinstance(kind, type) and is_dataclass(kind) and callable(getattr(kind, "make", None))):
        raise ConfigError(f"{where}: got {use.use}, expected a dataclass with a method `make`")
    parameters = list(inspect.signature(kind.make).parameters.values())[1:]  # type: ignore[attr-defined]
    earlier = list(WRITE)[: list(WRITE).index(use.name)]
    known = [*GIVEN, *(name for name, (stage, _) in READ.items() if stage in earlier)]
    for each in parameters:
        if each.name not in known:
            raise ConfigError(f"{where}: make of {use.use} needs {each.name!r}, expected some of {', '.join(known)}")
    needed = {each.name: each.default is each.empty for each in parameters}
    inputs = tuple(dict.fromkeys(READ[name][0] for name in needed if name in READ))
    stage = build(kind, json.loads(use.options), where, Path() if use.file is None else use.file.parent)
    return OwnStage(use.name, inputs, digest, stage, needed)


def _class_of(use: StageUse) -> tuple[Any, str]:
    """The class of a stage, and the digest of its code."""
    module, colon, name = use.use.rpartition(":")
    if not colon:
        if use.use not in plugin_names("stages"):
            raise ConfigError(
                f"[stage.{use.name}]: got {use.use!r}, expected FILE.py:CLASS, MODULE:CLASS, or one of the plug-ins"
                f" {', '.join(plugin_names('stages')) or '(none)'}"
            )
        return load_plugin("stages", use.use), plugin_digest("stages", use.use)
    try:
        if use.file is None:
            digest = user_code(module).digest
            return getattr(importlib.import_module(module), name), digest_of([name, digest])
        with _importing_from(use.file.parent):
            code = user_code(use.file.stem, use.file)
            digest = digest_of([name, code.digest])
            for each in code.modules & sys.modules.keys():  # of another folder, or as they were before a change
                del sys.modules[each]
            module = f"beampipe_stage_{digest}"
            spec = importlib.util.spec_from_file_location(module, use.file)
            assert spec is not None
            assert spec.loader is not None
            sys.modules[module] = loaded = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded)
            return getattr(loaded, name), digest
    except Exception as error:  # whatever the user's code raises while it is imported
        raise ConfigError(
            f"[stage.{use.name}]: {use.use} cannot be imported: {type(error).__name__}: {error}"
        ) from error


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Let modules of this folder be imported."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def schema(kind: type) -> dict[str, tuple[np.dtype[Any], str]]:
    """Type and shape of each array of a dataclass, by its name, from the annotations: ``Float64[ndarray, " n"]``."""
    out = {}
    for each in fields(kind):
        head, bracket, shape = str(each.type).partition("[ndarray, ")
        if bracket:
            out[each.name] = (np.dtype(head.lower()), shape.strip(" \"]'"))
    return out


def checked(table: Any, kind: type) -> Any:
    """A table of this dataclass, whose arrays have the declared types, and one length where one is declared.

    Raises:
        ConfigError: they do not.
    """
    if not isinstance(table, kind):
        raise ConfigError(f"got {type(table).__name__}, expected {kind.__name__}")
    lengths: dict[str, tuple[str, int]] = {}
    arrays = schema(kind)
    for each in fields(kind):
        values = getattr(table, each.name)
        if each.name not in arrays:
            if is_dataclass(values):
                checked(values, type(values))
            continue
        dtype, shape = arrays[each.name]
        if not isinstance(values, ndarray) or values.dtype != dtype or values.ndim != len(shape.split()):
            got = f"{values.dtype} {values.shape}" if isinstance(values, ndarray) else type(values).__name__
            raise ConfigError(f"{kind.__name__}.{each.name}: got {got}, expected {dtype} ({shape})")
        for size, length in zip(shape.split(), values.shape, strict=True):
            other, expected = lengths.setdefault(size, (each.name, length))
            if length != expected or (size.isdigit() and length != int(size)):
                raise ConfigError(
                    f"{kind.__name__}.{each.name}: got the length {length}, expected {expected}, that of {other}"
                )
    return table


_UNITS: Final = {
    **dict.fromkeys(("pt", "true_pt", "momentum", "parton", "mass"), "GeV"),
    **dict.fromkeys(("vertex", "vertex_dz"), "mm"),
    "phi": "rad",
    "charge": "e",
}
"""Units of columns, whatever table they are in."""


def columns_of(tables: Iterable[type]) -> str:
    """Columns of tables with their types and units, for people."""
    parts = []
    for kind in tables:
        within = [each for each in get_type_hints(kind).values() if each.__module__ == TrackEvents.__module__]
        columns = [
            f"{name} {dtype}{f' [{_UNITS[name]}]' if name in _UNITS else ''}"
            for name, (dtype, _) in schema(kind).items()
        ]
        parts.append(
            f"{kind.__name__}({', '.join(columns) or columns_of(within)})" if columns or within else kind.__name__
        )
    return "; ".join(parts)
