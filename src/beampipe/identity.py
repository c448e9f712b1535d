"""Identity of whatever computes: digests of values, files and code. Keys and comparisons use them, never names."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from itertools import chain
from pathlib import Path, PurePath
from typing import Any, Final, NamedTuple

from beampipe.errors import ConfigError, FileError
from beampipe.files import cache_folder, write_whole

RACY_SECONDS: Final = 2.0
"""A file changed within this time [s] before hashing may change again within the resolution of its time stamp."""


def canonical(value: object) -> bytes:
    """The canonical JSON text of a value: keys sorted, no spaces, floats by `repr`.

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
    """Convert dataclasses, mappings and paths to JSON types."""
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


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's contents, 64 hexadecimal digits.

    Raises:
        FileError: the file cannot be read.
    """
    return _digest_of_file(path, "sha256")


def _digest_of_file(path: Path, algorithm: str | Callable[[], Any]) -> str:
    try:
        with path.open("rb", buffering=0) as stream:
            return hashlib.file_digest(stream, algorithm).hexdigest()
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})", path=path) from error


class FileStamp(NamedTuple):
    """Metadata that change when a file does, obtained without reading its contents.

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
        """The current stamp of a file.

        Raises:
            FileError: the file cannot be read.
        """
        try:
            stat = path.stat()
        except OSError as error:
            raise FileError(f"{path}: cannot be read ({error.strerror})", path=path) from error
        return cls(stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)

    def require(self, path: Path) -> None:
        """Raise an error if a file has changed since this stamp: compares size and time, which hold on any machine.

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
    """The 128-bit XXH3 of a file's contents, 32 hexadecimal digits. It is fast enough to be limited by reading.

    Raises:
        FileError: the file cannot be read.
        MissingExtraError: xxhash is not installed.
    """
    from xxhash import xxh3_128

    return _digest_of_file(path, xxh3_128)


def bytes_digest(contents: bytes) -> str:
    """The digest of a file with these contents, as by `content_digest`.

    Raises:
        MissingExtraError: xxhash is not installed.
    """
    from xxhash import xxh3_128_hexdigest

    return str(xxh3_128_hexdigest(contents))


def installed_version(package: str) -> str:
    """Version of an installed package; ``none`` if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


NO_RESULT: Final = (
    "beampipe.errors",
    "beampipe.files",
    "beampipe.identity",
    "beampipe.processes",
    "beampipe.terminal",
    "beampipe.workflow",
)
"""Modules that do not affect results, though every stage may use them: error texts, writing of files, printing,
running of tasks."""

_Names = Sequence[Sequence[str]]
"""For each name that a module imports, the modules it can refer to, the most likely first."""

_Read = Sequence[Any]
"""Stamp of a file, digest of its code, and the names that it imports."""


def code_digest(module: str, root: str = "beampipe", but: Iterable[str] = NO_RESULT) -> str:
    """Digest of the code that a stage runs: a module and all modules of its package that it imports, directly or not.

    Comments, docstrings, formatting and imports under ``TYPE_CHECKING`` are ignored. The files are parsed; only `root`
    is imported. Other packages, compiled code, data files and modules imported by a name computed at run time are not
    detected: if a result depends on one, put its version or digest among the parameters of the recipe.

    Args:
        module: the module that the stage starts in, e.g. ``"beampipe.calibration.events.fill"``.
        root: the package whose modules count.
        but: modules or packages that do not count.

    Returns:
        40 hexadecimal digits, the same in each version of Python.

    Raises:
        ConfigError: `root` has no such module.
    """
    folders = [Path(folder) for folder in importlib.import_module(root).__path__]
    left_out = tuple(but)
    # Within a `remembering_code` block, locations of modules are cached: stages share most of their modules.
    sources: dict[str, Path | None] = {} if _code_memory.sources is None else _code_memory.sources

    def source(name: str) -> Path | None:
        if name not in sources:
            sources[name] = _source(name, root, folders)
        return sources[name]

    digests: dict[str, str] = {}
    to_read = [module]
    while to_read:
        name = to_read.pop()
        if name in digests or any(name == other or name.startswith(f"{other}.") for other in left_out):
            continue
        path = source(name)
        if path is None:
            raise ConfigError(f"code of {module}: there is no module {name} in {root}")
        digests[name], imported = _code_memory.of(path, name)
        for candidates in imported:
            # `from a.b import c`: the module a.b.c if there is one, else something in a.b.
            to_read.extend([other for other in candidates if source(other) is not None][:1])
    return digest_of(digests)


def _source(module: str, root: str, folders: Iterable[Path]) -> Path | None:
    """The file of a module of `root`, None if there is none."""
    first, *rest = module.split(".")
    if first != root:
        return None
    for folder in folders:
        place = folder.joinpath(*rest)
        for path in (place / "__init__.py", *([place.with_suffix(".py")] if rest else [])):
            if path.is_file():
                return path
    return None


