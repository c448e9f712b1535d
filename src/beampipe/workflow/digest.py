"""Digests of settings, of code and of files, which the key of an artifact is made of."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Final, NamedTuple

from beampipe.errors import ConfigError, FileError, MissingExtraError
from beampipe.files import write_whole
from beampipe.workflow.leases import leased

__all__ = [
    "NO_RESULT",
    "FileDigests",
    "Looks",
    "canonical",
    "code_digest",
    "content_digest",
    "digest_of",
    "file_digest",
]

NO_RESULT: Final = (
    "beampipe.errors",
    "beampipe.files",
    "beampipe.processes",
    "beampipe.terminal",
    "beampipe.workflow",
)
"""Modules whose code shapes no result, though every stage may use them: texts of errors, how files are written, what is
printed, how tasks are run."""

_BLOCK: Final = 1 << 20
"""Bytes that are read at once."""

_DIGEST: Final = re.compile("[0-9a-f]{32}")
"""A remembered digest that was written whole."""

_RACY_SECONDS: Final = 2.0
"""A file that changed within this time [s] before it was hashed may change again within the same tick of its clock."""


def canonical(value: object) -> bytes:
    """The one JSON text that stands for a value: keys sorted, no spaces, floats by `repr`.

    Args:
        value: anything made of None, bool, int, finite float, str, lists, tuples, mappings, dataclasses (as the mapping
            of their fields; the name of the class does not count) and paths (as text). Keys of mappings are written as
            text.

    Raises:
        ConfigError: the value holds something else, or a NaN or infinity.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"settings cannot be digested: {error}; got {value!r:.200}") from error
    return text.encode()


def _plain(value: object) -> object:
    """Dataclasses, mappings and paths as types that JSON knows."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, PurePath):
        return str(value)
    raise ConfigError(
        f"settings cannot be digested: got {value!r:.80} of type {type(value).__name__}, "
        "expected numbers, text, lists, mappings, dataclasses or paths"
    )


def digest_of(value: object) -> str:
    """The digest of a value: the first 40 hexadecimal digits of the SHA-256 of its `canonical` text."""
    return hashlib.sha256(canonical(value)).hexdigest()[:40]


def code_digest(module: str, root: str = "beampipe", but: Iterable[str] = NO_RESULT) -> str:
    """Digest of the code that a stage runs: a module and all modules of its package that it imports, directly or not.

    Comments, docstrings, formatting and imports for the type checker do not count; any other line does. The files are
    read; nothing is imported but `root`. Other packages, compiled code, data files and modules that are imported by a
    name made at run time are not seen: if a result depends on one, its version or digest belongs among the parameters
    of the recipe.

    Args:
        module: the module that the stage starts in, e.g. ``"beampipe.calibration.histograms.fill"``.
        root: the package whose modules count.
        but: modules or packages that do not count.

    Returns:
        40 hexadecimal digits; the same code gives the same digits in one version of Python.

    Raises:
        ConfigError: `root` has no such module.
    """
    folders = [Path(folder) for folder in importlib.import_module(root).__path__]
    left_out = tuple(but)
    sources: dict[str, Path | None] = {}

    def source(name: str) -> Path | None:
        if name not in sources:
            sources[name] = _source(name, root, folders)
        return sources[name]

    found: dict[str, str] = {}
    to_read = [module]
    while to_read:
        name = to_read.pop()
        if name in found or any(name == other or name.startswith(f"{other}.") for other in left_out):
            continue
        path = source(name)
        if path is None:
            raise ConfigError(f"code of {module}: there is no module {name} in {root}")
        stat = path.stat()
        is_package = path.name == "__init__.py"
        found[name], imported = _read_code(path, name, is_package, stat.st_mtime_ns, stat.st_size)
        for candidates in imported:
            # `from a.b import c`: the module a.b.c if there is one, else something in a.b.
            to_read.extend([other for other in candidates if source(other) is not None][:1])
    return digest_of(found)


def _source(module: str, root: str, folders: Iterable[Path]) -> Path | None:
    """The file of a module of `root`, None if there is none."""
    first, *rest = module.split(".")
    if first != root:
        return None
    for folder in folders:
        place = folder.joinpath(*rest)
        for path in (place.with_suffix(".py"), place / "__init__.py") if rest else (place / "__init__.py",):
            if path.is_file():
                return path
    return None


@lru_cache(maxsize=4096)
def _read_code(
    path: Path, module: str, is_package: bool, mtime_ns: int, size: int
) -> tuple[str, tuple[tuple[str, ...], ...]]:
    """Digest of one file's code, and the names that it imports; a file of another time or size is read anew."""
    package = module if is_package else module.rpartition(".")[0]
    words: list[str] = []
    imported: list[tuple[str, ...]] = []
    _spell(ast.parse(path.read_bytes(), filename=str(path)), package, words, imported)
    return hashlib.sha256("\n".join(words).encode(errors="surrogatepass")).hexdigest(), tuple(imported)


