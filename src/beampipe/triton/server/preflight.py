"""What is checked before a Triton is started, because Triton itself would hang or say something else.

A stub that lacks a library, or a missing bash, makes the server wait for ever without a word; a port in use is noticed
only after all models have been loaded; the wrong Python shows up as "No module named numpy".
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from beampipe.errors import ConfigError, FileError, UnknownNameError
from beampipe.triton.engine import STUB, Engine, Interpreter, prepare_backends
from beampipe.triton.server.launch import Ports, ServerSettings, port_is_free, server_environment
from beampipe.triton.supervision.stubs import SHARED_MEMORY

__all__ = [
    "check_engine",
    "check_interpreter",
    "check_ports",
    "check_repository",
    "check_shared_memory",
    "check_stub",
]

_CONFIG: Final = "config.pbtxt"
_STUB_SAYS: Final = "Expected 9 arguments"
_STUB_TIME: Final = 20.0
"""Time [s] that a stub gets to start and say so."""
_SHARED_MEMORY: Final = 32 * 2**20
"""Shared memory [bytes] that must be free: one instance takes 1 MiB idle, and twice its largest event."""


def check_repository(repository: Path, models: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the models to load.

    Args:
        repository: folder of the models.
        models: names of the models that are wanted; all if there are none.

    Raises:
        FileError: there is no repository, or no model in it.
        UnknownNameError: the repository lacks one of the models.
    """
    if not repository.is_dir():
        raise FileError(
            f"{repository}: got no such folder, expected a model repository: beampipe serving export -o FOLDER"
        )
    found = tuple(sorted(path.parent.name for path in repository.glob(f"*/{_CONFIG}")))
    if not found:
        raise FileError(
            f"{repository}: got a folder without models, expected MODEL/{_CONFIG} in it: beampipe serving export"
            " -o FOLDER"
        )
    for model in models:
        if model not in found:
            raise UnknownNameError(f"model in {repository}", model, found)
    return models or found


def check_interpreter(engine: Engine, python: Interpreter) -> None:
    """Raise unless a stub can embed this Python.

    Raises:
        ConfigError: the engine has no stub for this version, or this Python has no shared library or no ``python3``.
    """
    engine.stub(python.version)
    if python.library is None:
        raise ConfigError(
            f"Python {python.version}: got one without a shared library, expected libpython{python.version}.so.1.0,"
            " into which Triton's stub loads the model; use a Python built with --enable-shared, or on Debian and"
            f" Ubuntu: apt-get install libpython{python.version}"
        )
    if not (python.bin / "python3").exists():
        raise ConfigError(
            f"{python.bin}: got no python3 there, expected one: the first on PATH decides which packages a model sees;"
            " make the environment with: python -m venv"
        )


def check_stub(backends: Path, environ: Mapping[str, str]) -> None:
    """Raise unless a stub starts in the environment that it will have.

    Raises:
        ConfigError: bash or a library is missing.
    """
    if shutil.which("bash", path=environ["PATH"]) is None:
        raise ConfigError(f"PATH: got no bash in {environ['PATH']}, expected one, with which Triton starts its stubs")
    stub = backends / "python" / STUB
    try:
        done = subprocess.run(
            [stub], env=dict(environ), stdin=subprocess.DEVNULL, capture_output=True, timeout=_STUB_TIME, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{stub}: got {error}, expected it to start and ask for arguments") from error
    said = (done.stdout + done.stderr).decode(errors="replace").strip()
    if _STUB_SAYS not in said:
        last = said.splitlines()[-1] if said else f"exit code {done.returncode}"
        raise ConfigError(
            f"{stub}: got {last!r}, expected it to start; with LD_LIBRARY_PATH={environ['LD_LIBRARY_PATH']}"
        )


def check_engine(engine: Engine, python: Interpreter) -> None:
    """Raise unless an engine can run models with a Python on this machine.

    Raises:
        ConfigError: a stub for this Python is missing or does not start, or there is no room in shared memory.
    """
    check_interpreter(engine, python)
    check_shared_memory()
    with tempfile.TemporaryDirectory() as scratch:
        backends = prepare_backends(engine, python, Path(scratch))
        check_stub(backends, server_environment(ServerSettings(Path()), engine, python, backends))


def check_ports(settings: ServerSettings, ports: Ports) -> None:
    """Raise unless the server can listen.

    Raises:
        ConfigError: a port is in use, or the address is not of this machine.
    """
    if not port_is_free(settings.host, 0):
        raise ConfigError(
            f"host: got {settings.host}, expected an address of this machine, such as 127.0.0.1 or 0.0.0.0"
        )
    hosts = (settings.http_host, settings.host, settings.metrics_host)
    for name, host, port in zip(("http", "grpc", "metrics"), hosts, ports, strict=True):
        if not port_is_free(host, port):
            raise ConfigError(
                f"--{name}-port: got {port}, which is in use on {host} (or not for this user),"
                " expected a free one; 0 takes any"
            )


def check_shared_memory() -> None:
    """Raise if there is no room to hand tensors to the stubs.

    Raises:
        ConfigError: ``/dev/shm`` is missing or full.
    """
    if not SHARED_MEMORY.is_dir():
        raise ConfigError(
            f"{SHARED_MEMORY}: got no such folder, expected shared memory, through which Triton talks to models"
        )
    status = os.statvfs(SHARED_MEMORY)
    free = status.f_bavail * status.f_frsize
    if free < _SHARED_MEMORY:
        raise ConfigError(
            f"{SHARED_MEMORY}: got {free / 2**20:.0f} MiB free, expected {_SHARED_MEMORY / 2**20:.0f} or more;"
            " in a container: --shm-size=1g, or --ipc=host"
        )
