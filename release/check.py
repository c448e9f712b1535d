"""The dry run of a release: build what an index would get, check it, and use it as a newcomer would.

    make release-check
    python release/check.py --only tracking calibration     # environments with these extras alone

Source and wheel are built, and the wheel from the source. Then the wheel is installed into clean environments, one for
each extra that the README names. In each its commands are run, line by line, in an empty folder. An environment without
any extra must answer every command that needs one with the line that installs it, and that line must work.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
TOOLS: Final = Path(sys.executable).parent
ADDRESS: Final = "https://forge.invalid/beampipe"
"""Stands for the address of the repository, which the forge tells when it releases."""

WITHOUT: Final = {
    "track events.parquet -o out.parquet": "tracking",
    "tracking demo": "tracking",
    "tracking display events.parquet -o out.png": "tracking",
    "tracking evaluate events.parquet": "tracking",
    "tracking simulate -o out.parquet": "tracking",
    "tracking train events.parquet -o out --quick": "train",
    "calibration demo": "calibration",
    "calibration run dijets.toml": "calibration",
    "calibration toy -o out": "calibration",
    "serving demo": "serving",
    "serving export -o out": "serving",
    "serve": "serving",
    "fleet demo": "serving",
    "fleet certificate authority": "fleet",
    "analysisops demo": "analysisops",
}
"""Command, in an environment without extras, -> the extra that its answer must name: that of the first package."""

NOT_HERE: Final = {
    "beampipe analysisops run -a model.toml": "needs a language model",
    "--executor": "needs a cluster",
}
"""What a line of the README holds that cannot be run here -> why."""


class Failed(Exception):
    """A step did not hold; the message says which and why."""


def run(command: str | list[str], folder: Path = ROOT, *, path: Path = TOOLS, limit: float = 1800.0) -> str:
    """The output of a command; `Failed` if it fails or prints a traceback."""
    words = shlex.split(command) if isinstance(command, str) else command
    environment = {**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}", "BEAMPIPE_REPOSITORY": ADDRESS}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=limit
    )
    said = done.stdout + done.stderr
    if done.returncode != 0 or "Traceback" in said:
        raise Failed(f"{' '.join(words)}: exit code {done.returncode}\n{said[-3000:]}")
    return said


def build(folder: Path) -> Path:
    """Source, and the wheel from it; returns the wheel."""
    run(["python", "-m", "build", "--outdir", str(folder)])
    (wheel,) = folder.glob("*.whl")
    return wheel


def look_at(folder: Path, wheel: Path) -> None:
    """What an index, and whoever reads the metadata, would refuse."""
    run(["twine", "check", "--strict", *map(str, sorted(folder.iterdir()))])
    said = run(["auditwheel", "show", str(wheel)])
    if "manylinux" not in said:
        raise Failed(f"auditwheel names no manylinux platform that the wheel could be repaired to:\n{said}")
    text = run(["python", "-m", "zipfile", "-l", str(wheel)])
    for part in ("_native.", "_kernels_baseline.so", "libtriton_beampipe.so", "tracking/data/mu0.parquet"):
        if part not in text:
            raise Failed(f"{wheel.name}: {part} is not in it; was there no compiler?")


def look_at_project() -> None:
    """Citation, workflows, and the review of the whole."""
    run("cffconvert --validate")
    run("zizmor --offline --quiet .github")
    run("sp-repo-review .")


@contextmanager
def environment(wheel: Path, extra: str, python: str) -> Iterator[Path]:
    """The `bin` of a clean environment with the wheel and one extra; without any, if `extra` is empty."""
    with tempfile.TemporaryDirectory(prefix=f"beampipe-{extra or 'bare'}-") as folder:
        run(["uv", "venv", "-q", "--seed", "-p", python, folder])
        bin_ = Path(folder) / "bin"
        wanted = f"beampipe[{extra}] @ {wheel.as_uri()}" if extra else str(wheel)
        run(["uv", "pip", "install", "-q", "-p", str(bin_ / "python"), wanted])
        yield bin_


def readme_lines() -> dict[str, list[str]]:
    """Extra that a paragraph of the README's "Use" names -> the commands below it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    use = text.partition("\n## Use\n")[2].partition("\n## ")[0]
    found: dict[str, list[str]] = {}
    for extra, block in re.findall(r"\(`\[(\w+)\]`\)[^\n]*:\n\n((?:    .*\n)+)", use):
        lines = [line.split("  #")[0].strip() for line in block.splitlines()]
        found.setdefault(extra, []).extend(lines)
    return found


