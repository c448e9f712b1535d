"""The files of a release: the source, and a wheel for each Python and processor, for Linux with glibc 2.31 or newer.

    make wheels    # into dist/

The compilers are those of Debian 11, the oldest release that Debian serves, in a folder of their own: no container.
From Python 3.12 on, one wheel serves all versions. Wheels for AArch64 are cross-compiled; `arm.py` runs them emulated.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))  # for tests, which run the files beside it from elsewhere

from using import ROOT, Failed, interpreter, run

PROCESSORS: Final = ("x86_64", "aarch64")

PYTHONS: Final = {"3.11": (), "3.12": ("-C", "wheel.py-api=cp312")}
"""Python that compiles -> options; by the second, the wheel serves newer ones as well."""

COMPILERS: Final = ROOT / "build/debian11"
TOOLS: Final = ROOT / "build/tools"
"""Programs that run those of `COMPILERS`, named in `debian11.cmake`."""


def prepare() -> None:
    """The compilers, once."""
    missing = [program for program in ("mmdebstrap", "bwrap") if shutil.which(program) is None]
    if missing:
        raise Failed(
            f"programs that are missing: {', '.join(missing)}; `make wheels` as root installs them from Debian"
        )
    if COMPILERS.exists():
        return
    made = COMPILERS.with_suffix(".part")
    made.parent.mkdir(exist_ok=True)
    shutil.rmtree(made, ignore_errors=True)
    merged = "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"
    wanted = "--include=g++,g++-aarch64-linux-gnu"
    run(["mmdebstrap", "--quiet", "--variant=extract", merged, wanted, "bullseye", str(made)])
    (made / "usr/local").mkdir(exist_ok=True)
    made.rename(COMPILERS)
    TOOLS.mkdir(exist_ok=True)
    for processor in PROCESSORS:
        for tool in ("g++", "ar", "ranlib"):
            program = TOOLS / f"{processor}-linux-gnu-{tool}"
            # CMake's own files are in /usr/share or /usr/local.
            shown = f"--ro-bind {COMPILERS}/usr /usr --ro-bind /usr/share /usr/share --ro-bind /usr/local /usr/local"
            program.write_text(f'#!/bin/sh\nexec bwrap --dev-bind / / {shown} "/usr/bin/${{0##*/}}" "$@"\n')
            program.chmod(0o755)


def build_source(folder: Path, clone: Path = ROOT) -> Path:
    """The archive of the source of a clone, in `folder`."""
    run(["uv", "build", "-q", "--sdist", "--out-dir", str(folder)], clone)
    (source,) = folder.glob("*.tar.gz")
    return source


def build_wheel(source: Path, folder: Path, version: str, processor: str) -> Path:
    """A wheel with the kernels for all instruction sets of a processor, and the libraries that it needs, in `folder`.

    Args:
        source: archive of the source.
        folder: where the wheel goes.
        version: Python that compiles, like 3.12.
        processor: one of `PROCESSORS`.
    """
    prepare()
    variables = {
        "BEAMPIPE_PROCESSOR": processor,  # for debian11.cmake
        "_PYTHON_HOST_PLATFORM": f"linux-{processor}",
        "SETUPTOOLS_EXT_SUFFIX": f".cpython-{version.replace('.', '')}-{processor}-linux-gnu.so",
    }
    options = [
        *("-C", "cmake.define.BEAMPIPE_ISA=all"),
        *("-C", f"cmake.define.CMAKE_TOOLCHAIN_FILE={ROOT}/release/debian11.cmake"),
        *PYTHONS[version],
    ]
    with tempfile.TemporaryDirectory(prefix="beampipe-wheel-") as name:
        command = ["uv", "build", "-q", "--wheel", "-p", interpreter(version), *options, "--out-dir", name, str(source)]
        run(command, variables=variables)
        (compiled,) = Path(name).glob("*.whl")
        libraries = [
            *COMPILERS.glob(f"usr/lib/{processor}-linux-gnu"),
            *COMPILERS.glob(f"usr/{processor}-linux-gnu/lib"),
        ]
        paths = ":".join(map(str, libraries))
        run(["auditwheel", "repair", "--ldpaths", paths, "-w", f"{name}/repaired", str(compiled)])
        (repaired,) = Path(name, "repaired").glob("*.whl")
        return Path(shutil.move(repaired, folder / repaired.name))


def build(folder: Path, clone: Path = ROOT) -> None:
    """The source of a clone, and from it all wheels, in `folder`; prints their sizes.

    Raises:
        Failed: a step fails, or the folder has files of another build.
    """
    if folder.exists() and any(folder.iterdir()):
        raise Failed(f"{folder}: got files, expected an empty folder; delete them, or name another by -o")
    folder.mkdir(parents=True, exist_ok=True)
    source = build_source(folder, clone)
    for processor in PROCESSORS:
        for version in PYTHONS:
            wheel = build_wheel(source, folder, version, processor)
            print(f"{wheel.stat().st_size / 1e6:5.1f} MB {wheel.name}", flush=True)
    print(f"{source.stat().st_size / 1e6:5.1f} MB {source.name}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The source and the wheels of a release.")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "dist", help="folder; default: dist/")
    try:
        build(parser.parse_args().output)
    except Failed as error:
        sys.exit(f"FAILED {error}")
