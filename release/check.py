"""The dry run of a release: build what an index would get, check it, and install it as a newcomer would.

    make release-check

Source is built, and from it a wheel for each Python, which auditwheel repairs for the oldest glibc that it runs with.
Each wheel finds tracks in an environment of its own. The lines of README that install are run in a folder with the
source. An environment without any extra must answer every command that needs one with the line that installs it, and
that line must work. `extras.py` runs the first command of each extra.
"""

from __future__ import annotations

import argparse
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

from first_picture import first_picture
from using import ROOT, Failed, environment, install_lines, run

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


ALL_SETS: Final = ["-C", "cmake.define.BEAMPIPE_ISA=all"]
"""Option of a build whose kernels are for all CPUs."""


def pythons() -> list[str]:
    """Versions of Python that the package names."""
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]
    return [line.rpartition(" ")[2] for line in classifiers if re.search(r":: 3\.\d+$", line)]


def build(folder: Path) -> None:
    """Source, and from it a wheel for each version of Python."""
    run(["uv", "build", "-q", "--sdist", "--out-dir", str(folder)])
    (source,) = folder.glob("*.tar.gz")
    for version in pythons():
        compiled = folder / version
        run(["uv", "build", "-q", "--wheel", *ALL_SETS, "-p", version, "--out-dir", str(compiled), str(source)])
        run(["auditwheel", "repair", "-w", str(folder), *map(str, compiled.glob("*.whl"))])
    print(*(wheel.name for wheel in sorted(folder.glob("*.whl"))), sep="\n", flush=True)


def find_tracks(wheel: Path, version: str) -> None:
    """A wheel alone, with the kernels for all CPUs, finds tracks."""
    with environment(wheel, "tracking", version) as bin_, tempfile.TemporaryDirectory() as name:
        run("beampipe tracking example events.parquet", Path(name), path=bin_)
        run("beampipe track events.parquet -o tracks.parquet", Path(name), path=bin_)
        output = run("python -c 'import beampipe; beampipe.show_versions()'", Path(name), path=bin_)
        if "kernels for baseline, avx2, avx512" not in output:
            raise Failed(f"{wheel.name}: expected kernels for all instruction sets, got\n{output}")


def look_at(folder: Path, wheel: Path) -> None:
    """What an index, and whoever reads the metadata, would refuse."""
    run(["twine", "check", "--strict", *map(str, [*folder.glob("*.tar.gz"), wheel])])
    text = run(["python", "-m", "zipfile", "-l", str(wheel)])
    for part in ("_native.", "_kernels_baseline.so", "libtriton_beampipe.so", "tracking/data/mu0.parquet"):
        if part not in text:
            raise Failed(f"{wheel.name}: {part} is not in it; was there no compiler?")


def look_at_project() -> None:
    """Citation, and the review of the whole."""
    run("cffconvert --validate")
    run("sp-repo-review .")


def install_as_readme_says(source: Path, python: str) -> None:
    """The README's lines that install, in a folder with the source and a fresh environment; then a first command."""
    with tempfile.TemporaryDirectory(prefix="beampipe-checkout-") as name:
        folder = Path(name)
        run(["tar", "-xf", str(source), "-C", name, "--strip-components", "1"])
        run([python, "-m", "venv", "env"], folder)
        bin_ = folder / "env/bin"
        for line in install_lines():
            if line != "make test":  # `.ci/run` runs it
                run(line, folder, path=bin_)
        run("beampipe tracking example events.parquet", folder, path=bin_)
        run("beampipe track events.parquet -o tracks.parquet", folder, path=bin_)


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


def main() -> None:
    """Run the steps, and say how each went."""
    parser = argparse.ArgumentParser(description="The dry run of a release.")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environments")
    python = parser.parse_args().python
    step = Steps()
    with tempfile.TemporaryDirectory(prefix="beampipe-release-") as name:
        folder = Path(name)
        step("source and wheels", lambda: build(folder))
        wheels, sources = (
            {wheel.name.split("-")[2]: wheel for wheel in folder.glob("*.whl")},
            list(folder.glob("*.tar.gz")),
        )
        if len(wheels) < len(pythons()):
            sys.exit(1)
        for version in pythons():
            wheel = wheels[f"cp{version.replace('.', '')}"]
            step(f"what an index would refuse, {version}", partial(look_at, folder, wheel))
            step(f"tracks with Python {version}", partial(find_tracks, wheel, version))
        tag = run([python, "-c", "import sys; print('cp%d%d' % sys.version_info[:2])"]).strip()
        step("first picture", lambda: print(first_picture(wheels[tag], python)))
        step("the line of README that installs", lambda: install_as_readme_says(sources[0], python))
        step("citation, review", look_at_project)
        step("without extras: every command says which one", lambda: without_extras(wheels[tag], python))
    sys.exit(1 if step.failed else 0)


if __name__ == "__main__":
    main()
