"""Compile the native backend against the headers of another Triton.

    python tests/triton/named_triton.py --headers FOLDER

FOLDER has ``triton/core/tritonbackend.h``: the folder ``include`` of Triton's core. Every function and enumerator that
the backend uses must be declared there as in ``src/beampipe/triton/native/triton.h``. Exits with 1 if one is not.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from beampipe.errors import BeampipeError, ConfigError, FileError

ROOT: Final = Path(__file__).parents[2]


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
    """Check the headers in the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headers", type=Path, metavar="FOLDER", required=True, help="folder of Triton's headers")
    try:
        print(check_headers(parser.parse_args().headers))
    except BeampipeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
