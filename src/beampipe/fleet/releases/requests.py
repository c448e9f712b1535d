"""Requests to compare two versions of a model with: recorded ones from a file, or the canaries of a repository.

A file of recorded requests is what `numpy.savez` writes. Its arrays are called MODEL/NUMBER/TENSOR, such as
``module_map/0/FEATURES``: all arrays with the same MODEL and NUMBER are one request.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy import ndarray

from beampipe.errors import FileError, UnknownNameError
from beampipe.triton.model.canary import read_canary

__all__ = ["Requests", "canary_outputs", "canary_requests", "read_requests", "write_requests"]

Requests = Mapping[str, Sequence[Mapping[str, ndarray]]]
"""Requests by name of the model; each is arrays by name of the tensor."""


def write_requests(path: Path, requests: Requests) -> None:
    """Record requests in a file.

    Args:
        path: the file, with the ending ``.npz``.
        requests: the requests.
    """
    arrays = {
        f"{model}/{number}/{tensor}": array
        for model, asked in requests.items()
        for number, request in enumerate(asked)
        for tensor, array in request.items()
    }
    np.savez(path, **arrays)  # type: ignore[arg-type]


def read_requests(path: Path, models: Iterable[str]) -> dict[str, list[dict[str, ndarray]]]:
    """The recorded requests of a file.

    Args:
        path: the file.
        models: names of the models that are served.

    Raises:
        FileError: the file cannot be read, or holds something else or nothing.
        UnknownNameError: a request is for a model that is not served.
    """
    found: dict[str, dict[int, dict[str, ndarray]]] = {}
    known = tuple(models)
    try:
        # Opened here: of a file that is no zip numpy leaves it to chance when it is closed.
        with path.open("rb") as stream:
            arrays = np.load(stream, allow_pickle=False)
            names = getattr(arrays, "files", ())  # a file of one array without name has none
            whole = {name: arrays[name] for name in names}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FileError(
            f"{path}: got {error}, expected recorded requests, written by numpy.savez", path=path
        ) from error
    for name, array in whole.items():
        model, number, tensor = _parts(path, name)
        if model not in known:
            raise UnknownNameError(f"model in {path}", model, known)
        found.setdefault(model, {}).setdefault(number, {})[tensor] = array
    if not found:
        raise FileError(f"{path}: got no requests, expected arrays called MODEL/NUMBER/TENSOR", path=path)
    return {model: [asked[number] for number in sorted(asked)] for model, asked in found.items()}


def _parts(path: Path, name: str) -> tuple[str, int, str]:
    model, _, rest = name.partition("/")
    number, _, tensor = rest.partition("/")
    if not (model and number.isdecimal() and tensor):
        raise FileError(f"{path}: got an array {name!r}, expected MODEL/NUMBER/TENSOR", path=path, name=name)
    return model, int(number), tensor


def canary_requests(repository: Path, models: Iterable[str]) -> dict[str, list[dict[str, ndarray]]]:
    """The request of the canary of each model that has one.

    Args:
        repository: the models.
        models: their names.
    """
    return {model: [stored[0]] for model in models if (stored := _canary(repository, model)) is not None}


def canary_outputs(repository: Path, models: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The outputs that each model with a canary gives alike in every call, as its export found.

    Args:
        repository: the models.
        models: their names.
    """
    return {model: tuple(stored[1]) for model in models if (stored := _canary(repository, model)) is not None}


def _canary(repository: Path, model: str) -> tuple[dict[str, ndarray], dict[str, ndarray]] | None:
    """The canary of the newest version of a model, which is the one that Triton serves."""
    versions = [path for path in (repository / model).iterdir() if path.is_dir() and path.name.isdecimal()]
    return read_canary(max(versions, key=lambda path: int(path.name))) if versions else None
