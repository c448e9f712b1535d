"""Arrays in a .npz, whole numbers packed well and fast: sums of weights, which zlib takes twenty times as long for."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from beampipe.errors import FileError

__all__ = ["read_arrays", "write_arrays"]

_SHAPE, _PLANES = ".shape", ".planes"
"""How the names of the two parts of a packed array end."""

_LEVEL: Final = 1


def write_arrays(path: Path, arrays: Mapping[str, ndarray]) -> None:
    """Write arrays; those of int64 are packed. The same arrays give the same bytes."""
    with ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            if array.dtype != np.int64:
                _add(archive, name, array)
                continue
            _add(archive, name + _SHAPE, np.array(array.shape, np.int32))
            _add(archive, name + _PLANES, _packed(array), ZIP_STORED)


def _add(archive: ZipFile, name: str, array: ndarray, method: int = ZIP_DEFLATED) -> None:
    member = ZipInfo(f"{name}.npy")  # of the oldest time there is
    member.compress_type = method
    with archive.open(member, "w", force_zip64=True) as file:
        np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def _packed(values: ndarray) -> UInt8[ndarray, " n"]:
    """All lowest bytes, then the next ones, and so on: the highest are nearly all equal. Packed by ZSTD."""
    import cramjam

    planes = values.astype("<i8", copy=False).reshape(-1, 1).view(np.uint8).T
    return np.frombuffer(bytes(cramjam.zstd.compress(np.ascontiguousarray(planes).data, _LEVEL)), np.uint8)


def _unpacked(packed: UInt8[ndarray, " n"], shape: tuple[int, ...]) -> ndarray:
    """What was packed.

    Raises:
        ValueError: it was of another shape.
    """
    import cramjam

    planes = np.empty(8 * int(np.prod(shape)), np.uint8)
    if planes.size:
        try:
            n = cramjam.zstd.decompress_into(packed.data, planes.data)
        except cramjam.DecompressionError as error:
            raise ValueError(str(error)) from error
        if n != len(planes):
            raise ValueError(f"got {n} bytes, expected {len(planes)}")
    found: ndarray = np.ascontiguousarray(planes.reshape(8, -1).T).view("<i8").astype(np.int64, copy=False)
    return found.reshape(shape)


def read_arrays(path: Path) -> dict[str, ndarray]:
    """What `write_arrays` wrote.

    Raises:
        FileError: the file is another one.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            parts = {name: arrays[name] for name in arrays.files}
            out = {name: part for name, part in parts.items() if not name.endswith((_SHAPE, _PLANES))}
            for name in (name.removesuffix(_SHAPE) for name in parts if name.endswith(_SHAPE)):
                out[name] = _unpacked(parts[name + _PLANES], tuple(parts[name + _SHAPE].tolist()))
            return out
    except (OSError, KeyError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise FileError(f"{path}: got no histograms ({error})", path=path) from error
