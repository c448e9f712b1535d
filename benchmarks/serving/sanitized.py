"""A native backend that was built with sanitizers, inside the real server: for `equality.py` and `fuzz.py`.

The build is made in ``build/sanitize-NAME`` beside the ordinary one, and the server is started with the runtime of the
sanitizer loaded before all else. Triton itself is as it was shipped: what is watched are the backend and its kernels,
and every byte of memory that they allocate, get or give. The thread sanitizer does not know OpenMP's own threads, so it
is for models with one thread per instance; several instances at once are what it has to judge.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from unittest import mock

from beampipe.errors import FileError

__all__ = ["SANITIZERS", "sanitized"]

SANITIZERS: Final = {"address": "address,undefined", "thread": "thread"}
"""What the compiler is told, by name."""
RUNTIMES: Final = {"address": ("libasan.so", "libubsan.so"), "thread": ("libtsan.so",)}
"""Libraries that have to be in the server from its first moment on."""
OPTIONS: Final = {
    "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=1:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "ignore_noninstrumented_modules=1",
}
"""Leaks are for `soak.py` to see: Triton and Python free little when they end."""
TREE: Final = Path(__file__).parents[2]


@contextmanager
def sanitized(name: str | None) -> Iterator[Callable[[], list[str]]]:
    """Servers that are started inside have a native backend with these sanitizers; none if there is no name.

    Yields:
        A function that gives what the sanitizers have reported, to be called once the servers have ended.
    """
    if name is None:
        yield list
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="beampipe-sanitize-")))
        preload = os.pathsep.join(str(runtime(library)) for library in RUNTIMES[name])
        options = {key: f"{value}:log_path={folder / 'report'}" for key, value in OPTIONS.items()}
        build(name)
        stack.enter_context(mock.patch.dict(os.environ, options | {"LD_PRELOAD": preload}))
        yield lambda: [path.read_text(errors="replace") for path in sorted(folder.glob("report*"))]


def build(name: str) -> Path:
    """The backend with these sanitizers, built again where its sources have changed."""
    folder = TREE / "build" / f"sanitize-{name}"
    configure = ["cmake", "-S", str(TREE), "-B", str(folder), f"-DBEAMPIPE_SANITIZE={SANITIZERS[name]}"]
    for command in (configure, ["cmake", "--build", str(folder)]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def runtime(library: str) -> Path:
    """Where the compiler has a library of its own.

    Raises:
        FileError: it has none.
    """
    said = subprocess.run(["g++", f"-print-file-name={library}"], check=True, capture_output=True, text=True)
    path = Path(said.stdout.strip())
    if not path.is_absolute():
        raise FileError(f"{library}: got a compiler without it, expected the sanitizers of GCC; install its libraries")
    return path.resolve()
