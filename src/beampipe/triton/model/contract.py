"""What any served model and its clients agree on: tensors and the parameters that every model has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

__all__ = [
    "EXECUTION_MODEL_PATH",
    "MODEL_CLASS",
    "MODEL_DIRECTORY",
    "PYTHON_BACKEND",
    "THREADS",
    "TensorSpec",
    "fits",
    "instance_count",
    "triton_type",
]


@dataclass(frozen=True)
class TensorSpec:
    """A tensor as a model declares it.

    Attributes:
        name: name of the tensor on the wire.
        triton_type: Triton's name of the element type, without ``TYPE_``, such as ``"FP32"``.
        dtype: numpy's name of the same element type.
        dims: shape of the tensor of one event; -1 stands for any length.
        exact: whether the same request gives the same bytes. It does not for measured times.
    """

    name: str
    triton_type: str
    dtype: type[np.generic]
    dims: tuple[int, ...]
    exact: bool = True

    def __str__(self) -> str:
        return f"{self.triton_type} {list(self.dims)}"


def fits(shape: tuple[int, ...], dims: tuple[int, ...]) -> bool:
    """Whether a shape is as stated, where -1 stands for any length."""
    if shape == dims:
        return True
    return len(shape) == len(dims) and all(want in (-1, got) for want, got in zip(dims, shape, strict=True))


def instance_count(config: Mapping[str, Any]) -> int:
    """Instances of a model on its devices, as its configuration says; an ensemble has none of its own."""
    groups = config.get("instance_group", ())
    return sum(int(group.get("count", 1)) * max(1, len(group.get("gpus", ()))) for group in groups)


def triton_type(dtype: np.dtype[Any]) -> str:
    """Triton's name of an element type.

    >>> triton_type(np.dtype(np.float32)), triton_type(np.dtype(np.uint8)), triton_type(np.dtype(bool))
    ('FP32', 'UINT8', 'BOOL')
    """
    return str(dtype).upper().replace("FLOAT", "FP")


PYTHON_BACKEND: Final = "python"
"""Name of Triton's backend that runs each instance of a model in a process of its own."""
EXECUTION_MODEL_PATH: Final = "EXECUTION_MODEL_PATH"
"""Parameter of ``config.pbtxt``: folder of the weights. `MODEL_DIRECTORY` in it stands for the model's own folder."""
MODEL_DIRECTORY: Final = "$$TRITON_MODEL_DIRECTORY"
"""What stands for the model's own folder in the value of EXECUTION_MODEL_PATH."""
MODEL_CLASS: Final = "MODEL_CLASS"
"""Parameter of ``config.pbtxt``: class of the model, as `model_class` reads it."""
THREADS: Final = "THREADS"
"""Parameter of ``config.pbtxt``: threads of one instance, or ``auto``: the cores are shared out among the instances."""
