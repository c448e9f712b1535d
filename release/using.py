"""Commands as a newcomer types them: in a folder without files, a clean environment, servers in another terminal."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from told import ROOT, reason

TOOLS: Final = Path(sys.executable).parent
SLOW: Final = 20.0
"""Time [s] above which the report names a line with its time."""
ADDRESS: Final = "https://forge.invalid/beampipe"
"""Stands for the address of the repository, which the forge tells when it releases."""

_SERVER: Final = re.compile(
    r"beampipe (serve|fleet (gateway|sidecar)|analysisops (serve|green|tools|agent))( |$)"
    r"|python examples/analysisops_agent"
)
"""Commands that run until they are interrupted."""
_READY: Final = re.compile(r"(grpc|http)s?://")
"""What each of them says once it answers: its address."""


class Failed(Exception):
    """A step did not hold; the message says which and why."""


def run(
    command: str | list[str],
    folder: Path = ROOT,
    *,
    path: Path = TOOLS,
    home: Path | None = None,
    limit: float = 1800.0,
) -> str:
    """The output of a command; `Failed` if it fails or prints a traceback.

    Args:
        command: words, or a line of them.
        folder: where it runs.
        path: folder of the programs that are found first.
        home: home of whoever types it; None for the real one.
        limit: time after which it has failed [s].
    """
    words = shlex.split(command) if isinstance(command, str) else command
    done = subprocess.run(
        words, cwd=folder, env=surroundings(path, home), capture_output=True, text=True, check=False, timeout=limit
    )
    output = done.stdout + done.stderr
    if done.returncode != 0 or "Traceback" in output:
        raise Failed(f"{' '.join(words)}: exit code {done.returncode}\n{output[-3000:]}")
    return output


def surroundings(path: Path, home: Path | None = None) -> dict[str, str]:
    """The variables of a command: nothing of our own checkout and settings, `path` before all other programs."""
    home = home or Path.home()
    mine = {"PATH": f"{path}{os.pathsep}{os.environ['PATH']}", "BEAMPIPE_REPOSITORY": ADDRESS, "HOME": str(home)}
    left_out = ("PYTHONPATH", "XDG_CONFIG_HOME", "XDG_STATE_HOME")
    return {name: value for name, value in os.environ.items() if name not in left_out} | mine


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


def use(lines: tuple[str, ...], bin_: Path) -> list[str]:
    """Run lines one after the other in a folder that holds the examples alone.

    A server runs until the next one is started, or until the last line; then it is interrupted, and must end in order.
    A fleet that was left up is ended.

    Returns:
        Notes for the report: the lines that were not run, each with its reason, and the slow ones.
    """
    notes, server = [], None
    with tempfile.TemporaryDirectory(prefix="beampipe-use-") as name, tempfile.TemporaryDirectory() as other:
        folder, home = Path(name), Path(other)
        shutil.copytree(ROOT / "examples", folder / "examples")
        (folder / "tests").symlink_to(ROOT / "tests")
        try:
            for line in lines:
                start = time.monotonic()
                if why := reason(line):
                    notes.append(f"not run: {line}: {why}")
                elif _SERVER.match(line):
                    end(server)
                    server = serve(line, folder, surroundings(bin_, home))
                else:
                    run(["bash", "-euo", "pipefail", "-c", line], folder, path=bin_, home=home)
                if (seconds := time.monotonic() - start) > SLOW:
                    first, *rest = line.splitlines()
                    notes.append(f"{seconds:.0f} s: {first}{' ...' if rest else ''}")
            end(server)
        except BaseException:
            if server is not None:
                server.terminate()
            raise
        finally:
            if "beampipe fleet up" in lines:
                with suppress(Failed):
                    run("beampipe fleet down", folder, path=bin_, home=home)
    return notes


def serve(line: str, folder: Path, variables: dict[str, str]) -> subprocess.Popen[str]:
    """A server in the background, which has said where it answers."""
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(
            ["bash", "-c", f"exec {line}"], cwd=folder, env=variables, stdout=log, stderr=log, text=True
        )
        until = time.monotonic() + 180.0
        while True:
            log.seek(0)
            output = log.read()
            if _READY.search(output):
                return server
            if server.poll() is not None or time.monotonic() > until:
                server.kill()
                raise Failed(f"{line}: {output[-3000:]}")
            time.sleep(0.5)


def end(server: subprocess.Popen[str] | None) -> None:
    """Interrupt a server, if there is one, and wait until it has gone."""
    if server is not None:
        server.send_signal(signal.SIGINT)
        server.wait(60)
