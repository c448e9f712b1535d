"""Faults of an installation: damaged or wrong kernels, a strange folder, a poor environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import beampipe
from beampipe.files import built
from tests.faults.fault import Fault, cases, check

SOURCE = Path(beampipe.__file__).parent
KERNELS = "beampipe.tracking.kernels"
BUILT = [
    *(
        (KERNELS, name)
        for name in ("libbeampipe.so", *(f"_kernels_{isa}.so" for isa in ("baseline", "avx2", "avx512")))
    ),
    (KERNELS, f"_native.{sys.implementation.cache_tag}-x86_64-linux-gnu.so"),
]
NATIVE = BUILT[-1][1]
ALONE = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "ScikitBuild" not in type(finder).__name__]
sys.path.insert(0, sys.argv[1])
import numpy as np
import beampipe
from beampipe.tracking import kernels
assert beampipe.__file__.startswith(sys.argv[1]), beampipe.__file__
"""
USE = ALONE + "print(kernels.connected_components(3, np.array([[0], [1]])))"
pytestmark = pytest.mark.skipif(built(*BUILT[-1]) is None, reason="the package was installed without a compiler")


def package(folder: Path) -> Path:
    """A copy of the package, with its kernels beside it; the folder of the kernels."""
    shutil.copytree(SOURCE, folder / "beampipe", ignore=shutil.ignore_patterns("__pycache__"), copy_function=os.symlink)
    kernels = folder / "beampipe/tracking/kernels"
    for home, name in BUILT:
        path = built(home, name)
        assert path is not None
        (kernels / name).unlink(missing_ok=True)
        shutil.copy(path, kernels / name)
    return kernels


def run(folder: Path, code: str, **variables: str) -> str:
    """What a program that uses this copy prints."""
    environ = {name: value for name, value in os.environ.items() if name != "BEAMPIPE_ISA"} | variables
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], env=environ, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def broken(change: Callable[[Path], object], code: str = USE, **variables: str) -> Callable[[Path], str]:
    """Use a copy of the package after a change in the folder of its kernels."""

    def plant(folder: Path) -> str:
        change(package(folder))
        return run(folder, code, **variables)

    return plant


def short(path: Path) -> None:
    """Truncate a file."""
    path.write_bytes(path.read_bytes()[:1000])


def edit(path: Path) -> None:
    """Change a source file of the copy."""
    text = path.read_text(encoding="utf-8")
    path.unlink()
    path.write_text(text + "\n", encoding="utf-8")


def command(
    *words: str, place: Callable[[Path], object] = lambda folder: None, **variables: str
) -> Callable[[Path], str]:
    """Run a command in a folder."""

    def plant(folder: Path) -> str:
        place(folder)
        done = subprocess.run(
            [sys.executable, "-m", "beampipe", *words],
            cwd=folder,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        return done.stdout + done.stderr

    return plant


FAULTS = [
    Fault(
        "the kernels are truncated",
        broken(lambda k: short(k / NATIVE)),
        r"_native.*: it is truncated; install beampipe again",
        str,
    ),
    Fault(
        "the kernels are no library",
        broken(lambda k: (k / NATIVE).write_bytes(b"x" * 9999)),
        r"_native.*(invalid ELF|truncated).*install beampipe again",
        str,
    ),
    Fault(
        "the kernels are for another Python",
        broken(lambda k: (k / NATIVE).rename(k / "_native.cpython-399-x86_64-linux-gnu.so")),
        r"built for another Python: _native\.cpython-399",
        str,
    ),
    Fault(
        "there are no kernels",
        broken(lambda k: (k / NATIVE).unlink()),
        r"no compiled kernels.*install a C\+\+ compiler",
        str,
    ),
    Fault(
        "the kernels were built from other sources",
        broken(lambda k: edit(k / "native/table.cpp")),
        r"RuntimeWarning: the compiled kernels are not those of the sources.*pip install -e",
        str,
    ),
    Fault(
        "the kernels of an instruction set are missing",
        broken(lambda k: (k / "_kernels_baseline.so").unlink(), BEAMPIPE_ISA="baseline"),
        r"_kernels_baseline\.so: got no kernels.*No such file",
        str,
    ),
    Fault(
        "the kernels of an instruction set are truncated",
        broken(lambda k: short(k / "_kernels_baseline.so"), BEAMPIPE_ISA="baseline"),
        r"_kernels_baseline\.so: it is truncated",
        str,
    ),
    Fault(
        "an instruction set that the CPU does not have is requested",
        broken(lambda k: None, BEAMPIPE_ISA="avx1024"),
        r"BEAMPIPE_ISA: got 'avx1024', which this CPU does not have",
        str,
    ),
    Fault(
        "the library for C++ is missing",
        broken(
            lambda k: (k / "libbeampipe.so").unlink(),
            ALONE + "import beampipe.files as f; from importlib import metadata\n"
            "def gone(*_): raise metadata.PackageNotFoundError\nmetadata.distribution = gone\nbeampipe.get_library()",
        ),
        r"libbeampipe\.so: it was not built; install a C\+\+ compiler",
        str,
    ),
    Fault(
        "a file numpy.py lies in the working folder",
        command("tracking", "example", "a.parquet", place=lambda f: (f / "numpy.py").write_text("x = 1")),
        r"numpy\.py",
        str,
    ),
]

SOUND = [
    Fault(
        "a folder beampipe lies in the working folder",
        command("--version", place=lambda f: (f / "beampipe").mkdir()),
        r"^beampipe \d",
        str,
    ),
    Fault(
        "the folder for temporary files is missing",
        command("tracking", "example", "a.parquet", TMPDIR="/no/such/folder"),
        r"a\.parquet",
        str,
    ),
    Fault("there is no home", command("tracking", "example", "a.parquet", HOME="/no/such/home"), r"a\.parquet", str),
    Fault(
        "the locale has no UTF-8",
        command("tracking", "models", LC_ALL="POSIX", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"),
        r"generic",
        str,
    ),
    Fault(
        "the output is encoded as ASCII",
        command("tracking", "models", PYTHONIOENCODING="ascii"),
        r"generic",
        str,
    ),
]


@pytest.mark.parametrize("fault", cases(FAULTS))
def test_the_cause_is_named(fault: Fault, tmp_path: Path) -> None:
    check(fault, tmp_path)


@pytest.mark.parametrize("surroundings", cases(SOUND))
def test_a_command_works_in_poor_surroundings(surroundings: Fault, tmp_path: Path) -> None:
    check(surroundings, tmp_path)


def test_a_sound_copy_gives_no_warning(tmp_path: Path) -> None:
    package(tmp_path)
    assert run(tmp_path, USE) == "[ 0  0 -1]\n"
