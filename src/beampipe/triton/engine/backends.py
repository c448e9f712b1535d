"""The folder of backends that a server is given: the Python backend with the stub of one interpreter."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from beampipe.triton.engine.appearing import appearing
from beampipe.triton.engine.finding import BACKEND_FILES, LIBPYTHON, STUB, Engine

__all__ = ["Interpreter", "prepare_backends", "this_interpreter"]


@dataclass(frozen=True)
class Interpreter:
    """The Python that a stub embeds.

    Attributes:
        version: version of Python, such as ``"3.11"``.
        bin: folder of the program ``python3``. First on PATH, it decides which environment the stub sees.
        library: path of the shared library ``libpython``; None if this Python has none.
    """

    version: str
    bin: Path
    library: Path | None


def this_interpreter() -> Interpreter:
    """The Python that runs this program, with its environment."""
    name = sysconfig.get_config_var("INSTSONAME") or ""
    # A relocated Python reports the LIBDIR of the machine that it was built on.
    folders = [Path(sys.base_prefix) / "lib", Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib")]
    folders += [Path("/usr/lib") / (sysconfig.get_config_var("MULTIARCH") or "")]
    library = next((folder / name for folder in folders if ".so" in name and (folder / name).exists()), None)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Interpreter(version, Path(sys.executable).parent, library)


def prepare_backends(engine: Engine, python: Interpreter, fallback: Path) -> Path:
    """The folder for Triton's ``--backend-directory``, in which the stub is the one of `python`.

    Args:
        engine: an installed Triton.
        python: the interpreter that the stub shall embed.
        fallback: folder in which the folder is made if that of the engine cannot be written.

    Returns:
        The folder. If it holds a folder ``python/lib``, that belongs into the loader's path.

    Raises:
        ConfigError: the engine has no stub for that Python.
    """
    stub = engine.stub(python.version)
    if engine.stubs is None:
        return engine.backend.parent
    name = f"backends-{python.version}"
    for parent in (engine.folder, fallback):
        if (parent / name / "python" / STUB).exists():
            return parent / name
    parent = engine.folder if os.access(engine.folder, os.W_OK) else fallback
    with appearing(parent / name, (parent / name / "python" / STUB).exists) as scratch:
        folder = scratch / "python"
        folder.mkdir()
        # Copies, no links: through a link the loader finds the libpython of the wheel's builder.
        for path in (*(engine.backend / file for file in BACKEND_FILES), stub):
            shutil.copy2(path, folder)
        (folder / STUB).chmod(0o755)
        _link_libpython(stub, python, folder / "lib")
    return parent / name


def _link_libpython(stub: Path, python: Interpreter, folder: Path) -> None:
    """Some stubs ask for the libpython of their builder under a name of its own: let that be the interpreter's."""
    names = {match.group().decode() for match in LIBPYTHON.finditer(stub.read_bytes())}
    for name in names:
        if python.library is not None and name.startswith("libpython3-"):
            folder.mkdir(exist_ok=True)
            (folder / name).symlink_to(python.library)
