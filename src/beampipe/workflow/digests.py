"""Digests of values, files and code, which the keys of artifacts are made of."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path, PurePath
from types import NoneType
from typing import Any, Final, NamedTuple

from beampipe.errors import ConfigError, FileError
from beampipe.files import append, cache_folder, write_whole
from beampipe.workflow import installed_version
from beampipe.workflow.leases import leased

_BLOCK: Final = 1 << 20
"""Bytes that are read at once."""

LARGE: Final = 1 << 26
"""Size [bytes] from which on a file is read by one process alone: a smaller one is read as soon as it is agreed who."""

_LINE: Final = re.compile("^([0-9a-f]{40}) ([0-9a-f]{32})$", re.MULTILINE)
"""A remembered digest that was written whole."""

RACY_SECONDS: Final = 2.0
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
        return _settled(value) or {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, PurePath):
        return str(value)
    raise ConfigError(
        f"settings cannot be digested: got {value!r:.80} of type {type(value).__name__}, "
        "expected numbers, text, lists, mappings, dataclasses or paths"
    )


_SETTLED: Final[dict[int, tuple[object, dict[str, object]]]] = {}
"""Dataclasses that can never change, by their identity, and the types that JSON knows in their place."""

_PLAIN: Final = frozenset((str, int, float, bool, NoneType))
"""Types that JSON knows, and that cannot change."""

_MOST_SETTLED: Final = 256
"""Number of dataclasses after which those known are forgotten."""


def _settled(value: Any) -> dict[str, object] | None:
    """A dataclass as types that JSON knows, all of it at once, and once only; None if something in it may change.

    The same settings are in the keys of thousands of chunks.
    """
    try:
        return _frozen_fields(value)
    except TypeError:
        return None


def _frozen_fields(value: Any) -> dict[str, object]:
    """The fields of a dataclass as types that JSON knows.

    Raises:
        TypeError: something in it can change, or is of a type that is not known here.
    """
    known = _SETTLED.get(id(value))
    if known is not None and known[0] is value:
        return known[1]
    if not type(value).__dataclass_params__.frozen:
        raise TypeError
    found = {field.name: _frozen(getattr(value, field.name)) for field in fields(value)}
    if len(_SETTLED) >= _MOST_SETTLED:
        _SETTLED.clear()
    _SETTLED[id(value)] = value, found
    return found


def _frozen(value: Any) -> Any:
    """What cannot change, as types that JSON knows; see `_frozen_fields`."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, tuple):
        return [one if type(one) in _PLAIN else _frozen(one) for one in value]
    if isinstance(value, PurePath):
        return str(value)
    if is_dataclass(value):
        return _frozen_fields(value)
    raise TypeError


def digest_of(value: object) -> str:
    """The digest of a value: the first 40 hexadecimal digits of the SHA-256 of its `canonical` text."""
    return hashlib.sha256(canonical(value)).hexdigest()[:40]


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


class FileStamp(NamedTuple):
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
    def of(cls, path: Path) -> FileStamp:
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
        now = FileStamp.of(path)
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
    from xxhash import xxh3_128

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

    They are lines of one file, to which any number of processes may append, on one machine or on a shared file system.
    A large file is read by one of them.

    Attributes:
        folder: the folder of remembered digests; it is made when there is one to remember.
    """

    folder: Path

    def known(self, path: Path, looks: FileStamp) -> str | None:
        """The digest of a file that looks so, if it is remembered."""
        return self._memory.find(_key(path, looks))

    def of(self, path: Path, looks: FileStamp | None = None) -> str:
        """The digest of a file, which is read only if its digest is not remembered; see `content_digest`.

        Args:
            path: the file.
            looks: how it looked before, when it was planned what to do with it; None for now.

        Raises:
            BusyError: the file is large, and another process reads it now.
            FileError: the file cannot be read, or it changed.
        """
        looks = looks or FileStamp.of(path)
        key = _key(path, looks)
        digest = self._memory.find(key)
        if digest is not None:
            return digest
        self.folder.mkdir(parents=True, exist_ok=True)
        with leased(self.folder / f"{key}.lease") if looks.size >= LARGE else nullcontext():
            digest = self._memory.find(key)
            if digest is None:
                now = time.time()
                looks.require(path)
                digest = content_digest(path)
                looks.require(path)
                if max(looks.modified, looks.changed) < (now - RACY_SECONDS) * 1e9:
                    self._memory.add(key, digest)
        return digest

    @property
    def _memory(self) -> _DigestMemory:
        return _digest_memory(self.folder / "digests.txt")


def _key(path: Path, looks: FileStamp) -> str:
    return digest_of([os.path.abspath(path), *looks])


class _DigestMemory:
    """Lines of keys and digests, as far as this process has read them. What others append is read when it is needed.

    Args:
        path: the file; there may be none yet.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._read, self._found = path, 0, dict[str, str]()

    def find(self, key: str) -> str | None:
        """The digest of a key; None if no line has it."""
        if key not in self._found:
            self._catch_up()
        return self._found.get(key)

    def add(self, key: str, digest: str) -> None:
        """Append a line. It begins a new one in any case: a killed writer may have left half of one."""
        append(self._path, f"\n{key} {digest}\n")

    def _catch_up(self) -> None:
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < self._read:  # another file by now
                self._read = 0
            file.seek(self._read)
            new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read += len(whole)
            self._found.update(_LINE.findall(whole.decode(errors="replace")))


