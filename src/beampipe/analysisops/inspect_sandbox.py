"""Our sandbox as one of inspect_ai, ``confined``: for code that a model writes, on machines without containers.

A sample has a folder, which each command gets as a copy and leaves changed. Commands see the system and Python, but not
beampipe, other files or keys, and have no network where there are namespaces.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
from inspect_ai.util import ExecResult, SandboxEnvironment, sandboxenv

from beampipe.analysisops.sandbox import Sandbox, SandboxLimits, best_kind

_SECONDS: Final = 600.0
"""Time limit of a command that has none [s]."""

_LARGEST: Final = 1 << 20
"""Maximum size of the output of a command [bytes]; the rest is cut."""

_START: Final = 'cp -a "$1"/. . && cd "$2" && shift 2 && exec "$@" <"$HOME"/.input >"$HOME"/.output 2>"$HOME"/.errors'
"""What the shell does in the sandbox before it becomes the command."""

_STREAMS: Final = (".input", ".output", ".errors")


@sandboxenv(name="confined")
class ConfinedEnvironment(SandboxEnvironment):
    """The folder of a sample, and commands in it."""

    def __init__(self) -> None:
        super().__init__()
        self._home = tempfile.TemporaryDirectory(prefix="beampipe-confined-", ignore_cleanup_errors=True)
        self.folder = Path(self._home.name) / "work"
        self.folder.mkdir()
        # inspect_ai starts login shells, which set another PATH.
        (self.folder / ".profile").write_text(f'PATH="{sys.prefix}/bin:$PATH"\n', encoding="utf-8")
        self._one_at_a_time = anyio.Lock()

    @classmethod
    async def sample_init(cls, task_name: str, config: Any, metadata: dict[str, str]) -> dict[str, SandboxEnvironment]:
        """A new folder for a sample."""
        return {"default": cls()}

    @classmethod
    async def sample_cleanup(
        cls, task_name: str, config: Any, environments: dict[str, SandboxEnvironment], interrupted: bool
    ) -> None:
        """Remove the folder."""
        for environment in environments.values():
            environment.as_type(cls)._home.cleanup()

    async def exec(
        self,
        cmd: list[str],
        input: str | bytes | None = None,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        timeout: int | None = None,
        timeout_retry: bool = True,
        concurrency: bool = True,
    ) -> ExecResult[str]:
        """Run a command; `user` is always one without rights.

        Raises:
            TimeoutError: it took too long.
        """
        async with self._one_at_a_time:
            (self.folder / _STREAMS[0]).write_bytes(input.encode() if isinstance(input, str) else input or b"")
            return await anyio.to_thread.run_sync(self._run, cmd, cwd or ".", env or {}, timeout or _SECONDS)

    def _run(self, cmd: list[str], cwd: str, env: dict[str, str], seconds: float) -> ExecResult[str]:
        for path in (self.folder.parent, self.folder, *self.folder.rglob("*")):
            if not path.is_symlink():  # the agent may be another user
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        sandbox = Sandbox(
            SandboxLimits(seconds=seconds),
            read_only=[self.folder],
            network=best_kind() != "namespaces",
            package=False,
        )
        command = ["/bin/sh", "-c", _START, "sh", str(self.folder), cwd, *cmd]
        environment = {"PATH": f"{sys.prefix}/bin:/usr/bin:/bin", **env}
        with sandbox.running(command, environment) as confined:
            code = confined.wait(seconds)
            if code is None:
                raise TimeoutError(f"{cmd[0]}: got no end within {seconds:g} s")
            output, errors = (_text(confined.work / name) for name in _STREAMS[1:])
            shutil.rmtree(self.folder)
            shutil.copytree(confined.work, self.folder, symlinks=True, ignore=_not_plain)
        return ExecResult(code == 0, code, output, errors or ("" if code == 0 else confined.ended_by))

    async def write_file(self, file: str, contents: str | bytes) -> None:
        """Write a file of the folder."""
        path = self._path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents.encode() if isinstance(contents, str) else contents)

    async def read_file(self, file: str, text: bool = True) -> Any:
        """The content of a file of the folder."""
        content = self._path(file).read_bytes()
        return content.decode() if text else content

    def _path(self, file: str) -> Path:
        """A path in the folder; links that lead out of it are refused."""
        path = (self.folder / file).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise PermissionError(f"{file}: got a path outside of the sandbox, expected one inside")
        return path


def _text(path: Path) -> str:
    """The begin of the output in a plain file; a command may have put anything in its place."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return file.read(_LARGEST).decode(errors="replace") if plain else ""


def _not_plain(folder: str, names: Iterable[str]) -> list[str]:
    """Streams, and pipes, sockets and devices, which cannot be copied."""

    def is_plain(name: str) -> bool:
        mode = os.lstat(os.path.join(folder, name)).st_mode
        return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)

    return [name for name in names if name in _STREAMS or not is_plain(name)]