def _spell(node: ast.AST, package: str, words: list[str], imported: list[tuple[str, ...]]) -> None:
    """Append what a piece of code is made of, and the names that it imports, in one walk: a run begins with it.

    Left out is what cannot change a result: texts that stand alone, and blocks for the type checker.
    """
    kind = node.__class__
    if kind is ast.Expr and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):  # type: ignore[attr-defined]
        return
    if kind is ast.If and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):  # type: ignore[attr-defined]
        for one in node.orelse:  # type: ignore[attr-defined]
            _spell(one, package, words, imported)
        return
    if isinstance(node, ast.Import | ast.ImportFrom):
        imported.extend(_imported(node, package))
    words.append(kind.__name__)
    for name in kind._fields:
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            if name != "ctx":  # where it stands says it, too
                _spell(value, package, words, imported)
        elif isinstance(value, list):
            words.append(f"{name}[")
            for one in value:
                if isinstance(one, ast.AST):
                    _spell(one, package, words, imported)
                else:
                    words.append(repr(one))
            words.append("]")
        else:
            words.append(repr(value))


def _imported(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, ...]]:
    """For each imported name the modules that it can mean, the likeliest first."""
    if isinstance(node, ast.Import):
        yield from ((alias.name,) for alias in node.names)
    else:
        name = "." * node.level + (node.module or "")
        origin = importlib.util.resolve_name(name, package) if node.level else name
        yield from ((f"{origin}.{alias.name}", origin) for alias in node.names)


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's contents, 64 hexadecimal digits.

    Raises:
        FileError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})", path=path) from error


class Looks(NamedTuple):
    """What changes when a file does, as far as can be told without reading it.

    Attributes:
        inode: number of its inode.
        size: its size [bytes].
        modified: time at which its contents last changed [ns since 1970].
        changed: time at which its inode last changed [ns since 1970].
    """

    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> Looks:
        """How a file looks now.

        Raises:
            FileError: the file cannot be read.
        """
        try:
            stat = path.stat()
        except OSError as error:
            raise FileError(f"{path}: cannot be read ({error.strerror})", path=path) from error
        return cls(stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)

    def require(self, path: Path) -> None:
        """Refuse a file that has changed since it looked so, on whatever machine: by its size and its time.

        Raises:
            FileError: the file has changed, or cannot be read.
        """
        now = Looks.of(path)
        if (now.size, now.modified) != (self.size, self.modified):
            raise FileError(
                f"{path}: it changed while this run read it (got {now.size} bytes, expected the {self.size} bytes that"
                " were there at the start); wait until it is complete, and run again",
                path=path,
            )


def content_digest(path: Path) -> str:
    """The 128-bit XXH3 of a file's contents, 32 hexadecimal digits: for inputs, as fast as they can be read.

    Raises:
        FileError: the file cannot be read.
        MissingExtraError: xxhash is not installed.
    """
    try:
        from xxhash import xxh3_128
    except ImportError as error:
        raise MissingExtraError("xxhash", "calibration", "a digest of an input file") from error
    digest, block = xxh3_128(), bytearray(_BLOCK)
    view = memoryview(block)
    try:
        with path.open("rb", buffering=0) as stream:
            while n := stream.readinto(block):
                digest.update(view[:n])
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})", path=path) from error
    return digest.hexdigest()


@dataclass(frozen=True)
class FileDigests:
    """Digests of files, remembered for as long as the files look untouched: same path, inode, size and times.

    Any number of processes may share it, on one machine or on a shared file system: each file is read by one of them.

    Attributes:
        folder: the folder of remembered digests; it is made when there is one to remember.
    """

    folder: Path

    def known(self, path: Path, looks: Looks) -> str | None:
        """The digest of a file that looks so, if it is remembered."""
        with suppress(FileNotFoundError):
            digest = self._place(path, looks).read_text()
            return digest if _DIGEST.fullmatch(digest) else None
        return None

    def of(self, path: Path, looks: Looks | None = None) -> str:
        """The digest of a file, which is read only if its digest is not remembered; see `content_digest`.

        Args:
            path: the file.
            looks: how it looked before, when it was planned what to do with it; None for now.

        Raises:
            BusyError: another process reads it now.
            FileError: the file cannot be read, or it changed.
        """
        looks = looks or Looks.of(path)
        digest = self.known(path, looks)
        if digest is not None:
            return digest
        place = self._place(path, looks)
        place.parent.mkdir(parents=True, exist_ok=True)
        with leased(place.with_suffix(".lease")):
            digest = self.known(path, looks)
            if digest is None:
                now = time.time()
                looks.require(path)
                digest = content_digest(path)
                looks.require(path)
                if max(looks.modified, looks.changed) < (now - _RACY_SECONDS) * 1e9:
                    text = digest
                    write_whole(place, lambda part: part.write_text(text))
        return digest

    def _place(self, path: Path, looks: Looks) -> Path:
        key = digest_of([os.path.abspath(path), *looks])
        return self.folder / key[:2] / key
