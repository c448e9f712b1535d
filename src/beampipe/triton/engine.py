"""Find or install NVIDIA Triton, and prepare its backends for this Python.

The wheel `nvidia-pytriton` is installed without its dependencies and never onto ``sys.path``: only the server, the
Python backend and its stubs (one per Python version) are used. Its pin of an old numpy thus stays out of the
environment.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from beampipe.errors import ConfigError, FileError

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
        libraries: folders of shared libraries, for ``LD_LIBRARY_PATH``.
    """

    folder: Path
    binary: Path
    backend: Path
    stubs: Path | None
    libraries: tuple[Path, ...]

    def versions(self) -> tuple[str, ...]:
        """The versions of Python that the engine has a stub for, such as ``"3.11"``."""
        if self.stubs is not None:
            names = [path.parent.name for path in self.stubs.glob(f"*/{STUB}")]
            return tuple(sorted(names, key=lambda name: int(name.partition(".")[2])))
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
    variable = os.environ.get(ENGINE_VARIABLE)
    return Path(variable) if variable else Path(sys.prefix) / "share" / "beampipe" / "engine"


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


@contextmanager
def written_atomically(folder: Path, is_there: Callable[[], bool]) -> Iterator[Path]:
    """A scratch folder to fill; renamed to `folder` if the block succeeds, else removed.

    Args:
        folder: path of the folder; its parent must exist.
        is_there: whether another process has made the folder meanwhile; it is then left as it is.
    """
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield scratch
        scratch.chmod(0o755)
        try:
            scratch.rename(folder)
        except OSError:
            if not is_there():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


PACKAGE: Final = "nvidia-pytriton==0.7.0"
"""The release with which this package was tested; its server is Triton 2.51."""

CONTAINER: Final = "nvcr.io/nvidia/tritonserver:26.10-py3"
"""NVIDIA's image of Triton for containers and Kubernetes, unless another one is named."""

_GLIBC: Final = (2, 35)
"""The oldest version of glibc that the wheel runs with, from the wheel's tag."""


def install_engine(target: Path | None = None, progress: Callable[[str], None] = lambda line: None) -> Engine:
    """Fill the engine folder from the package index, unless that was done before.

    The folder appears under its name only when it is complete, so an interrupted install leaves nothing behind that
    looks like an engine, and concurrent installs are safe.

    Args:
        target: the folder, by default `default_folder`.
        progress: function that is called with a line for each step.

    Raises:
        ConfigError: the system is too old, or the folder has other content.
        FileError: the install failed.
    """
    folder = (target or default_folder()).absolute()
    if (engine := engine_in(folder)) is not None:
        progress(f"{folder}: already installed")
        return engine
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: got something that is no engine, expected an empty or new folder; name another")
    glibc = os.confstr("CS_GNU_LIBC_VERSION") or ""
    if tuple(map(int, re.findall(r"\d+", glibc))) < _GLIBC:
        raise ConfigError(
            f"engine: got {glibc or 'no glibc'}, expected glibc {'.'.join(map(str, _GLIBC))} or newer, which the wheel"
            " needs; on an older system use Triton's container, or --triton with a Triton built for it"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    progress(f"{folder}: installing {PACKAGE} (about 50 MB to load, 144 MB on disk)")
    try:
        with written_atomically(folder, lambda: engine_in(folder) is not None) as scratch:
            _pip(scratch)
            if engine_in(scratch) is None:
                raise FileError(f"{PACKAGE}: got a package without a Triton, expected bin, backends and stubs in it")
    except OSError as error:
        raise FileError(f"{folder}: got {error}, expected to install the engine there") from error
    progress(f"{folder}: done")
    return find_engine(folder)


def _pip(target: Path) -> None:
    """Install the wheel without its dependencies."""
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--target", str(target), PACKAGE]
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-compile", *options]
    if subprocess.run([sys.executable, "-c", "import pip"], capture_output=True, check=False).returncode:
        if (uv := shutil.which("uv")) is None:
            raise ConfigError("engine: got neither pip nor uv, expected one of them: python -m ensurepip")
        command = [uv, "pip", "install", "--python", sys.executable, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()][-3:]
        raise FileError(f"{PACKAGE}: could not be installed: {' | '.join(last) or f'exit code {done.returncode}'}")


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
        python: the interpreter that the stub embeds.
        fallback: parent folder to use if the folder of the engine is not writable.

    Returns:
        The folder. If it has a folder ``python/lib``, add that to ``LD_LIBRARY_PATH``.

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
    with written_atomically(parent / name, (parent / name / "python" / STUB).exists) as scratch:
        folder = scratch / "python"
        folder.mkdir()
        # Copies, no links: through a link the loader finds the libpython of the wheel's builder.
        for path in (*(engine.backend / file for file in BACKEND_FILES), stub):
            shutil.copy2(path, folder)
        (folder / STUB).chmod(0o755)
        # Some stubs are linked to the libpython of their builder, under a name of its own.
        for library in {match.group().decode() for match in LIBPYTHON.finditer(stub.read_bytes())}:
            if python.library is not None and library.startswith("libpython3-"):
                (folder / "lib").mkdir(exist_ok=True)
                (folder / "lib" / library).symlink_to(python.library)
    return parent / name
