"""Builds of the package: kernels that cannot be built are an error; a package without kernels says so."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from zipfile import ZipFile

import pytest
import scikit_build_core
from typer.testing import CliRunner

import beampipe
from beampipe.cli import app
from beampipe.files import WITHOUT_KERNELS

ROOT = Path(__file__).parents[2]
NONE: Mapping[str, str] = MappingProxyType({})
BUILD = "import backend, json, sys; print(backend.build_wheel(sys.argv[1], json.loads(sys.argv[2])))"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of this package, without what was built from them."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("src", "release"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def build(
    source: Path,
    output: Path,
    settings: str = "{}",
    variables: Mapping[str, str] = NONE,
    limit: float = 120.0,
    program: str = BUILD,
) -> subprocess.CompletedProcess[str]:
    """Build a wheel with these variables."""
    environ = {name: value for name, value in os.environ.items() if name not in ("CXX", "CMAKE_ARGS")}
    environ |= {"PYTHONPATH": "release", "SETUPTOOLS_SCM_PRETEND_VERSION": "0.1.0", **variables}
    return subprocess.run(
        [sys.executable, "-c", program, str(output), settings],
        cwd=source,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=limit,
    )


@pytest.mark.parametrize(
    ("compiler", "cause"),
    [
        ("/bin/false", r'"/bin/false"\s+is not able to compile a simple test program'),
        ("no-such-compiler", r"Could not find compiler set in environment variable CXX:\s+no-such-compiler"),
    ],
)
def test_kernels_that_cannot_be_built_are_an_error_with_its_log(
    source: Path, tmp_path: Path, compiler: str, cause: str
) -> None:
    done = build(source, tmp_path, variables={"CXX": compiler})
    assert done.returncode == 1
    assert re.search(cause, done.stderr + done.stdout)
    assert "kernels=none" in done.stdout
    assert not list(tmp_path.iterdir())


def test_without_a_compiler_or_on_request_the_package_says_that_it_has_no_kernels(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, variables, settings, reason in (
        ("bare", {"PATH": str(programs)}, "{}", "no C++ compiler was found"),
        ("asked", {"CXX": "/bin/false"}, '{"kernels": "none"}', "as asked by --config-settings=kernels=none"),
    ):
        done = build(source, tmp_path / name, settings, variables)
        assert done.returncode == 0, done.stderr
        assert f"without its compiled kernels: {reason}" in done.stderr
        (wheel,) = (tmp_path / name).glob("*.whl")
        assert wheel.name == f"beampipe-0.1.0+{WITHOUT_KERNELS}-py3-none-any.whl"
    with ZipFile(wheel) as files:
        version = re.search('version = "(.*)"', files.read("beampipe/_version.py").decode())
    assert version is not None
    monkeypatch.setattr(beampipe, "__version__", version[1])
    printed = CliRunner().invoke(app, ["--version"]).output
    assert printed.startswith("beampipe 0.1.0+without.kernels\nIt has no compiled kernels")


def test_a_setting_that_there_is_not_is_refused(source: Path, tmp_path: Path) -> None:
    assert "expected kernels=none" in build(source, tmp_path, '{"kernels": "off"}').stderr


def test_builds_in_one_folder_wait_for_each_other(source: Path, tmp_path: Path) -> None:
    (source / "build").mkdir(exist_ok=True)
    with (source / "build/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(subprocess.TimeoutExpired):
            build(source, tmp_path, '{"kernels": "none"}', limit=4.0)
    assert not list(tmp_path.iterdir())


def test_a_build_compiles_what_changed_since_the_last_one_and_no_more(tmp_path: Path) -> None:
    source, library, elsewhere = tmp_path / "source", tmp_path / "source/src/beampipe/part.cpp", tmp_path / "site"
    library.parent.mkdir(parents=True)
    (library.parent / "__init__.py").touch()
    shutil.copytree(ROOT / "release", source / "release", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    (source / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(part LANGUAGES CXX)\n"
        "add_library(part MODULE src/beampipe/part.cpp)\ninstall(TARGETS part LIBRARY DESTINATION beampipe)\n"
    )
    # Each build of pip has an environment of its own.
    shutil.copytree(Path(scikit_build_core.__file__).parent, elsewhere / "scikit_build_core")
    isolated = {"PYTHONPATH": f"release{os.pathsep}{elsewhere}"}

    def compiled(program: str = BUILD, variables: Mapping[str, str] = NONE) -> tuple[bool, str]:
        """Whether a build compiled, and the word in what it built."""
        for wheel in tmp_path.glob("*.whl"):
            wheel.unlink()
        objects = {path: path.stat().st_mtime_ns for path in source.rglob("*.o")}
        done = build(source, tmp_path, variables=variables, program=program)
        assert done.returncode == 0, done.stderr
        (wheel,) = tmp_path.glob("*.whl")
        with ZipFile(wheel) as files:
            word = re.search(rb"word: (\w+)", files.read("beampipe/libpart.so"))
        assert word is not None
        return {path: path.stat().st_mtime_ns for path in source.rglob("*.o")} != objects, word[1].decode()

    def write(word: str) -> None:
        library.write_text(f'extern "C" const char* word() {{ return "word: {word}"; }}')

    editable = BUILD.replace("build_wheel", "build_editable")
    write("first")
    os.utime(library, (1e9, 1e9))
    assert compiled(editable) == (True, "first")
    assert compiled(variables=isolated) == (False, "first")
    write("second")
    assert compiled(editable, isolated) == (True, "second")
    assert compiled() == (False, "second")
    write("third")
    os.utime(library, (1e9, 1e9))  # restored from a copy, with its time
    assert compiled() == (True, "third")
    assert compiled(variables={"CXXFLAGS": "-O1"}) == (True, "third")