@lru_cache(maxsize=64)
def _digest_memory(path: Path) -> _DigestMemory:
    return _DigestMemory(path)


NO_RESULT: Final = (
    "beampipe.errors",
    "beampipe.files",
    "beampipe.processes",
    "beampipe.terminal",
    "beampipe.workflow",
)
"""Modules whose code shapes no result, though every stage may use them: texts of errors, how files are written, what is
printed, how tasks are run."""

_Names = Sequence[Sequence[str]]
"""For each name that a module imports, the modules that it can mean, the likeliest first."""

_Read = Sequence[Any]
"""How a file looked, the digest of its code, and the names that it imports."""


def code_digest(module: str, root: str = "beampipe", but: Iterable[str] = NO_RESULT) -> str:
    """Digest of the code that a stage runs: a module and all modules of its package that it imports, directly or not.

    Comments, docstrings, formatting and imports for the type checker do not count; any other line does. The files are
    read; nothing is imported but `root`. Other packages, compiled code, data files and modules that are imported by a
    name made at run time are not seen: if a result depends on one, its version or digest belongs among the parameters
    of the recipe.

    Args:
        module: the module that the stage starts in, e.g. ``"beampipe.calibration.events.fill"``.
        root: the package whose modules count.
        but: modules or packages that do not count.

    Returns:
        40 hexadecimal digits; the same code gives the same digits in one version of Python.

    Raises:
        ConfigError: `root` has no such module.
    """
    folders = [Path(folder) for folder in importlib.import_module(root).__path__]
    left_out = tuple(but)
    # Within a block that remembers code a module stays where it is: stages have most of their modules in common.
    sources: dict[str, Path | None] = {} if _code_memory.sources is None else _code_memory.sources

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
        found[name], imported = _code_memory.of(path, name)
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


class _CodeMemory:
    """What was read of modules: of each file, as it looked then, the digest of its code and the names it imports."""

    def __init__(self) -> None:
        self.read: dict[str, _Read] = {}
        self.sources: dict[str, Path | None] | None = None
        self.is_new = False

    def of(self, path: Path, module: str) -> tuple[str, _Names]:
        """Digest of a module's code, and the names that it imports; a file that looks otherwise is read anew."""
        looks = FileStamp.of(path)
        key = f"{module} {path}"
        known = self.read.get(key)
        if known is None or tuple(known[0]) != looks:
            now = time.time()
            package = module if path.name == "__init__.py" else module.rpartition(".")[0]
            words: list[str] = []
            imported: list[tuple[str, ...]] = []
            _spell(ast.parse(path.read_bytes(), filename=str(path)), package, words, imported)
            self.read[key] = known = (
                looks,
                *(hashlib.sha256("\n".join(words).encode(errors="surrogatepass")).hexdigest(), imported),
            )
            # A file of this moment may change again within the same tick of its clock.
            self.is_new |= max(looks.modified, looks.changed) < (now - RACY_SECONDS) * 1e9
        return known[1], known[2]

    def recall(self) -> None:
        """Take over what the user's cache remembers."""
        with suppress(OSError, RuntimeError, ValueError, KeyError, TypeError):
            found = json.loads(_place().read_bytes())
            if found["by"] == _reader():
                self.read = {**found["modules"], **self.read}

    def keep(self) -> None:
        """Write down what is remembered of files that did not change just now, if some of it is new."""
        if not self.is_new:
            return
        oldest = (time.time() - RACY_SECONDS) * 1e9
        settled = {key: known for key, known in self.read.items() if max(known[0][2:]) < oldest}
        text = json.dumps({"by": _reader(), "modules": settled})
        with suppress(OSError, RuntimeError):  # a run is none the worse for it
            place = _place()
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, lambda part: part.write_text(text))
        self.is_new = False


_code_memory = _CodeMemory()


@contextmanager
def remembering_code(*, write: bool = True) -> Iterator[None]:
    """Do not parse modules again, in `code_digest`, that look as they did when a run of this user did so.

    They are known by path, inode, size and times, as inputs are in `FileDigests`. The memory is in the user's cache.

    Args:
        write: whether it may be written.
    """
    _code_memory.recall()
    _code_memory.sources = {}
    try:
        yield
    finally:
        _code_memory.sources = None
    if write:
        _code_memory.keep()


