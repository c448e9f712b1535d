"""Every `pip install` line of README and docs, run by the pip of Python 3.11 and by the newest.

    python release/lines.py dist/ --python 3.11 3.12 3.13    # resolution alone, with the wheels in dist/
    python release/lines.py dist/ --install                  # in fresh environments, in a folder with the source

Prints a table. Lines for the folder of the source need a compiler only with `--install`; else a wheel stands for it.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))  # for tests, which run the files beside it from elsewhere

from using import ROOT, Failed, interpreter, run

PIPS: Final = ("23.2.1", "newest")
"""Versions of pip: the oldest that is tried, which Python 3.11.7 brings, and that of today."""

_COMMAND: Final = re.compile(r"`(pip install [^`]+)`|^ *(pip install .+?)(?: +#.*| *&&.*)?$", re.MULTILINE)
"""An install line: a span of code, or a line of a block."""


def install_lines() -> list[str]:
    """The install lines of README and docs, and of each extra; not those with a placeholder or the path of a file."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages if "_build" not in page.parts)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [extra for extra in project["optional-dependencies"] if extra != "dev"]
    found = [" ".join((span or line).split()) for span, line in _COMMAND.findall(text)]
    found += [f"pip install '{package}[{extra}]'" for package in (".", "beampipe") for extra in extras]
    return [line for line in dict.fromkeys(found) if "..." not in line and not re.search(r"[ ']\.?/|EXTRA", line)]


def words_of(line: str, folder: Path, source: Path | None) -> list[str]:
    """The words of an install line after `pip`, for files of a release that no index has yet.

    Args:
        line: an install line.
        folder: holds the wheels.
        source: folder of the source, in which the line runs; None to let a wheel stand for it.
    """
    words = shlex.split(line)[1:]
    if source is None:
        words = [re.sub(r"^\.(?=\[|$)", "beampipe", word) for word in words]
    return [*words, "--find-links", str(folder)] if any("beampipe" in word for word in words) else words


def environment(folder: Path, python: str, pip: str) -> Path:
    """A fresh environment with this pip; returns its interpreter."""
    run([interpreter(python), "-m", "venv", str(folder)])
    wanted = "pip" if pip == "newest" else f"pip=={pip}"
    run([str(folder / "bin/python"), "-m", "pip", "install", "-q", "--upgrade", wanted])
    return folder / "bin/python"


def try_lines(
    lines: list[str], folder: Path, python: str, pip: str, source: Path | None
) -> dict[str, tuple[float, str]]:
    """Install line -> its time [s] and its error, empty if it ran.

    Args:
        lines: install lines.
        folder: holds the wheels.
        python: version of the interpreter, like 3.12.
        pip: one of `PIPS`.
        source: folder of the source, in which each line installs into an environment of its own; None to resolve only.
    """
    results: dict[tuple[str, ...], tuple[float, str]] = {}
    commands = {line: tuple(words_of(line, folder, source)) for line in lines}
    with tempfile.TemporaryDirectory(prefix="beampipe-lines-") as name:
        for number, words in enumerate(dict.fromkeys(commands.values())):
            if number == 0 or source is not None:
                program = environment(Path(name) / str(number), python, pip)
            start, error = time.monotonic(), ""
            only = () if source is not None else ("--dry-run",)
            try:
                run([str(program), "-m", "pip", *words, "-q", *only], source or ROOT)
                if source is not None and (program.parent / "beampipe").exists():
                    run([str(program.parent / "beampipe"), "--version"], Path(name))
            except (Failed, subprocess.SubprocessError) as failure:
                error = str(failure)[-600:]
            results[words] = (time.monotonic() - start, error)
            if source is not None:
                shutil.rmtree(program.parents[1])
    return {line: results[words] for line, words in commands.items()}


def report(lines: list[str], folder: Path, pythons: list[str], source: Path | None = None) -> int:
    """Try lines by both versions of pip and print a table; returns the number of failures."""
    columns = [(python, pip) for python in pythons for pip in PIPS]
    with ThreadPoolExecutor(len(PIPS)) as pool:
        results = list(pool.map(lambda column: try_lines(lines, folder, column[0], column[1], source), columns))
    print("| line |", " | ".join(f"Python {python}, pip {pip} [s]" for python, pip in columns), "|")
    print("| --- |", " | ".join("---" for _ in columns), "|")
    failures = []
    for line in lines:
        cells = []
        for column, result in zip(columns, results, strict=True):
            seconds, error = result[line]
            cells.append("failed" if error else f"{seconds:.0f}")
            if error:
                failures.append(f"FAILED Python {column[0]}, pip {column[1]}: {line}\n{error}")
        print(f"| `{line}` |", " | ".join(cells), "|")
    print(*failures, f"{len(failures)} failures", sep="\n", flush=True)
    return len(failures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Every `pip install` line of README and docs, by two versions of pip.")
    parser.add_argument("folder", type=Path, help="holds the wheels")
    parser.add_argument("--python", nargs="+", default=["{}.{}".format(*sys.version_info)], help="versions, like 3.12")
    parser.add_argument("--install", action="store_true", help="install, in place of resolving only")
    arguments = parser.parse_args()
    sys.exit(
        report(install_lines(), arguments.folder.absolute(), arguments.python, ROOT if arguments.install else None) > 0
    )
