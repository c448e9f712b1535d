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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from unittest import mock

from beampipe.errors import FileError

SANITIZERS: Final = {"address": "address,undefined", "thread": "thread"}
"""What the compiler is told, by name."""
RUNTIMES: Final = {"address": ("libasan.so", "libubsan.so"), "thread": ("libtsan.so",)}
"""Libraries that have to be in the server from its first moment on."""
OPTIONS: Final = {
    "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "ignore_noninstrumented_modules=1",
}
"""Leaks are for `soak.py` to see: Triton frees little when it ends. Frames that outlive their call are left out: GCC
before 13.3 does not align them for AVX-512 (its bug 110027)."""
TREE: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Sanitized:
    """A native backend with sanitizers, or without.

    Attributes:
        libraries: files that take the place of those of the ordinary build; None to leave these.
        folder: folder of the reports, None without sanitizers.
    """

    libraries: tuple[Path, ...] | None = None
    folder: Path | None = None

    def reports(self) -> list[str]:
        """What the sanitizers had to say; to be called once the server has ended."""
        result = sorted(self.folder.iterdir()) if self.folder else []
        return [path.read_text(encoding="utf-8", errors="replace") for path in result]


@contextmanager
def sanitized(name: str | None) -> Iterator[Sanitized]:
    """Servers that are started inside have the runtime of these sanitizers; none if there is no name."""
    if name is None:
        yield Sanitized()
        return
    libraries = build(name)
    preload = os.pathsep.join(str(runtime(library)) for library in RUNTIMES[name])
    with tempfile.TemporaryDirectory(prefix="beampipe-sanitize-") as folder:
        options = {key: f"{value}:log_path={folder}/report" for key, value in OPTIONS.items()}
        with mock.patch.dict(os.environ, options | {"LD_PRELOAD": preload}):
            yield Sanitized(libraries, Path(folder))


def build(name: str) -> tuple[Path, ...]:
    """The libraries with these sanitizers, made again where their sources have changed."""
    folder = TREE / "build" / f"sanitize-{name}"
    configure = ["cmake", "-S", str(TREE), "-B", str(folder), f"-DBEAMPIPE_SANITIZE={SANITIZERS[name]}"]
    make = ["cmake", "--build", str(folder), "--parallel", str(len(os.sched_getaffinity(0)))]
    for command in (configure, make):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (folder / "libtriton_beampipe.so", *sorted(folder.glob("_kernels_*.so")))


def runtime(library: str) -> Path:
    """Where the compiler has a library of its own.

    Raises:
        FileError: it has none.
    """
    output = subprocess.run(["g++", f"-print-file-name={library}"], check=True, capture_output=True, text=True)
    path = Path(output.stdout.strip())
    if not path.is_absolute():
        raise FileError(f"{library}: got a compiler without it, expected the sanitizers of GCC; install its libraries")
    return path.resolve()
