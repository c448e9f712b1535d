"""Canaries: stored requests with a known answer. A model that does not give it, byte for byte, is not served.

Each model is checked twice: by its own instance when that is made (`check_model`), and through the server's own port
once that is up (`beampipe.triton.server.management`). The second check includes the exchange of arrays with
Triton, which can lose data without an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from beampipe.errors import BeampipeError, ConfigError, FileError
from beampipe.files import write_whole
from beampipe.triton.model.contract import ModelAnswer, ModelRequest

CANARY: Final = "canary.safetensors"
"""Name of the file with the canary, in the folder of a model's version; native backends read it, too."""

_INPUT: Final = "in."
_OUTPUT: Final = "out."


def write_canary(version: Path, request: ModelRequest, answer: ModelRequest) -> None:
    """Store a request and the answer that it must get.

    Args:
        version: folder of the model's version.
        request: arrays of the request, by name of the tensor.
        answer: arrays of the answer, by name of the tensor; those that change from call to call are left out.
    """
    arrays = {_INPUT + key: array for key, array in request.items()}
    arrays |= {_OUTPUT + key: array for key, array in answer.items()}
    # Not `save_file`, which ignores the umask and makes a file for its user only: the server may run as another user.
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    write_whole(version / CANARY, lambda part: part.write_bytes(content))  # a supervisor may read it at any time


def read_canary(version: Path) -> tuple[dict[str, ndarray], dict[str, ndarray]] | None:
    """The request and the answer that are stored in the folder of a model's version, or None if there are none.

    Raises:
        FileError: the file with them is damaged.
    """
    return read_request(version / CANARY) if (version / CANARY).exists() else None


def read_request(path: Path) -> tuple[dict[str, ndarray], dict[str, ndarray]]:
    """A request and its answer, in a file such as that of a canary.

    Raises:
        FileError: the file is missing or damaged.
    """
    try:
        arrays = load_file(path)
    except OSError as error:
        raise FileError(f"{path}: got no file of a request ({error})", path=path) from None
    except SafetensorError as error:
        raise FileError(
            f"{path}: got a damaged canary ({error}), expected what an export wrote; export the model again", path=path
        ) from None
    request = {key.removeprefix(_INPUT): array for key, array in arrays.items() if key.startswith(_INPUT)}
    return request, {key.removeprefix(_OUTPUT): array for key, array in arrays.items() if key.startswith(_OUTPUT)}


def read_canaries(repository: Path, models: Iterable[str]) -> dict[str, tuple[dict[str, ndarray], dict[str, ndarray]]]:
    """Request and answer of the canary of each model that has one, by name of the model.

    The canary is that of the newest version, which Triton serves.

    Args:
        repository: the models.
        models: their names.
    """
    canaries = {}
    for model in models:
        versions = [path for path in (repository / model).iterdir() if path.is_dir() and path.name.isdecimal()]
        newest = max(versions, key=lambda path: int(path.name), default=None)
        if newest is not None and (stored := read_canary(newest)) is not None:
            canaries[model] = stored
    return canaries


def check_model(run: Callable[[Sequence[ModelRequest]], Sequence[ModelAnswer]], version: Path, name: str) -> None:
    """Compare a model's answer with the one that was stored when it was exported.

    Args:
        run: method of the model that answers requests.
        version: folder of the model's version, with the canary; without one nothing is checked.
        name: name of the model, for messages.

    Raises:
        ConfigError: the answer is an error, or differs.
    """
    if (stored := read_canary(version)) is None:
        return
    (answer,) = run([stored[0]])
    if isinstance(answer, BeampipeError):
        raise ConfigError(f"{name}: the canary got an error, expected an answer: {answer}")
    compare_answers(name, answer, stored[1])


def compare_answers(
    name: str, answer: Mapping[str, ndarray], expected: Mapping[str, ndarray], tolerance: float = 0.0
) -> None:
    """Raise if an answer differs from the expected one.

    Args:
        name: name of the model, for messages.
        answer: arrays that the model gave, by name of the tensor.
        expected: arrays that it must give, by name of the tensor.
        tolerance: largest difference of a value, absolute or relative; 0 for none in any byte.

    Raises:
        ConfigError: an array is missing or differs.
    """
    for key, array in expected.items():
        got = answer.get(key)
        if got is None or got.dtype != array.dtype or got.size != array.size or not _agree(got, array, tolerance):
            raise ConfigError(
                f"{name}: the canary got another {key} than when the model was exported; export it again on this"
                " machine, and if that differs from what the model gives without a server, do not serve it"
            )


def _agree(got: ndarray, expected: ndarray, tolerance: float) -> bool:
    if got.tobytes() == expected.tobytes():
        return True
    return tolerance > 0 and np.allclose(got.ravel(), expected.ravel(), tolerance, tolerance, equal_nan=True)
