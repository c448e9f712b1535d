"""Finds tracks with the wheel for AArch64, emulated, and compares labels with those of this processor, byte by byte.

    make test-arm
    python release/arm.py --here .venv/bin/python --all    # every shipped event

Made under build/arm/: a root with Debian's Python for arm64, and the packages that track finding needs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))  # for tests, which run the files beside it from elsewhere

from using import ROOT, Failed, run
from wheels import build_source, build_wheel

BUILD: Final = ROOT / "build/arm"
DEBIAN: Final = BUILD / "root"
LABELS: Final = ROOT / "release/labels.py"

PACKAGES: Final = ("numpy>=2.1", "typer>=0.26", "rich>=13.9", "scipy>=1.13", "pyarrow>=18", "safetensors>=0.5")
"""What track finding needs."""

PROCESSORS: Final = {
    "neon": "cortex-a72",
    "sve256": "max,sve-default-vector-length=32",
    "sve512": "max,sve-default-vector-length=64",
}
"""Kernels that must be chosen -> emulated processor; lengths of vectors in bytes."""


def prepare() -> Path:
    """The root and the packages, once; returns the Python in it."""
    if not DEBIAN.exists():
        made = DEBIAN.with_suffix(".part")
        shutil.rmtree(made, ignore_errors=True)
        include = "--include=base-files,python3,libpython3-stdlib,libstdc++6"
        run(["mmdebstrap", "--quiet", "--variant=extract", "--architectures=arm64", include, "trixie", str(made)])
        made.rename(DEBIAN)
    (python,) = (DEBIAN / "usr/bin").glob("python3.[0-9]*[0-9]")
    if not (BUILD / "packages").exists():
        install(BUILD / "packages.part", python, *PACKAGES)
        (BUILD / "packages.part").rename(BUILD / "packages")
    return python


def install(folder: Path, python: Path, *wanted: str) -> None:
    """Install wheels for AArch64 into a folder; `python` is the interpreter that will import them."""
    shutil.rmtree(folder, ignore_errors=True)
    there = ["--python-platform", "aarch64-manylinux_2_36", "--python-version", python.name.removeprefix("python")]
    run(["uv", "pip", "install", "-q", *there, "--only-binary", ":all:", "--target", str(folder), *wanted])


def labels_there(python: Path, processor: str, samples: list[str]) -> dict[str, str]:
    """Digests of labels by an emulated processor."""
    words = ["qemu-aarch64", "-cpu", processor, "-L", str(DEBIAN), str(python), str(LABELS), *samples]
    environ = {"PYTHONHOME": str(DEBIAN / "usr"), "PYTHONPATH": f"{BUILD / 'site'}:{BUILD / 'packages'}"}
    done = subprocess.run(
        words, env={"PATH": "/usr/bin:/bin", **environ}, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise Failed(f"{' '.join(words)}: exit code {done.returncode}")
    return dict(json.loads(done.stdout))


def compare(wheel: Path, here: str, samples: list[str]) -> None:
    """Compare the labels of each instruction set with those of this processor; prints a line for each.

    Args:
        wheel: for AArch64.
        here: interpreter of an environment with the package.
        samples: of `labels.py`.

    Raises:
        Failed: other labels, or another instruction set than the processor has.
    """
    python = prepare()
    install(BUILD / "site", python, "--no-deps", str(wheel))
    expected = json.loads(run([here, str(LABELS), *samples]))
    print(f"{expected.pop('isa')} here: {len(expected)} finders and events", flush=True)
    failed = []
    for isa, processor in PROCESSORS.items():
        found = labels_there(python, processor, samples)
        chosen = found.pop("isa")
        different = [name for name in expected if expected[name] != found.get(name)]
        print(f"{isa}: chosen {chosen}, {len(expected) - len(different)} of {len(expected)} equal", flush=True)
        failed += different if chosen == isa else [f"{isa}: got {chosen}", *different]
    if failed:
        raise Failed("labels differ: " + "; ".join(failed))


def main() -> None:
    """Build the wheel if none is given, run it and compare."""
    parser = argparse.ArgumentParser(description="Labels of emulated AArch64 processors beside those of this one.")
    parser.add_argument("--all", action="store_true", help="every shipped event, in place of three: hours")
    parser.add_argument("--here", default=sys.executable, help="interpreter that finds tracks on this processor")
    parser.add_argument("--wheel", type=Path, help="a wheel for AArch64 that is there, in place of building one")
    options = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    samples = ["0:1000", "60:1000", "200:1000"] if options.all else ["0:2", "60:1"]
    try:
        with tempfile.TemporaryDirectory(prefix="beampipe-arm-") as name:
            wheel = options.wheel or build_wheel(build_source(Path(name)), Path(name), "3.12", "aarch64")
            compare(wheel.absolute(), options.here, samples)
    except Failed as error:
        sys.exit(f"FAILED {error}")


if __name__ == "__main__":
    main()
