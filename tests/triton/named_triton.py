"""Run the tests of the service against a Triton in a folder, and print which parts of the service work with it.

    python tests/triton/named_triton.py [FOLDER] [--tests tests/triton/server ...]
    python tests/triton/named_triton.py --headers FOLDER

FOLDER is the folder of an installed engine, or of an install such as ``/opt/tritonserver`` in NVIDIA's container. By
default, the installed engine is copied to a temporary folder. Only tests that start a Triton are run, one at a time.
They need the extra `test`. Exits with 1 if a test fails.

With `--headers`, compiles the native backend against the headers of a Triton instead, where the folder has
``triton/core/tritonbackend.h``: the folder ``include`` of its core. Every function and enumerator that the backend uses
must be declared there as in ``src/beampipe/triton/native/triton.h``. Exits with 1 if one is not.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import beampipe.terminal.scripts  # noqa: F401

from beampipe.errors import BeampipeError, ConfigError, FileError
from beampipe.terminal import console, make_table
from beampipe.triton.engine import ENGINE_VARIABLE, Engine, find_engine, this_interpreter
from beampipe.triton.server.launch import check_engine

ROOT: Final = Path(__file__).parents[2]
TESTS: Final = ("tests/triton", "tests/serving")
OUTCOMES: Final = ("passed", "failed", "skipped")


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Keep the tests that start a Triton; pytest loads this file as a plugin."""
    items[:] = [item for item in items if "engine" in item.fixturenames]


@dataclass
class Part:
    """Results of one part of the service.

    Attributes:
        outcomes: number of tests by outcome.
        seconds: time that they took [s].
        failures: names of the failed tests, each with the first line of its error.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


@contextmanager
def engine_in(folder: Path | None) -> Iterator[Engine]:
    """The Triton in a folder; without one, a copy of the installed engine, removed at the end."""
    if folder is not None:
        yield find_engine(folder)
        return
    with tempfile.TemporaryDirectory(prefix="triton-copy-") as temporary:
        copy = Path(temporary) / "tritonserver"
        shutil.copytree(find_engine().folder, copy, symlinks=True)
        yield find_engine(copy)


def run_tests(engine: Engine, tests: list[str], report: Path) -> int:
    """Run tests with a Triton, and write pytest's report; returns pytest's exit code."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "named_triton", "-p", "no:cacheprovider"]
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, ENGINE_VARIABLE: str(engine.folder), "PYTHONPATH": path}
    return subprocess.run(
        [*command, f"--junit-xml={report}", *tests], cwd=ROOT, env=environment, check=False
    ).returncode


def read_report(report: Path) -> dict[str, Part]:
    """Results by part of the service, such as ``triton/server``."""
    parts: dict[str, Part] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        _, *folders, module = case.get("classname", "").split(".")
        part = parts.setdefault("/".join(folders), Part())
        faults = [fault for tag in ("failure", "error") for fault in case.iter(tag)]
        skipped = next(case.iter("skipped"), None) is not None
        part.outcomes["failed" if faults else "skipped" if skipped else "passed"] += 1
        part.seconds += float(case.get("time", 0.0))
        for fault in faults:
            reason = (fault.get("message") or "").splitlines() or [""]
            part.failures.append(f"{module}::{case.get('name')}: {reason[0][:150]}")
    return parts


_ENUM: Final = re.compile(r"\benum \{(.*?)\}", re.S)
_FUNCTION: Final = re.compile(r"\b(TRITON(?:SERVER|BACKEND)_[A-Z][a-z]\w*)\(")


def enumerators(header: str) -> dict[str, int]:
    """Values of Triton's enumerators in a header, by name."""
    values = {}
    for body in _ENUM.findall(header):
        following = 0
        for entry in body.split(","):
            name, _, value = entry.partition("=")
            number = int(value) if value.strip() else following
            values[name.strip()] = number
            following = number + 1
    return {name: value for name, value in values.items() if name.startswith("TRITON")}


def check_headers(folder: Path) -> str:
    """Compile the native backend against the headers in a folder.

    Returns:
        What was compared.

    Raises:
        FileError: the folder has no such headers.
        ConfigError: the compiler refuses them; its messages are part of the error.
    """
    if not (folder / "triton/core/tritonbackend.h").is_file():
        raise FileError(f"{folder}: got no triton/core/tritonbackend.h there, expected the folder of Triton's headers")
    source = ROOT / "src/beampipe"
    declared = (source / "triton/native/triton.h").read_text()
    values = enumerators(declared)
    include = '#include "triton/native/triton.h"\n'
    lines = [f'static_assert({name} == {value}, "{name}: expected {value}");' for name, value in values.items()]
    compiler = [os.environ.get("CXX", "c++"), "-std=c++17", "-fopenmp", "-fsyntax-only", "-DBEAMPIPE_TRITON_HEADERS"]
    compiler += ["-Wall", "-Wextra", "-Werror", "-isystem", str(folder), "-I", str(source)]
    compiler += ["-I", str(source / "tracking/kernels/native")]
    files = sorted([*source.glob("triton/native/*.cpp"), *source.glob("serving/native/*.cpp")])
    commands = [([*compiler, "-x", "c++", "-"], include + "\n".join(lines))]
    commands += [([*compiler, str(file)], "") for file in files]
    for command, text in commands:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ConfigError(f"{folder}: got other declarations than the backend's:\n{done.stderr}")
    functions = len(set(_FUNCTION.findall(declared)))
    return f"{len(files)} files compiled; {functions} functions and {len(values)} enumerators are as declared"


def main() -> None:
    """Run the tests and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of a Triton; by default a copy of the engine")
    parser.add_argument("--headers", type=Path, metavar="FOLDER", help="compile the backend against these headers")
    parser.add_argument("--tests", nargs="+", default=list(TESTS), metavar="PATH", help="tests to run")
    options = parser.parse_args()
    if options.headers is not None:
        try:
            print(check_headers(options.headers))
        except BeampipeError as error:
            sys.exit(str(error))
        return
    with engine_in(options.folder) as engine, tempfile.TemporaryDirectory() as scratch:
        check_engine(engine, this_interpreter())
        code = run_tests(engine, options.tests, Path(scratch) / "report.xml")
        parts = read_report(Path(scratch) / "report.xml")
    table = make_table(f"the service with the Triton in {engine.folder}", ("part",), (*OUTCOMES, "seconds"))
    for name, part in sorted(parts.items()):
        numbers = (str(part.outcomes[outcome]) for outcome in OUTCOMES)
        table.add_row(name, *numbers, f"{part.seconds:.0f}", style="red" if part.failures else None)
    terminal = console(180)
    terminal.print(table)
    for name, part in sorted(parts.items()):
        for failure in part.failures:
            terminal.print(f"{name}/{failure}", markup=False, soft_wrap=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