class _CodeMemory:
    """A cache of parsed modules: file stamp -> digest of the code and imported names."""

    def __init__(self) -> None:
        self.read: dict[str, _Read] = {}
        self.sources: dict[str, Path | None] | None = None
        self.is_new = False

    def of(self, path: Path, module: str) -> tuple[str, _Names]:
        """Digest of a module's code, and the names that it imports; a file whose stamp has changed is read again."""
        stamp = FileStamp.of(path)
        key = f"{module} {path}"
        entry = self.read.get(key)
        if entry is None or tuple(entry[0]) != stamp:
            now = time.time()
            package = module if path.name == "__init__.py" else module.rpartition(".")[0]
            words: list[str] = []
            imported: list[tuple[str, ...]] = []
            _spell(ast.parse(path.read_bytes(), filename=str(path)), package, words, imported)
            self.read[key] = entry = (
                stamp,
                *(hashlib.sha256("\n".join(words).encode(errors="surrogatepass")).hexdigest(), imported),
            )
            # A file modified just now may change again within the resolution of its time stamp.
            self.is_new |= max(stamp.modified, stamp.changed) < (now - RACY_SECONDS) * 1e9
        return entry[1], entry[2]

    def recall(self) -> None:
        """Load the user's cache."""
        with suppress(OSError, RuntimeError, ValueError, KeyError, TypeError):
            stored = json.loads(_place().read_bytes())
            if stored["by"] == _reader():
                self.read = {**stored["modules"], **self.read}

    def keep(self) -> None:
        """Save new entries, except those of files that were modified just now."""
        if not self.is_new:
            return
        oldest = (time.time() - RACY_SECONDS) * 1e9
        settled = {key: entry for key, entry in self.read.items() if max(entry[0][2:]) < oldest}
        text = json.dumps({"by": _reader(), "modules": settled})
        with suppress(OSError, RuntimeError):  # the cache is optional
            write_whole(_place(), lambda part: part.write_text(text))
        self.is_new = False


_code_memory = _CodeMemory()


@contextmanager
def remembering_code(*, write: bool = True) -> Iterator[None]:
    """Within the block, `code_digest` caches parsed modules, also between runs.

    An entry is valid while path, inode, size and times of the file stay the same. It is in the user's cache folder.

    Args:
        write: whether the cache may be written.
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
    """The file of the cache: one for each version of Python and of this file."""
    return cache_folder() / f"code-{digest_of(_reader())[:12]}.json"


def _reader() -> list[object]:
    """What a cached digest depends on besides the module: Python, and the code of this file."""
    return [sys.version, *FileStamp.of(Path(__file__))]


def _spell(node: ast.AST, package: str, words: list[str], imported: list[tuple[str, ...]]) -> None:
    """Append the tokens of a syntax tree (no docstrings, no ``TYPE_CHECKING`` blocks) to `words`, and its imports."""
    kind = node.__class__
    if kind is ast.Expr and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):  # type: ignore[attr-defined]
        return
    if kind is ast.If and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):  # type: ignore[attr-defined]
        for child in node.orelse:  # type: ignore[attr-defined]
            _spell(child, package, words, imported)
        return
    if isinstance(node, ast.Import | ast.ImportFrom):
        imported.extend(imported_modules(node, package))
    words.append(kind.__name__)
    for name in kind._fields:
        value = getattr(node, name, None)
        if name == "type_params" and not value:  # Python 3.11 has no such field
            continue
        if isinstance(value, ast.AST):
            if name != "ctx":  # the context (load, store) follows from the position
                _spell(value, package, words, imported)
        elif isinstance(value, list):
            words.append(f"{name}[")
            for child in value:
                if isinstance(child, ast.AST):
                    _spell(child, package, words, imported)
                else:
                    words.append(repr(child))
            words.append("]")
        else:
            words.append(repr(value))


def imported_modules(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, ...]]:
    """For each name that a statement imports, the modules it can refer to, the most likely first.

    Args:
        node: the statement.
        package: full name of the package that contains it.
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
"""Functions that import a module by name."""


class UserCode(NamedTuple):
    """The code that a function depends on.

    Attributes:
        digest: digest of this code; empty if there is none.
        modules: names of the modules whose files count; they are imported again when the digest changes.
    """

    digest: str
    modules: frozenset[str]


