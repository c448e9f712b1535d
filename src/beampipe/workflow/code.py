"""Digests of code, which the key of an artifact is made of, too."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from beampipe.errors import ConfigError
from beampipe.files import cache_folder, write_whole
from beampipe.workflow.digest import RACY_SECONDS, Looks, digest_of

__all__ = ["NO_RESULT", "code_digest", "imported_modules", "remembering_code"]

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
    # Within a block that remembers code a module stays where it is: stages have most of their modules in common.
    sources: dict[str, Path | None] = {} if _memory.sources is None else _memory.sources

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
        found[name], imported = _memory.of(path, name)
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


class _Memory:
    """What was read of modules: of each file, as it looked then, the digest of its code and the names it imports."""

    def __init__(self) -> None:
        self.read: dict[str, _Read] = {}
        self.sources: dict[str, Path | None] | None = None
        self.is_new = False

    def of(self, path: Path, module: str) -> tuple[str, _Names]:
        """Digest of a module's code, and the names that it imports; a file that looks otherwise is read anew."""
        looks = Looks.of(path)
        key = f"{module} {path}"
        known = self.read.get(key)
        if known is None or tuple(known[0]) != looks:
            now = time.time()
            self.read[key] = known = (looks, *_read_code(path, module))
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


_memory = _Memory()


@contextmanager
def remembering_code(*, write: bool = True) -> Iterator[None]:
    """Do not parse modules again, in `code_digest`, that look as they did when a run of this user did so.

    They are known by path, inode, size and times, as inputs are in `FileDigests`. The memory is in the user's cache.

    Args:
        write: whether it may be written.
    """
    _memory.recall()
    _memory.sources = {}
    try:
        yield
    finally:
        _memory.sources = None
    if write:
        _memory.keep()


def _place() -> Path:
    """The file of the memory: one for each Python and each code of this file."""
    return cache_folder() / f"code-{digest_of(_reader())[:12]}.json"


def _reader() -> list[object]:
    """What a remembered digest depends on besides the module: Python, and the code of this file."""
    return [sys.version, *Looks.of(Path(__file__))]


def _read_code(path: Path, module: str) -> tuple[str, _Names]:
    """Digest of one file's code, and the names that it imports."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    words: list[str] = []
    imported: list[tuple[str, ...]] = []
    _spell(ast.parse(path.read_bytes(), filename=str(path)), package, words, imported)
    return hashlib.sha256("\n".join(words).encode(errors="surrogatepass")).hexdigest(), imported


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
