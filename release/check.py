"""The dry run of a release: build what an index would get, check it, and use it as a newcomer would.

    make release-check
    python release/check.py --only none tracking            # an environment without any extra, one with this one
    python release/check.py --texts README.md               # commands of this text alone

Source and wheel are built, and the wheel from the source. Then the wheel is installed into clean environments, one for
each extra that README and documentation name. In each the commands of these texts are run, line by line, in a folder
without anything. An environment without any extra must answer every command that needs one with the line that installs
it, and that line must work. `told.py` says which lines cannot be run here, and why.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))  # for tests, which run this file from elsewhere

from told import Session, install_lines, sessions
from using import Failed, environment, run, use

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


def build(folder: Path, python: str) -> Path:
    """Source, and the wheel from it for an interpreter; returns the wheel."""
    run(["uv", "build", "-q", "--python", python, "--out-dir", str(folder)])
    (wheel,) = folder.glob("*.whl")
    return wheel


def look_at(folder: Path, wheel: Path) -> None:
    """What an index, and whoever reads the metadata, would refuse."""
    run(["twine", "check", "--strict", *map(str, [*folder.glob("*.tar.gz"), wheel])])
    output = run(["auditwheel", "show", str(wheel)])
    if "manylinux" not in output:
        raise Failed(f"auditwheel names no manylinux platform that the wheel could be repaired to:\n{output}")
    text = run(["python", "-m", "zipfile", "-l", str(wheel)])
    for part in ("_native.", "_kernels_baseline.so", "libtriton_beampipe.so", "tracking/data/mu0.parquet"):
        if part not in text:
            raise Failed(f"{wheel.name}: {part} is not in it; was there no compiler?")


def look_at_project() -> None:
    """Citation, workflows, and the review of the whole."""
    run("cffconvert --validate")
    run("zizmor --offline --quiet .github")
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
        """Take a step; the lines that it returns are printed below it."""
        start = time.monotonic()
        try:
            notes = work()
        except (Failed, subprocess.SubprocessError, OSError, ValueError) as error:
            self.failed += 1
            print(f"FAILED {name}: {error}", flush=True)
        else:
            print(f"ok     {name} ({time.monotonic() - start:.0f} s)", flush=True)
            for note in notes if isinstance(notes, list) else []:
                print(f"       {note}", flush=True)


def try_texts(step: Steps, wheel: Path, extra: str, texts: list[Session], python: str) -> None:
    """The commands of all texts that name an extra, in one environment that has this one."""
    start = time.monotonic()
    with environment(wheel, extra, python) as bin_:
        print(f"ok     [{extra}]: environment ({time.monotonic() - start:.0f} s)", flush=True)
        for session in texts:

            def try_text(lines: tuple[str, ...] = session.lines) -> list[str]:
                return use(lines, bin_)

            step(f"[{extra}]: {len(session.lines)} lines of {session.text}", try_text)


def main() -> None:
    """Run the steps, and say how each went."""
    parser = argparse.ArgumentParser(description="The dry run of a release.")
    parser.add_argument("--only", nargs="*", metavar="EXTRA", help="extras to try, or none; default: all")
    parser.add_argument("--texts", nargs="*", metavar="TEXT", help="texts whose commands to try; default: all")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environments")
    parser.add_argument("--wheel", type=Path, help="a wheel that is there, in place of building one")
    arguments = parser.parse_args()
    told = [session for session in sessions() if arguments.texts is None or session.text in arguments.texts]
    extras = dict.fromkeys(session.extra for session in told)
    step = Steps()
    with tempfile.TemporaryDirectory(prefix="beampipe-release-") as name:
        folder = Path(name)
        if arguments.wheel is None:
            step("source and wheel", lambda: build(folder, arguments.python))
            wheels = list(folder.glob("*.whl"))
            if not wheels:
                sys.exit(1)
            step("what an index would refuse", lambda: look_at(folder, wheels[0]))
            (source,) = folder.glob("*.tar.gz")
            step("the line of README that installs", lambda: install_as_readme_says(source, arguments.python))
        else:
            wheels = [arguments.wheel.absolute()]
        step("citation, workflows, review", look_at_project)
        for extra in ["none", *extras] if arguments.only is None else arguments.only:
            if extra == "none":
                step(
                    "without extras: every command says which one", lambda: without_extras(wheels[0], arguments.python)
                )
                continue
            texts = [session for session in told if session.extra == extra]
            try:
                try_texts(step, wheels[0], extra, texts, arguments.python)
            except Failed as error:
                step.failed += 1
                print(f"FAILED [{extra}]: {error}", flush=True)
    sys.exit(1 if step.failed else 0)


if __name__ == "__main__":
    main()
