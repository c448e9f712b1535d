"""Artifacts under keys made from what they were made of: written whole or not at all, checked when read."""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from beampipe import __version__
from beampipe.errors import ConfigError, FileError
from beampipe.files import sweep, unfinished
from beampipe.workflow.digest import canonical, digest_of, file_digest
from beampipe.workflow.events import EventLog

__all__ = ["Artifact", "Input", "Provenance", "Recipe", "Store"]

_ABOUT = ".about.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_SUFFIX = re.compile(r"\.[a-z0-9]+(\.[a-z0-9]+)*")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PARTS = ".parts"
_messages = logging.getLogger(__name__)


@dataclass(frozen=True)
class Input:
    """One thing that an artifact is made of.

    Attributes:
        name: what it is to the stage, e.g. ``"events"``.
        key: the key of another recipe, or the digest of a file.
        label: what it is to a reader, e.g. a path; no part of any key.
    """

    name: str
    key: str
    label: str = ""


@dataclass(frozen=True)
class Recipe:
    """All that determines an artifact. Equal keys, equal bytes: a stage must be deterministic.

    Attributes:
        stage: which stage makes it: lower case, digits, ``_``, ``-``.
        code: digest of the stage's code.
        parameters: its settings, anything that `beampipe.workflow.canonical` takes; not to be changed afterwards.
        inputs: what it is made of; their order counts.
        label: what it is to a reader; no part of the key.
    """

    stage: str
    code: str
    parameters: object = None
    inputs: tuple[Input, ...] = ()
    label: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.stage):
            raise ConfigError(f"stage: got {self.stage!r}, expected lower-case letters, digits, '_' or '-'")

    @cached_property
    def key(self) -> str:
        """40 hexadecimal digits."""
        return digest_of([self.stage, self.code, self.parameters, [(each.name, each.key) for each in self.inputs]])


@dataclass(frozen=True)
class Artifact:
    """A committed artifact.

    Attributes:
        stage: the stage that made it.
        key: the key of its recipe.
        path: its payload.
        sha256: digest of the payload.
        size: of the payload [bytes].
        seconds: how long it took to make.
    """

    stage: str
    key: str
    path: Path
    sha256: str
    size: int
    seconds: float


@dataclass(frozen=True)
class Provenance:
    """Where something comes from, down to files.

    Attributes:
        name: what it is to the stage that read it; empty for the one that was asked for.
        key: its key, or the digest of the file.
        label: what it is to a reader.
        about: its sidecar; None for a file, or for an artifact that the store no longer has.
        inputs: what it was made of.
    """

    name: str
    key: str
    label: str
    about: Mapping[str, Any] | None
    inputs: tuple[Provenance, ...] = ()