def _place() -> Path:
    """The file of the memory: one for each Python and each code of this file."""
    return cache_folder() / f"code-{digest_of(_reader())[:12]}.json"


def _reader() -> list[object]:
    """What a remembered digest depends on besides the module: Python, and the code of this file."""
    return [sys.version, *FileStamp.of(Path(__file__))]


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
        imported.extend(imported_modules(node, package))
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


def imported_modules(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, ...]]:
    """For each name that a statement imports, the modules that it can mean, the likeliest first.

    Args:
        node: the statement.
        package: full name of the package that it stands in.
    """
    if isinstance(node, ast.Import):
        yield from ((alias.name,) for alias in node.names)
    else:
        name = "." * node.level + (node.module or "")
        origin = importlib.util.resolve_name(name, package) if node.level else name
        yield from ((f"{origin}.{alias.name}", origin) for alias in node.names)


_OWN_PACKAGE: Final = "beampipe"

_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
"""Names of the folders that packages are installed in."""

_BY_NAME: Final = frozenset({"import_module", "__import__"})
"""Functions that import the module whose name they get."""


class UserCode(NamedTuple):
    """What a function is made of.

    Attributes:
        digest: digest of all of it; empty for nothing.
        modules: names of the modules whose files are in it, and that are imported again when it changes.
    """

    digest: str
    modules: frozenset[str]


def user_code(module: str) -> UserCode:
    """The code of a module and of all that it imports, directly or not; nothing is imported to tell it.

    Of modules that are no part of an installed package, and of the package of `module` wherever it is, the bytes of
    their files count, compiled ones too; of other packages the version; of this package the code that is imported. An
    import counts wherever in a file it stands, one by a name that is made at run time does not. The standard library
    does not count.

    Args:
        module: name of the module, e.g. ``"my_analysis.jets"``.
    """
    found: dict[str, str] = {}
    modules: set[str] = set()
    seen: set[str] = set()
    to_read = [module]
    while to_read:
        name = to_read.pop()
        top = name.partition(".")[0]
        if name in seen or top in sys.stdlib_module_names:
            continue
        seen.add(name)
        if top == _OWN_PACKAGE:
            found |= _own_module(name)
            continue
        if top != module.partition(".")[0] and (said := _package_version(top)):
            found[top] = said
            continue
        spec = _module_spec(name)
        if spec is None:
            found |= {} if "." in name else {name: "none"}  # something in a module; or a package that is not there
            continue
        modules.add(name)
        to_read += name.rpartition(".")[:1] if "." in name else ()  # a package runs before what is in it
        if spec.origin is not None and spec.has_location:
            path = Path(spec.origin)
            package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
            found[name], imported = _read_user_file(path, package, FileStamp.of(path))
            to_read += imported
    return UserCode(digest_of(found), frozenset(modules))


def _own_module(name: str) -> dict[str, str]:
    """A module of this package and the digest of its code; nothing if that is no module."""
    spec = _module_spec(name)
    return {} if spec is None else {name: code_digest(name)}


def _package_version(top: str) -> str:
    """Name and version of the installed package that a module belongs to; empty if it belongs to none."""
    spec = _module_spec(top)
    if spec is None:
        return ""
    places = [*([spec.origin] if spec.origin else []), *(spec.submodule_search_locations or ())]
    if not any(_INSTALLED.intersection(Path(place).parts) for place in places):
        return ""
    return ", ".join(f"{name} {installed_version(name)}" for name in sorted(set(_distributions().get(top, ()))))


@cache
def _distributions() -> dict[str, list[str]]:
    """Module -> installed packages that have it."""
    from importlib.metadata import packages_distributions

    return dict(packages_distributions())


def _module_spec(name: str) -> ModuleSpec | None:
    """Where a module is, None if it is nowhere; no package is imported for it."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # the module of a program, which has none
        return None
    at = top
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        at = f"{at}.{part}"
        spec = PathFinder.find_spec(at, list(spec.submodule_search_locations))
    return spec


@lru_cache(maxsize=4096)
def _read_user_file(path: Path, package: str, looks: FileStamp) -> tuple[str, tuple[str, ...]]:
    """Digest of a file, and names of what it imports; a file that looks otherwise is read anew."""
    content = path.read_bytes()
    imported: list[str] = []
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(content, filename=str(path))):
            imported += _imported_names(node, package)
    return hashlib.sha256(content).hexdigest(), tuple(dict.fromkeys(imported))


def _imported_names(node: ast.AST, package: str) -> Iterator[str]:
    """Names of the modules that a piece of code may import."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        for meant in imported_modules(node, package):
            yield from meant
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if function in _BY_NAME and isinstance(node.args[0].value, str) and node.args[0].value[:1] != ".":
            yield node.args[0].value
