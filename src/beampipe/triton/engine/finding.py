"""What an engine consists of, and where it is looked for."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from beampipe.errors import ConfigError, FileError

__all__ = [
    "BACKEND_FILES",
    "ENGINE_VARIABLE",
    "LIBPYTHON",
    "STUB",
    "Engine",
    "default_folder",
    "engine_in",
    "find_engine",
]

ENGINE_VARIABLE: Final = "BEAMPIPE_ENGINE"
"""Name of the environment variable that names another engine folder."""

STUB: Final = "triton_python_backend_stub"
"""Name of the program in which the server runs one instance of a model of the Python backend."""

BACKEND_FILES: Final = ("libtriton_python.so", "triton_python_backend_utils.py")
"""Names of the files of the Python backend, besides the stub."""

LIBPYTHON: Final = re.compile(rb"libpython3(?:-[0-9a-f]+)?\.(\d+)\.so\.1\.0")
"""Name of the library of Python in a stub; the group is the minor version."""


@dataclass(frozen=True)
class Engine:
    """An unpacked Triton.

    Attributes:
        folder: folder of the whole engine.
        binary: path of the program `tritonserver`.
        backend: folder of the Python backend.
        stubs: folder with one folder per Python version, each with a stub; None if the only stub is in `backend`.
        libraries: folders in which the loader shall look for libraries.
    """

    folder: Path
    binary: Path
    backend: Path
    stubs: Path | None
    libraries: tuple[Path, ...]

    def versions(self) -> tuple[str, ...]:
        """The versions of Python that the engine has a stub for, such as ``"3.11"``."""
        if self.stubs is not None:
            found = [path.parent.name for path in self.stubs.glob(f"*/{STUB}")]
            return tuple(sorted(found, key=lambda name: int(name.partition(".")[2])))
        stub = self.backend / STUB
        minors = set(LIBPYTHON.findall(stub.read_bytes())) if stub.exists() else set()
        return tuple(f"3.{minor.decode()}" for minor in sorted(minors))

    def stub(self, version: str) -> Path:
        """The path of the stub for a version of Python.

        Raises:
            ConfigError: the engine has no stub for that version.
        """
        if version not in self.versions():
            raise ConfigError(
                f"{self.folder}: got a Triton for Python {', '.join(self.versions()) or '(none)'}, expected one for"
                f" Python {version}; make the environment with one of those Pythons, or use another Triton (--triton)"
            )
        return self.backend / STUB if self.stubs is None else self.stubs / version / STUB


def default_folder() -> Path:
    """The folder ``$BEAMPIPE_ENGINE`` if that is set, else one inside the environment of this Python."""
    given = os.environ.get(ENGINE_VARIABLE)
    return Path(given) if given else Path(sys.prefix) / "share" / "beampipe" / "engine"


def find_engine(path: Path | None = None) -> Engine:
    """The Triton in a folder: one that `install_engine` filled, or an install such as ``/opt/tritonserver``.

    Args:
        path: the folder, by default `default_folder`.

    Raises:
        FileError: there is no Triton in that folder.
    """
    folder = (path or default_folder()).absolute()
    engine = engine_in(folder)
    if engine is None:
        what = "no Triton there" if folder.exists() else "no such folder"
        advice = (
            "an install of Triton, with bin/tritonserver and backends/python"
            if path
            else "an installed engine; run: beampipe serving engine install"
        )
        raise FileError(f"{folder}: got {what}, expected {advice}")
    return engine


def engine_in(folder: Path) -> Engine | None:
    """The Triton in a folder, or None if there is none or only a part of one."""
    wheel = folder / "pytriton" / "tritonserver"
    root, stubs, libraries = folder, None, folder / "lib"
    if wheel.is_dir():
        root, stubs, libraries = wheel, wheel / "python_backend_stubs", folder / "nvidia_pytriton.libs"
    engine = Engine(folder, root / "bin" / "tritonserver", root / "backends" / "python", stubs, (libraries,))
    needed = (engine.binary, *(engine.backend / name for name in BACKEND_FILES))
    complete = all(path.is_file() for path in needed) and engine.versions()
    return engine if complete else None