def use(lines: list[str], bin_: Path) -> None:
    """Run lines one after the other in an empty folder; a server runs until the last of them."""
    with tempfile.TemporaryDirectory(prefix="beampipe-use-") as name:
        folder, servers = Path(name), []
        try:
            for line in lines:
                if reason := next((why for part, why in NOT_HERE.items() if part in line), ""):
                    print(f"    not run: {line}: {reason}")
                elif line == "beampipe serve":
                    servers.append(serve(folder, bin_))
                else:
                    run(["bash", "-euo", "pipefail", "-c", line], folder, path=bin_)
        finally:
            for server in servers:
                server.send_signal(signal.SIGINT)
                server.wait(60)


def serve(folder: Path, bin_: Path) -> subprocess.Popen[str]:
    """A server in the background, which answers."""
    log = (folder / "serve.log").open("w")
    server = subprocess.Popen([str(bin_ / "beampipe"), "serve"], cwd=folder, stdout=log, stderr=log, text=True)
    until = time.monotonic() + 180.0
    while "grpc://" not in (folder / "serve.log").read_text():
        if server.poll() is not None or time.monotonic() > until:
            server.kill()
            raise Failed(f"beampipe serve: {(folder / 'serve.log').read_text()}")
        time.sleep(0.5)
    return server


def without_extras(wheel: Path, python: str) -> None:
    """Every command names its extra, in one line; and what the line says installs it."""
    with environment(wheel, "", python) as bin_, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run("beampipe tracking example events.parquet", folder, path=bin_)
        run("beampipe calibration init dijets.toml", folder, path=bin_)
        for command, extra in WITHOUT.items():
            words = [str(bin_ / "beampipe"), *command.split()]
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
            expected = f"pip install 'beampipe[{extra}]'"
            if done.returncode != 2 or expected not in done.stderr or "Traceback" in done.stderr:
                raise Failed(f"beampipe {command}: got {done.returncode}, {done.stderr!r}; expected {expected}")
        run([str(bin_ / "pip"), "install", "-q", "beampipe[tracking]"], folder, path=bin_)
        run("beampipe track events.parquet -o tracks.parquet", folder, path=bin_)


def main() -> None:
    """Run the steps, and say how each went."""
    parser = argparse.ArgumentParser(description="The dry run of a release.")
    parser.add_argument("--only", nargs="*", metavar="EXTRA", help="extras to try; default: all that the README names")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environments")
    parser.add_argument("--wheel", type=Path, help="a wheel that is there, in place of building one")
    arguments = parser.parse_args()
    lines = readme_lines()
    python = arguments.python
    failed = 0

    def step(name: str, work: Callable[[], object]) -> None:
        nonlocal failed
        start = time.monotonic()
        try:
            work()
        except (Failed, subprocess.TimeoutExpired, ValueError) as error:
            failed += 1
            print(f"FAILED {name}: {error}", flush=True)
        else:
            print(f"ok     {name} ({time.monotonic() - start:.0f} s)", flush=True)

    with tempfile.TemporaryDirectory(prefix="beampipe-release-") as name:
        folder = Path(name)
        if arguments.wheel is None:
            step("source and wheel", lambda: build(folder))
            wheels = list(folder.glob("*.whl"))
            if not wheels:
                sys.exit(1)
            step("what an index would refuse", lambda: look_at(folder, wheels[0]))
        else:
            wheels = [arguments.wheel.absolute()]
        step("citation, workflows, review", look_at_project)
        step("without extras: every command says which one", lambda: without_extras(wheels[0], python))
        for extra in lines if arguments.only is None else arguments.only:

            def try_extra(extra: str = extra) -> None:
                with environment(wheels[0], extra, python) as bin_:
                    use(lines[extra], bin_)

            step(f"[{extra}]: {len(lines[extra])} lines of the README", try_extra)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
