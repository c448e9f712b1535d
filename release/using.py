"""Commands as a newcomer types them, in a clean environment, and those that the README names."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))  # for tests, which run the files beside it from elsewhere

from install import variables as variables_of_uv

ROOT: Final = Path(__file__).parents[1]
TOOLS: Final = Path(sys.executable).parent
ADDRESS: Final = "https://forge.invalid/beampipe"
"""Stands for the address of the repository, which the forge tells when it releases."""


class Failed(Exception):
    """A step did not hold; the message says which and why."""


def run(
    command: str | list[str],
    folder: Path = ROOT,
    *,
    path: Path = TOOLS,
    variables: Mapping[str, str] = MappingProxyType({}),
    limit: float = 1800.0,
) -> str:
    """The output of a command; `Failed` if it fails or prints a traceback.

    Args:
        command: words, or a line of them.
        folder: where it runs.
        path: folder of the programs that are found first.
        variables: additional variables of the environment.
        limit: time after which it has failed [s].
    """
    words = shlex.split(command) if isinstance(command, str) else command
    environ = {**surroundings(path), **variables}
    done = subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=limit)
    output = done.stdout + done.stderr
    if done.returncode != 0 or "Traceback" in output:
        raise Failed(f"{' '.join(words)}: exit code {done.returncode}\n{output[-3000:]}")
    return output


def surroundings(path: Path) -> dict[str, str]:
    """The variables of a command: nothing of our own checkout and settings, `path` before all other programs.

    uv gets the indexes and certificates of pip.
    """
    mine = {"PATH": f"{path}{os.pathsep}{os.environ['PATH']}"}
    left_out = ("PYTHONPATH", "XDG_CONFIG_HOME", "XDG_STATE_HOME")
    given = variables_of_uv(_settings_of_pip()) | os.environ
    return {name: value for name, value in given.items() if name not in left_out} | mine


@cache
def _settings_of_pip() -> str:
    pip = [sys.executable, "-m", "pip", "config", "list"]
    return subprocess.run(pip, capture_output=True, text=True, check=True).stdout


def interpreter(version: str) -> str:
    """Path of a Python: that of the shell, or the newest of pyenv.

    Args:
        version: like 3.12.

    Raises:
        Failed: there is none.
    """
    of_pyenv = sorted((Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python{version}"))
    for path in (shutil.which(f"python{version}"), *map(str, reversed(of_pyenv))):
        if path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return path
    raise Failed(f"Python {version}: not found in PATH nor among pyenv's versions")


@contextmanager
def environment(wheel: Path, extra: str, python: str) -> Iterator[Path]:
    """The `bin` of a clean environment with the wheel and one extra; without any, if `extra` is empty."""
    with tempfile.TemporaryDirectory(prefix=f"beampipe-{extra or 'bare'}-") as name:
        folder = (
            Path(name) / "env"
        )  # as `python -m venv` makes it: a folder that others can read, as sandboxes of root's must
        run(["uv", "venv", "-q", "--seed", "-p", python, str(folder)])
        bin_ = folder / "bin"
        wanted = f"beampipe[{extra}] @ {wheel.as_uri()}" if extra else str(wheel)
        run(["uv", "pip", "install", "-q", "-p", str(bin_ / "python"), wanted])
        yield bin_


def first_commands() -> dict[str, str]:
    """Extra -> the first command of its area, from the README's table."""
    return dict(re.findall(r"^\| \[\w+\]\(docs/(\w+)\.md\).*\| `(beampipe [^`]+)` \|$", _readme(), re.M))


def _readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")
