"""Finds the native kernels."""

from __future__ import annotations

import os
import re
import warnings
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.files import compiled


@cache
def native() -> ModuleType:
    """The compiled kernels.

    Raises:
        FileError: they were not built, or cannot be loaded.
    """
    # Idle threads sleep: spinning ones would slow down other events on the same cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    kernels = compiled("beampipe.tracking.kernels")
    assert kernels is not None
    folder = Path(__file__).parent / "native"
    if folder.is_dir() and _digest(folder) != kernels.BUILD:  # an editable install
        message = f"the compiled kernels are not those of the sources in {folder}; do: pip install -e ."
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    return kernels


def _digest(folder: Path) -> str:
    """Digest of the sources, as `build_digest` in CMakeLists.txt computes it."""
    files = sorted(map(str, [*folder.parents[2].glob("native/*.?pp"), *folder.rglob("*.?pp")]))
    kept = [Path(file) for file in files if not re.search("/native/(library|bindings)", file)]
    text = "".join(f" {file.name} {sha256(file.read_bytes()).hexdigest()}" for file in kept)
    return sha256(text.encode()).hexdigest()


def build() -> str:
    """Digest of the sources of the compiled kernels, which was built into them."""
    return str(native().BUILD)


def contiguous(array: ndarray) -> ndarray:
    """The array with rows contiguous in memory, as the native kernels read it."""
    return np.ascontiguousarray(array)


def blocks(offsets: Int64[ndarray, " n_events_and_1"] | None, n_hits: int) -> Int64[ndarray, " n_blocks_and_1"]:
    """The blocks of a graph, as the native kernels read them: all hits are one block where there are no offsets."""
    return np.array([0, n_hits], np.int64) if offsets is None else np.ascontiguousarray(offsets)
