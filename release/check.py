"""The dry run of a release: build what an index would get, check it, and install it as a newcomer would.

    make release-check

Each wheel of `wheels.py` finds tracks in an environment of its own, and those for AArch64 are emulated. The install
lines of README and docs are run. An environment without any extra must answer every command that needs one with the
line that installs it, and that line must work. Each extra alone runs the first command of its area.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))  # for tests, which run this file from elsewhere

from arm import compare
from extras import run_first_command
from first_picture import first_picture
from lines import install_lines, report
from using import ADDRESS, ROOT, Failed, environment, first_commands, interpreter, run
from wheels import build

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
    "fleet demo": "fleet",
    "fleet certificate authority": "fleet",
    "chain demo": "chain",
    "analysisops demo": "analysisops",
}
"""Command, in an environment without extras, -> the extra that its answer must name: that of the first package."""


def pythons() -> list[str]:
    """Versions of Python that the package names."""
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]
    return [line.rpartition(" ")[2] for line in classifiers if re.search(r":: 3\.\d+$", line)]


def wheel_for(folder: Path, version: str, processor: str = "x86_64") -> Path:
    """The wheel for a version of Python."""
    tag = f"cp{version.replace('.', '')}-cp" if version == "3.11" else "cp312-abi3"
    (wheel,) = folder.glob(f"*-{tag}*_{processor}.whl")
    return wheel


def find_tracks(wheel: Path, version: str) -> None:
    """A wheel alone, with the kernels for all CPUs, finds tracks."""
    with environment(wheel, "tracking", interpreter(version)) as bin_, tempfile.TemporaryDirectory() as name:
        run("beampipe tracking example events.parquet", Path(name), path=bin_)
        run("beampipe track events.parquet -o tracks.parquet", Path(name), path=bin_)
        output = run("python -c 'import beampipe; beampipe.show_versions()'", Path(name), path=bin_)
        if "kernels for baseline, avx2, avx512" not in output:
            raise Failed(f"{wheel.name}: expected kernels for all instruction sets, got\n{output}")


def look_at(folder: Path, wheel: Path) -> None:
    """What an index, and whoever reads the metadata, would refuse."""
    run(["twine", "check", "--strict", *map(str, [*folder.glob("*.tar.gz"), wheel])])
    text = run(["python", "-m", "zipfile", "-l", str(wheel)])
    kernels = ("baseline", "avx2", "avx512") if "x86_64" in wheel.name else ("neon", "sve256", "sve512")
    parts = ("_native.", "libtriton_beampipe.so", "tracking/data/mu0.parquet", "docs/install.md", "licenses/LICENSE")
    for part in (*parts, *(f"_kernels_{isa}.so" for isa in kernels)):
        if part not in text:
            raise Failed(f"{wheel.name}: {part} is not in it")


def install_lines_hold(folder: Path, source: Path) -> None:
    """Each install line resolves with every Python; and with the oldest, it installs."""
    failed = report(install_lines(), folder, pythons())
    with tempfile.TemporaryDirectory(prefix="beampipe-source-") as name:
        run(["tar", "-xf", str(source), "-C", name, "--strip-components", "1"])
        failed += report(install_lines(), folder, pythons()[:1], Path(name))
    if failed:
        raise Failed(f"{failed} install lines")


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


class Steps:
    """Steps that each hold or fail, told in a line each; what fails stops nothing."""

    def __init__(self) -> None:
        self.failed = 0

    def __call__(self, name: str, work: Callable[[], object]) -> None:
        """Take a step."""
        start = time.monotonic()
        try:
            work()
        except (Failed, subprocess.SubprocessError, OSError, ValueError) as error:
            self.failed += 1
            print(f"FAILED {name}: {error}", flush=True)
        else:
            print(f"ok     {name} ({time.monotonic() - start:.0f} s)", flush=True)


def check(folder: Path, python: str, *, quick: bool = False) -> int:
    """Check the files of a release; prints a line for each step and returns the number of failures.

    Args:
        folder: holds them.
        python: interpreter of the environments.
        quick: leave out what takes longest: installs by every install line, and emulation.
    """
    step = Steps()
    for wheel in sorted(folder.glob("*.whl")):
        step(f"what an index would refuse, {wheel.name}", partial(look_at, folder, wheel))
    version = run([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).strip()
    for other in pythons():
        step(f"tracks with Python {other}", partial(find_tracks, wheel_for(folder, other), other))
    step("first picture", lambda: print(first_picture(wheel_for(folder, version), python)))
    step("review of the project", partial(run, "sp-repo-review ."))
    step("without extras: every command says which one", lambda: without_extras(wheel_for(folder, version), python))
    for extra in first_commands():
        step(f"first command of [{extra}]", partial(run_first_command, wheel_for(folder, version), extra, python))
    if not quick:
        (source,) = folder.glob("*.tar.gz")
        step("install lines", lambda: install_lines_hold(folder, source))
        step("labels on AArch64", lambda: labels_on_arm(folder, version, python))
    return step.failed


def labels_on_arm(folder: Path, version: str, python: str) -> None:
    """Emulated AArch64 processors find the tracks that this one finds, by the wheels of both."""
    with environment(wheel_for(folder, version), "tracking", python) as bin_:
        compare(wheel_for(folder, "3.13", "aarch64"), str(bin_ / "python"), ["0:2", "60:1"])


def main() -> None:
    """Build the files if none are given, and check them."""
    parser = argparse.ArgumentParser(description="The dry run of a release.")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environments")
    parser.add_argument("--dist", type=Path, help="folder with source and wheels, in place of building them")
    parser.add_argument("--quick", action="store_true", help="no installs by every install line, no emulation")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="beampipe-release-") as name:
        folder = options.dist or Path(name)
        if options.dist is None:
            os.environ.setdefault("BEAMPIPE_REPOSITORY", ADDRESS)
            build(folder)
        sys.exit(check(folder.absolute(), options.python, quick=options.quick) > 0)


if __name__ == "__main__":
    main()
