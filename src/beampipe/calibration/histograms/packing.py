"""Arrays in a .npz, whole numbers packed well and fast: sums of weights, which zlib takes twenty times as long for."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64, UInt8
from beampipe.errors import FileError

__all__ = ["read_arrays", "write_arrays"]

_SHAPES, _PLANES = "shapes", "planes"
"""Members with the shapes of all packed arrays, as JSON, and with their bytes."""

_LEVEL: Final = 1


def write_arrays(path: Path, arrays: Mapping[str, ndarray]) -> None:
    """Write arrays; those of int64 are packed together. The same arrays give the same bytes."""
    whole = {name: array for name, array in arrays.items() if array.dtype == np.int64}
    shapes = json.dumps({name: array.shape for name, array in whole.items()}).encode()
    with ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            if name not in whole:
                _add(archive, name, array)
        _add(archive, _SHAPES, np.frombuffer(shapes, np.uint8))
        _add(archive, _PLANES, _packed([array.ravel() for array in whole.values()]), ZIP_STORED)


def _add(archive: ZipFile, name: str, array: ndarray, method: int = ZIP_DEFLATED) -> None:
    member = ZipInfo(f"{name}.npy")  # of the oldest time there is
    member.compress_type = method
    with archive.open(member, "w", force_zip64=True) as file:
        np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def _packed(numbers: Sequence[Int64[ndarray, " _"]]) -> UInt8[ndarray, " n"]:
    """All lowest bytes, then the next ones, and so on: the highest are nearly all equal. Packed by ZSTD."""
    import cramjam

    together = np.concatenate([np.empty(0, np.int64), *numbers]).astype("<i8", copy=False)
    planes = np.ascontiguousarray(together.view(np.uint8).reshape(-1, 8).T)
    return np.frombuffer(bytes(cramjam.zstd.compress(planes.data, _LEVEL)), np.uint8)


def _unpacked(packed: UInt8[ndarray, " n"], size: int) -> Int64[ndarray, " size"]:
    """The numbers that were packed.

    Raises:
        ValueError: there were more or fewer.
    """
    import cramjam

    planes = np.empty(8 * size, np.uint8)
    try:
        n = cramjam.zstd.decompress_into(packed.data, planes.data)
    except cramjam.DecompressionError as error:
        raise ValueError(str(error)) from error
    if n != len(planes):
        raise ValueError(f"got {n} bytes, expected {len(planes)}")
    found: ndarray = np.ascontiguousarray(planes.reshape(8, -1).T).view("<i8").ravel()
    return found.astype(np.int64, copy=False)


def read_arrays(path: Path) -> dict[str, ndarray]:
    """What `write_arrays` wrote.

    Raises:
        FileError: the file is another one.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            out = {name: arrays[name] for name in arrays.files}
        shapes = json.loads(bytes(out.pop(_SHAPES)))
        sizes = [math.prod(shape) for shape in shapes.values()]
        numbers = np.split(_unpacked(out.pop(_PLANES), sum(sizes)), np.cumsum(sizes)[:-1])
        return out | {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), numbers, strict=False)}
    except (OSError, KeyError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise FileError(f"{path}: got no histograms ({error})", path=path) from error