@dataclass(frozen=True)
class Store:
    """A folder of artifacts, ``STAGE/KE/KEY.suffix`` with ``KEY.about.json`` beside each.

    The sidecar is the commit: a payload without one does not count. Any number of processes may read and write, on one
    machine or on a shared file system; two that make the same artifact at once replace it by itself.

    Attributes:
        root: the folder; made when something is written.
        durable: whether a committed artifact must survive a power failure. A process that dies costs nothing either
            way.
        log: where `get`, `write` and `load` report.
    """

    root: Path
    durable: bool = True
    log: EventLog | None = field(default=None, compare=False)

    def find(self, recipe: Recipe) -> Artifact | None:
        """The artifact if it is committed and of the right size; its contents are not read."""
        about = self._sidecar(recipe.stage, recipe.key)
        if about is None:
            return None
        path = self._folder(recipe.stage, recipe.key) / about["file"]
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return None
        if size != about["size"]:
            return None
        return Artifact(recipe.stage, recipe.key, path, about["sha256"], size, about["seconds"])

    def load(self, recipe: Recipe) -> Path | None:
        """The payload, after its digest was compared; None if it is not there.

        A damaged one is moved aside to ``NAME.damaged``, and is then not there: whoever asked makes it again.
        """
        about = self._sidecar(recipe.stage, recipe.key)
        if about is None:
            return None
        path = self._folder(recipe.stage, recipe.key) / str(about["file"])
        if not path.exists():
            return None
        if path.stat().st_size == about["size"] and file_digest(path) == about["sha256"]:
            return path
        aside = path.with_name(f"{path.name}.damaged")
        path.replace(aside)
        _messages.warning("%s: contents differ from what was written; moved to %s, to be made again", path, aside.name)
        self._report("damaged", recipe, file=aside.name)
        return None

    def require(self, recipe: Recipe, command: str = "") -> Path:
        """The payload, as by `load`.

        Args:
            recipe: what is needed.
            command: what to run if it is not there.

        Raises:
            FileError: it is not there.
        """
        path = self.load(recipe)
        if path is None:
            hint = f"; run: {command}" if command else f"; run the stage {recipe.stage!r} first"
            raise FileError(f"{recipe.stage} of {recipe.label or recipe.key} is not in {self.root}{hint}")
        return path

    def get(self, recipe: Recipe, suffix: str, make: Callable[[Path], object]) -> Path:
        """The payload, as by `load`; made if it is not there.

        Args:
            recipe: what is wanted.
            suffix: of its file, e.g. ``".npz"``.
            make: writes it to the path it is called with.

        Raises:
            FileError: the disk is full.
        """
        path = self.load(recipe)
        if path is not None:
            self._report("cached", recipe)
            return path
        self._report("start", recipe)
        return self.write(recipe, suffix, make).path

    def write(
        self,
        recipe: Recipe,
        suffix: str,
        make: Callable[[Path], object],
        *,
        seconds: float = 0.0,
        notes: Mapping[str, object] | None = None,
    ) -> Artifact:
        """Make and commit an artifact, whether or not it is there.

        Args:
            recipe: what it is.
            suffix: of its file, e.g. ``".npz"``.
            make: writes the payload to the path it is called with, which has that suffix.
            seconds: time spent on it before; that of `make` is added.
            notes: goes into the sidecar.

        Raises:
            FileError: the disk is full, or `make` wrote nothing.
        """
        if not _SUFFIX.fullmatch(suffix):
            raise ConfigError(f"suffix: got {suffix!r}, expected a dot and lower-case letters or digits")
        folder = self._folder(recipe.stage, recipe.key)
        start = time.perf_counter()
        with self._room(recipe):
            self._make_folder(folder)
            with self._part(suffix) as part:
                make(part)
                if not part.is_file():
                    raise FileError(
                        f"{recipe.stage} of {recipe.label or recipe.key}: nothing was written to {part.name}"
                    )
                size, sha256 = part.stat().st_size, file_digest(part)
                seconds += time.perf_counter() - start
                path = folder / f"{recipe.key}{suffix}"
                self._commit(part, path)
            about = {
                "stage": recipe.stage,
                "key": recipe.key,
                "label": recipe.label,
                "file": path.name,
                "sha256": sha256,
                "size": size,
                "seconds": round(seconds, 6),
                "code": recipe.code,
                "parameters": recipe.parameters,
                "inputs": [{"name": each.name, "key": each.key, "label": each.label} for each in recipe.inputs],
                "versions": _versions(),
                "notes": dict(notes or {}),
            }
            with self._part(_ABOUT) as part:
                part.write_text(json.dumps(json.loads(canonical(about)), indent=1) + "\n")
                self._commit(part, folder / f"{recipe.key}{_ABOUT}")
            self._sync(folder)
        self._report("done", recipe, seconds=round(seconds, 3))
        return Artifact(recipe.stage, recipe.key, path, sha256, size, round(seconds, 6))

    def about(self, key: str) -> dict[str, Any]:
        """The sidecar of an artifact.

        Args:
            key: its key, or the first digits of it, at least two.

        Raises:
            FileError: there is none.
            ConfigError: there are several.
        """
        found = sorted(self.root.glob(f"*/{key[:2]}/{key}*{_ABOUT}")) if re.fullmatch("[0-9a-f]{2,40}", key) else []
        if not found:
            raise FileError(f"{self.root}: there is no artifact {key!r}")
        if len(found) > 1:
            names = ", ".join(f"{path.name.removesuffix(_ABOUT)} ({path.parent.parent.name})" for path in found[:5])
            raise ConfigError(f"key: got {key!r}, which {len(found)} artifacts begin with: {names}")
        return dict(json.loads(found[0].read_bytes()))

    def walk(self, key: str) -> Provenance:
        """Where an artifact comes from.

        Args:
            key: as for `about`.

        Raises:
            FileError: there is none.
            ConfigError: there are several.
        """
        start = self.about(key)
        stages = [folder.name for folder in self.root.iterdir() if _NAME.fullmatch(folder.name)]
        seen: dict[tuple[str, str], Provenance] = {}

        def node(each: Mapping[str, str]) -> Provenance:
            # Artifacts that share an input share its node, or a diamond in every layer would double the tree each time.
            place = each["key"], each["label"]
            if place not in seen:
                found = (self._sidecar(stage, each["key"]) for stage in stages)
                about = next((about for about in found if about is not None), None)
                inputs = tuple(node(other) for other in about["inputs"]) if about else ()
                label = about["label"] if about else each["label"]
                seen[place] = Provenance(each["name"], each["key"], label or each["label"], about, inputs)
            return replace(seen[place], name=each["name"])

        return node({"name": "", "key": start["key"], "label": start["label"]})

    def count(self) -> int:
        """How many artifacts there are."""
        return sum(1 for _ in self.root.glob(f"*/??/*{_ABOUT}"))

    def sweep(self) -> int:
        """Remove what dead writers left unfinished, as `beampipe.files.sweep` says; returns the number of files."""
        return sweep(self.root / _PARTS)

    def _folder(self, stage: str, key: str) -> Path:
        return self.root / stage / key[:2]

    def _sidecar(self, stage: str, key: str) -> dict[str, Any] | None:
        """The sidecar of an artifact; None if there is none, or one that a failing disk has torn."""
        try:
            return dict(json.loads((self._folder(stage, key) / f"{key}{_ABOUT}").read_bytes()))
        except (FileNotFoundError, ValueError):
            return None

    def _part(self, suffix: str) -> AbstractContextManager[Path]:
        self._make_folder(self.root / _PARTS)
        return unfinished(self.root / _PARTS, suffix)

    def _commit(self, part: Path, path: Path) -> None:
        """Give a finished file its name, after its contents have reached the disk."""
        self._sync(part)
        part.replace(path)

    def _make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            self._sync(folder.parent)

    def _sync(self, path: Path) -> None:
        if not self.durable:
            return
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _room(self, recipe: Recipe) -> Iterator[None]:
        """A full disk is nobody's fault, and trying again does not help."""
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise FileError(
                f"disk full while writing {recipe.stage} of {recipe.label or recipe.key} to {self.root}: "
                f"{self.count()} artifacts finished are kept; free space and run the same command again"
            ) from error

    def _report(self, event: str, recipe: Recipe, **more: object) -> None:
        if self.log is not None:
            self.log.write(event, stage=recipe.stage, key=recipe.key, label=recipe.label, **more)


def _versions() -> dict[str, str]:
    """What ran; numpy's only if it is loaded: a stage that does not use it does not depend on it."""
    found = {"python": platform.python_version(), "beampipe": __version__}
    numpy = sys.modules.get("numpy")
    return found if numpy is None else {**found, "numpy": numpy.__version__}