def user_code(module: str, file: Path | None = None) -> UserCode:
    """The code of a module and of all that it imports, directly or not. Files are parsed and not imported.

    These enter the digest: the bytes of files (also compiled ones) of modules that are not installed and of the package
    of `module`; the versions of other packages; the code of the imported modules of beampipe. An import counts anywhere
    in a file, unless its name is computed at run time. The standard library does not count.

    Args:
        module: name of the module, e.g. ``"my_analysis.jets"``.
        file: file of a module that cannot be imported by its name.
    """
    digests: dict[str, str] = {}
    modules: set[str] = set()
    seen: set[str] = set()
    to_read = [module]
    if file is not None:
        digests[module], imported = _read_user_file(file, "", FileStamp.of(file))
        seen, to_read = {module}, list(imported)
    while to_read:
        name = to_read.pop()
        top = name.partition(".")[0]
        if name in seen or top in sys.stdlib_module_names:
            continue
        seen.add(name)
        if top == _OWN_PACKAGE:
            if _module_spec(name) is not None:  # an attribute has none
                digests[name] = code_digest(name)
            continue
        if top != module.partition(".")[0] and (version := _package_version(top)):
            digests[top] = version
            continue
        spec = _module_spec(name)
        if spec is None:
            digests |= {} if "." in name else {name: "none"}  # an attribute, or a missing package
            continue
        modules.add(name)
        to_read += name.rpartition(".")[:1] if "." in name else ()  # a package runs before what is in it
        if spec.origin is not None and spec.has_location:
            path = Path(spec.origin)
            package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
            digests[name], imported = _read_user_file(path, package, FileStamp.of(path))
            to_read += imported
    return UserCode(digest_of(digests), frozenset(modules))


def distribution_digest(name: str, module: str) -> str:
    """Digest of an installed package: its code, and what it says it depends on.

    It has the code that a module of it imports (see `user_code`), all files of the package, data and compiled ones
    too, and the versions of the packages that it requires, directly or not. Bytecode and installation records do not
    count.

    Args:
        name: name of the distribution; empty if it is not known.
        module: module of the package that is used.
    """
    from importlib.metadata import PackageNotFoundError, distribution

    files: dict[str, str] = {}
    versions: dict[str, str] = {}
    with suppress(PackageNotFoundError, ValueError):
        for file in distribution(name).files or ():
            path = Path(str(file.locate()))
            if file.suffix not in _NO_CODE and ".dist-info" not in file.parts[0] and path.is_file():
                files[file.as_posix()] = file_digest(path)
    top = _module_spec(module.partition(".")[0])
    for folder in map(Path, (top.submodule_search_locations if top is not None else None) or ()):
        for path in folder.rglob("*"):  # an editable installation does not list them
            if path.suffix not in _NO_CODE and path.is_file():
                files[path.relative_to(folder.parent).as_posix()] = file_digest(path)
    to_read = [name]
    while to_read:
        with suppress(PackageNotFoundError, ValueError):
            requirements = [text for text in distribution(to_read.pop()).requires or () if "extra ==" not in text]
            names = {re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in requirements} - {_OWN_PACKAGE, *versions}
            versions |= {each: installed_version(each) for each in names}
            to_read += names
    return digest_of([user_code(module).digest, files, versions])


_NO_CODE: Final = (".pyc", ".pth")
"""Suffixes of files that an installation makes by itself, with paths and times of the machine in them."""


def _package_version(top: str) -> str:
    """Name and version of the installed package that a module belongs to; empty if it belongs to none."""
    spec = _module_spec(top)
    if spec is None:
        return ""
    places = [*([spec.origin] if spec.origin else []), *(spec.submodule_search_locations or ())]
    if not any(_INSTALLED.intersection(Path(folder).parts) for folder in places):
        return ""
    return ", ".join(f"{name} {installed_version(name)}" for name in sorted(set(_distributions().get(top, ()))))


@cache
def _distributions() -> dict[str, list[str]]:
    """Module -> installed packages that provide it."""
    from importlib.metadata import packages_distributions

    return dict(packages_distributions())


def _module_spec(name: str) -> ModuleSpec | None:
    """The import spec of a module, None if there is none; no package is imported."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # __main__ of a program, which has no spec
        return None
    at = top
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        at = f"{at}.{part}"
        spec = PathFinder.find_spec(at, list(spec.submodule_search_locations))
    return spec


@lru_cache(maxsize=4096)
def _read_user_file(path: Path, package: str, stamp: FileStamp) -> tuple[str, tuple[str, ...]]:
    """Digest of a file, and the names it imports; a file whose stamp has changed is read again."""
    content = path.read_bytes()
    imported: list[str] = []
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(content, filename=str(path))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                imported += chain.from_iterable(imported_modules(node, package))
            elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                name = node.args[0].value
                if function in _BY_NAME and isinstance(name, str) and name[:1] != ".":
                    imported.append(name)
    return hashlib.sha256(content).hexdigest(), tuple(dict.fromkeys(imported))
