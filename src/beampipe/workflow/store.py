"""The store: recipes and their keys, the artifacts made from them, and the event log of a run.

An artifact is written atomically under a key, which is a digest of the code, parameters and inputs it is made from. Its
checksum is verified when it is read.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from beampipe import __version__
from beampipe.errors import ConfigError, FileError
from beampipe.files import append, explained_if_full, flush_to_disk, is_full, sweep, unfinished
from beampipe.identity import bytes_digest, canonical, content_digest, digest_of
from beampipe.notebook import Shown
from beampipe.workflow.leases import leased, sweep_leases


@dataclass(frozen=True)
class EventLog:
    """A log of JSON lines that any number of processes on a machine may share.

    Each line has ``time`` (seconds since 1970), ``event``, ``stage``, ``key``, ``label``, ``pid`` and the additional
    values of the writer. Events of the store are ``start``, ``done``, ``cached`` and ``damaged``; events of a run are
    ``retry``, ``busy`` (another process does the work), ``failed`` and ``pool-broken``.

    Attributes:
        path: the file of the log; it is created, with its folder, with the first event.
    """

    path: Path

    def write(self, event: str, *, stage: str = "", key: str = "", label: str = "", **more: object) -> None:
        """Append one event.

        Args:
            event: name of the event, e.g. ``"done"``.
            stage: name of the stage that it happened in.
            key: key of the artifact that it is about.
            label: name of the artifact or task for people.
            more: additional values; those that JSON does not support are written as text.
        """
        line = {"time": round(time.time(), 3), "event": event, "stage": stage, "key": key, "label": label}
        text = json.dumps({**line, "pid": os.getpid(), **more}, default=str) + "\n"
        append(self.path, text)

    def read(self) -> Iterator[dict[str, object]]:
        """The events of the log, oldest first; incomplete lines of killed writers are skipped."""
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            yield event


STAGE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")
"""Valid names of stages, which are names of folders."""


@dataclass(frozen=True)
class Input:
    """One input of an artifact.

    Attributes:
        name: name of the input within the stage, e.g. ``"events"``.
        key: the key of the recipe that makes the input, or the digest of a file.
        label: name of the input for people, e.g. a path; it does not enter any key.
    """

    name: str
    key: str
    label: str = ""


@dataclass(frozen=True, repr=False)
class Recipe(Shown):
    """All that determines an artifact. Equal keys mean equal bytes, so a stage must be deterministic.

    Attributes:
        stage: name of the stage that makes the artifact: lower-case letters, digits, ``_`` and ``-``.
        code: digest of the stage's code, as by `beampipe.workflow.code_digest`.
        parameters: settings of the stage, of types that `beampipe.workflow.canonical` takes; they must not be modified
            afterwards.
        inputs: the inputs of the artifact; their order enters the key.
        label: name of the artifact for people; it does not enter the key.
    """

    stage: str
    code: str
    parameters: object = None
    inputs: tuple[Input, ...] = ()
    label: str = ""

    def __post_init__(self) -> None:
        if not STAGE_NAME.fullmatch(self.stage):
            raise ConfigError(f"stage: got {self.stage!r}, expected lower-case letters, digits, '_' or '-'")

    def facts(self) -> Mapping[str, object]:
        """The stage, what the artifact is, its key, and the number of its inputs."""
        return {"stage": self.stage, "label": self.label, "key": self.key[:12], "inputs": len(self.inputs)}

    @cached_property
    def key(self) -> str:
        """The key of the artifact, 40 hexadecimal digits; it is a digest of all fields but the labels."""
        inputs = [(source.name, source.key) for source in self.inputs]
        return digest_of([self.stage, self.code, self.parameters, inputs])

    def __str__(self) -> str:
        """The artifact in a message, e.g. ``"fill of dijet 1/3"``."""
        return f"{self.stage} of {self.label or self.key}"


_SIDECAR: Final = ".about.json"
"""Suffix of sidecars, after the key."""

_PARTS: Final = ".parts"
"""The folder of unfinished files, in the root of the store."""

_LEASES: Final = ".leases"
"""The folder of leases, in the root of the store."""

_SUFFIX: Final = re.compile(r"\.[a-z0-9]+(\.[a-z0-9]+)*")
"""Valid suffixes of payloads."""

_messages = logging.getLogger(__name__)


@dataclass(frozen=True)
class Artifact:
    """A committed artifact.

    Attributes:
        stage: name of the stage that made the artifact.
        key: key of the recipe.
        path: the file of the payload.
        digest: XXH3 of the payload, as by `beampipe.workflow.content_digest`.
        size: size of the payload [bytes].
        seconds: time spent on making the artifact [s].
    """

    stage: str
    key: str
    path: Path
    digest: str
    size: int
    seconds: float


@dataclass(frozen=True, repr=False)
class Provenance(Shown):
    """Where an artifact comes from: a tree of inputs that ends in files.

    Attributes:
        name: name of the input within the stage that read it; empty for the root of the tree.
        key: key of the artifact, or the digest of a file.
        label: name of the artifact or file for people.
        about: the sidecar; None for a file, and for an artifact that is no longer in the store.
        inputs: the inputs of the artifact; empty for a file.
    """

    name: str
    key: str
    label: str
    about: Mapping[str, Any] | None
    inputs: tuple[Provenance, ...] = ()

    def facts(self) -> Mapping[str, object]:
        """The stage, what the artifact or file is, its key, and the number of its inputs."""
        stage = "file" if self.about is None else self.about["stage"]
        return {"stage": stage, "label": self.label, "key": self.key[:12], "inputs": len(self.inputs)}


@dataclass(frozen=True)
class Store:
    """A folder of artifacts: payloads ``STAGE/K/KEY.suffix``, each with a sidecar ``KEY.about.json`` beside it.

    Writing the sidecar is the commit: a payload without a sidecar is ignored. Any number of processes may read and
    write, on one machine or on a shared file system. A process holds a lease on an artifact while it makes it, to avoid
    duplicate work. If two processes make the same artifact nevertheless, they write the same bytes, so their order does
    not matter.

    Attributes:
        root: the folder of the store; it is created with the first artifact.
        durable: whether a committed artifact must survive a power failure. The death of a process loses nothing in
            either case.
        log: the log of `get`, `write` and `load`; None for no log.
    """

    root: Path
    durable: bool = True
    log: EventLog | None = field(default=None, compare=False)

    def find(self, recipe: Recipe) -> Artifact | None:
        """The artifact if it is committed and its payload has the right size; the payload is not read."""
        artifact = self._committed(recipe)
        return artifact if artifact is not None and _size(artifact.path) == artifact.size else None

    def load(self, recipe: Recipe) -> Path | None:
        """The path of an artifact's payload, after its digest was verified; None if the store does not have it.

        A damaged payload is renamed to ``NAME.damaged`` and counts as missing, so that the caller makes it again.
        """
        artifact = self._committed(recipe)
        if artifact is None or (size := _size(artifact.path)) is None:
            return None
        path = artifact.path
        if size == artifact.size and content_digest(path) == artifact.digest:
            return path
        self._set_aside(recipe, path)
        return None

    def read(self, recipe: Recipe) -> bytes | None:
        """The contents of a small artifact, read once and verified as by `load`; None if there is none."""
        if (artifact := self._committed(recipe)) is None:
            return None
        with suppress(FileNotFoundError):
            contents = artifact.path.read_bytes()
            if bytes_digest(contents) == artifact.digest:
                return contents
            self._set_aside(recipe, artifact.path)
        return None

    def require(self, recipe: Recipe, command: str = "") -> Path:
        """The payload of an artifact that must be in the store, as by `load`.

        Args:
            recipe: recipe of the artifact.
            command: the command that makes the artifact, for the message of the error.

        Raises:
            FileError: the store does not have the artifact.
        """
        path = self.load(recipe)
        if path is None:
            hint = f"run: {command}" if command else "the command that reads it makes it, or makes it again"
            raise FileError(f"{recipe} is not in {self.root}, or was damaged; {hint}", path=self.root, name=recipe.key)
        return path

    def get(self, recipe: Recipe, suffix: str, make: Callable[[Path], object]) -> Path:
        """The payload of an artifact, as by `load`; a missing artifact is made and committed.

        The call waits while another process makes the artifact.

        Args:
            recipe: recipe of the artifact.
            suffix: how the name of the payload ends, e.g. ``".npz"``.
            make: writes the payload to the path that it is called with, which has that suffix.

        Raises:
            FileError: the disk is full, or `make` wrote nothing.
        """
        path = self.load(recipe)
        if path is None:
            with self.leased(recipe, wait=True):
                path = self.load(recipe)
                if path is None:
                    self._report("start", recipe)
                    return self.write(recipe, suffix, make).path
        self._report("cached", recipe)
        return path

    @contextmanager
    def leased(self, recipe: Recipe, *, wait: bool = False) -> Iterator[None]:
        """Hold the lease on an artifact during the block: the exclusive right to make it.

        The lease ends when the holding process dies. After acquiring it, check again whether the artifact exists.

        Args:
            recipe: recipe of the artifact.
            wait: wait while another process holds the lease.

        Raises:
            BusyError: another process holds it.
            FileError: the disk is full.
        """
        with self._explained_if_full(recipe):
            self._make_folder(self.root / _LEASES)
            with leased(self.root / _LEASES / recipe.key, wait=wait):
                yield

    def write(
        self,
        recipe: Recipe,
        suffix: str,
        make: Callable[[Path], object],
        *,
        seconds: float = 0.0,
        notes: Mapping[str, object] | None = None,
        inputs: Sequence[Input] | None = None,
    ) -> Artifact:
        """Make and commit an artifact, whether or not the store has it.

        Args:
            recipe: recipe of the artifact.
            suffix: how the name of the payload ends, e.g. ``".npz"``.
            make: writes the payload to the path that it is called with, which has that suffix.
            seconds: time spent on the artifact before [s]; that of `make` is added.
            notes: additional entries of the sidecar, of types that `beampipe.workflow.canonical` takes.
            inputs: artifacts that were read in place of the inputs of the recipe, with the same result; for provenance.

        Raises:
            ConfigError: the suffix is invalid.
            FileError: the disk is full, or `make` wrote nothing.
        """
        if not _SUFFIX.fullmatch(suffix):
            raise ConfigError(f"suffix: got {suffix!r}, expected a dot and lower-case letters or digits")
        folder = self._folder(recipe.stage, recipe.key)
        start = time.perf_counter()
        with self._explained_if_full(recipe):
            self._make_folder(folder)
            with self._part(suffix) as part, explained_if_full(part, part):
                make(part)
                if not part.is_file():
                    raise FileError(f"{recipe}: nothing was written to {part.name}", path=part, name=recipe.key)
                size, digest = part.stat().st_size, content_digest(part)
                seconds = round(seconds + time.perf_counter() - start, 6)
                artifact = Artifact(recipe.stage, recipe.key, folder / f"{recipe.key}{suffix}", digest, size, seconds)
                self._commit(part, artifact.path)
            with self._part(_SIDECAR) as part:
                part.write_bytes(canonical(_sidecar_of(recipe, artifact, notes or {}, inputs)) + b"\n")
                self._commit(part, folder / f"{recipe.key}{_SIDECAR}")
            self._sync(folder)
        self._report("done", recipe, seconds=round(seconds, 3))
        return artifact

    def about(self, key: str) -> dict[str, Any]:
        """The sidecar of an artifact.

        Raises:
            FileError: the store has no artifact of that key.
        """
        sidecars = list(self.root.glob(f"*/{key[:1]}/{key}{_SIDECAR}")) if re.fullmatch("[0-9a-f]{40}", key) else []
        if not sidecars:
            raise FileError(f"{self.root}: there is no artifact {key!r}", path=self.root, name=key)
        return dict(json.loads(sidecars[0].read_bytes()))

    def walk(self, key: str) -> Provenance:
        """Where an artifact comes from, down to files.

        Raises:
            FileError: the store has no artifact of that key.
        """
        start = self.about(key)
        stages = [folder.name for folder in self.root.iterdir() if STAGE_NAME.fullmatch(folder.name)]
        seen: dict[tuple[str, str], Provenance] = {}

        def node(source: Mapping[str, str]) -> Provenance:
            # Shared inputs share one node: the tree would otherwise grow exponentially with the number of layers.
            identity = source["key"], source["label"]
            if identity not in seen:
                candidates = (self._sidecar(stage, source["key"]) for stage in stages)
                about = next((about for about in candidates if about is not None), None)
                inputs = tuple(node(below) for below in about["inputs"]) if about else ()
                label = about["label"] if about else source["label"]
                seen[identity] = Provenance(source["name"], source["key"], label or source["label"], about, inputs)
            return replace(seen[identity], name=source["name"])

        return node({"name": "", "key": start["key"], "label": start["label"]})

    def count(self) -> int:
        """The number of committed artifacts."""
        return sum(1 for _ in self.root.glob(f"*/?/*{_SIDECAR}"))

    def sweep(self) -> int:
        """Remove the unfinished files and the leases of dead writers; returns the number of unfinished files."""
        sweep_leases(self.root / _LEASES)
        return sweep(self.root / _PARTS)

    def _set_aside(self, recipe: Recipe, path: Path, why: str = "contents differ from what was written") -> None:
        """Rename a file that is not what its name says, unless another process has just done so."""
        aside = path.with_name(f"{path.name}.damaged")
        try:
            path.replace(aside)
        except FileNotFoundError:
            return
        _messages.warning("%s: %s; moved to %s, to be made again", path, why, aside.name)
        self._report("damaged", recipe, file=aside.name)

    def _folder(self, stage: str, key: str) -> Path:
        return self.root / stage / key[:1]

    def _committed(self, recipe: Recipe) -> Artifact | None:
        """The artifact according to its sidecar; the payload is not checked. None without a valid sidecar.

        A sidecar of another recipe, as after files of a store were copied or renamed, is set aside.
        """
        about, folder = self._sidecar(recipe.stage, recipe.key), self._folder(recipe.stage, recipe.key)
        if about is None or "digest" not in about:  # earlier versions wrote a SHA-256 instead
            return None
        file = str(about.get("file"))
        of_recipe = (about.get("stage"), about.get("key")) == (recipe.stage, recipe.key)
        if not of_recipe or Path(file).name != file or not file.startswith(f"{recipe.key}."):
            self._set_aside(recipe, folder / f"{recipe.key}{_SIDECAR}", f"it is that of {about.get('label')!r}, {file}")
            return None
        return Artifact(recipe.stage, recipe.key, folder / file, about["digest"], about["size"], about["seconds"])

    def _sidecar(self, stage: str, key: str) -> dict[str, Any] | None:
        """The sidecar of an artifact; None if it is missing or damaged."""
        try:
            about = json.loads((self._folder(stage, key) / f"{key}{_SIDECAR}").read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return about if isinstance(about, dict) else None

    def _part(self, suffix: str) -> AbstractContextManager[Path]:
        self._make_folder(self.root / _PARTS)
        return unfinished(self.root / _PARTS, suffix)

    def _commit(self, part: Path, path: Path) -> None:
        """Rename a finished file to its final name, after its contents have reached the disk."""
        self._sync(part)
        part.replace(path)

    def _make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            self._sync(folder.parent)

    def _sync(self, path: Path) -> None:
        if self.durable:
            flush_to_disk(path)

    @contextmanager
    def _explained_if_full(self, recipe: Recipe) -> Iterator[None]:
        """Say of a full disk which artifact was written; as a `FileError` it is not retried, which would not help."""
        try:
            with explained_if_full(self._folder(recipe.stage, recipe.key) / recipe.key):
                yield
        except FileError as error:
            if not is_full(error):
                raise
            message = f"disk full while writing {recipe}: {self.count()} artifacts finished are kept; {error}"
            raise FileError(message, path=self.root, name=recipe.key) from error.__cause__

    def _report(self, event: str, recipe: Recipe, **more: object) -> None:
        if self.log is not None:
            self.log.write(event, stage=recipe.stage, key=recipe.key, label=recipe.label, **more)


def _sidecar_of(
    recipe: Recipe, artifact: Artifact, notes: Mapping[str, object], inputs: Sequence[Input] | None
) -> dict[str, object]:
    """The contents of a sidecar; numpy is in its versions only if it is loaded, as other stages do not depend on it."""
    versions = {"python": platform.python_version(), "beampipe": __version__}
    if (numpy := sys.modules.get("numpy")) is not None:
        versions["numpy"] = numpy.__version__
    return {
        "stage": recipe.stage,
        "key": recipe.key,
        "label": recipe.label,
        "file": artifact.path.name,
        "digest": artifact.digest,
        "size": artifact.size,
        "seconds": artifact.seconds,
        "code": recipe.code,
        "parameters": recipe.parameters,
        "inputs": recipe.inputs if inputs is None else inputs,
        "versions": versions,
        "notes": dict(notes),
    }


def _size(path: Path) -> int | None:
    """The size of a file [bytes]; None if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
