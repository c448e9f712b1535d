"""Compiles the kernels for AArch64, runs them emulated, and compares labels with those of this processor, byte by byte.

    make test-arm
    python release/arm.py --all    # every shipped event

Everything is made under build/arm/: a root with Debian's Python for arm64, packages, the compiled package. The
interpreter that names the modules is Debian's own python3, which has the version of that in the root.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
BUILD: Final = ROOT / "build/arm"
DEBIAN: Final = BUILD / "root"
SITE: Final = BUILD / "site"
PYTHON: Final = "/usr/bin/python3"

PROGRAMS: Final = ("aarch64-linux-gnu-g++", "qemu-aarch64", "mmdebstrap", "cmake", "ninja", PYTHON)
PACKAGES: Final = ("numpy>=2.1", "typer>=0.26", "rich>=13.9", "scipy>=1.13", "pyarrow>=18", "safetensors>=0.5")
"""What track finding needs."""

PROCESSORS: Final = {
    "neon": "cortex-a72",
    "sve256": "max,sve-default-vector-length=32",
    "sve512": "max,sve-default-vector-length=64",
}
"""Kernels that must be chosen -> emulated processor; lengths of vectors in bytes."""


def run(*words: str | Path, **environ: str) -> str:
    """Output of a command; ends the program if it fails."""
    surroundings = {**os.environ, "PYTHONPATH": "", **environ}
    done = subprocess.run(words, cwd=ROOT, env=surroundings, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\nfailed with code {done.returncode}: {' '.join(map(str, words))}")
    return done.stdout


def prepare() -> None:
    """The root and the packages, once."""
    uv = ("uv", "pip", "install", "-q")
    if not DEBIAN.exists():
        suite = run("sh", "-c", ". /etc/os-release && echo $VERSION_CODENAME").strip()
        include = "--include=base-files,python3,libpython3-dev,libstdc++6,libgomp1"
        made = DEBIAN.with_suffix(".part")
        shutil.rmtree(made, ignore_errors=True)
        run("mmdebstrap", "--quiet", "--variant=extract", "--architectures=arm64", include, suite, made)
        made.rename(DEBIAN)
    if not (BUILD / "host").exists():
        run(*uv, "--target", BUILD / "host", "nanobind>=2.4")
    if not (BUILD / "packages").exists():
        version = run(PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
        of_arm = ("--python-platform", "aarch64-unknown-linux-gnu", "--python-version", version)
        run(*uv, *of_arm, "--only-binary", ":all:", "--target", BUILD / "packages", *PACKAGES)


def compile_package() -> None:
    """The package for AArch64, in `SITE`."""
    version = run(PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    run(
        *("cmake", "-S", ".", "-B", BUILD / "cmake", "-G", "Ninja"),
        *("-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", f"-DCMAKE_CXX_COMPILER={PROGRAMS[0]}"),
        *(f"-DPython_EXECUTABLE={PYTHON}", f"-DPython_INCLUDE_DIR={DEBIAN}/usr/include/python{version}"),
        f"-DCMAKE_CXX_FLAGS=-idirafter {DEBIAN}/usr/include",
        f"-DNB_SUFFIX=.cpython-{version.replace('.', '')}-aarch64-linux-gnu.so",
        "-DNB_SUFFIX_S=.abi3.so",
        PYTHONPATH=str(BUILD / "host"),
    )
    run("cmake", "--build", BUILD / "cmake", PYTHONPATH=str(BUILD / "host"))
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.copytree(ROOT / "src/beampipe", SITE / "beampipe", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    run("cmake", "--install", BUILD / "cmake", "--prefix", SITE)


def emulated(processor: str, *words: str | Path) -> str:
    """Output of Debian's Python for arm64 under qemu."""
    (python,) = (DEBIAN / "usr/bin").glob("python3.[0-9]*[0-9]")
    return run(
        *("qemu-aarch64", "-cpu", processor, "-L", DEBIAN, python, *words),
        PYTHONHOME=str(DEBIAN / "usr"),
        PYTHONPATH=f"{SITE}:{BUILD / 'packages'}",
        BEAMPIPE_ISA="",
    )


def main() -> None:
    """Compile, run and compare."""
    parser = argparse.ArgumentParser(
        description="Compares labels of emulated AArch64 processors with those of this one."
    )
    parser.add_argument("--all", action="store_true", help="every shipped event, in place of three: hours")
    options = parser.parse_args()
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        sys.exit(
            f"programs that are missing: {', '.join(missing)}; Debian has them, `make test-arm` as root installs them"
        )
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    BUILD.mkdir(parents=True, exist_ok=True)
    prepare()
    compile_package()
    samples = ("0:1000", "60:1000", "200:1000") if options.all else ("0:2", "60:1")
    labels = ROOT / "release/labels.py"
    here = json.loads(run(sys.executable, labels, *samples))
    print(f"{here.pop('isa')} here: {len(here)} finders and events", flush=True)
    failed = False
    for isa, processor in PROCESSORS.items():
        there = json.loads(emulated(processor, labels, *samples))
        chosen = there.pop("isa")
        different = [name for name in here if here[name] != there.get(name)]
        failed |= chosen != isa or bool(different)
        print(
            f"{isa}: chosen {chosen}, {len(here) - len(different)} of {len(here)} equal",
            *different,
            sep="\n  ",
            flush=True,
        )
    sys.exit(failed)


if __name__ == "__main__":
    main()
