"""What any served model and its clients agree on: tensors and the parameters that every model has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

__all__ = [
    "EXECUTION_MODEL_PATH",
    "MODEL_CLASS",
    "MODEL_DIRECTORY",
    "THREADS",
    "TensorSpec",
]


@dataclass(frozen=True)
class TensorSpec:
    """A tensor on the wire.

    Attributes:
        name: of the tensor.
        triton_type: Triton's name of the element type, without ``TYPE_``.
        dtype: numpy's.
        dims: shape of one event, -1 for any length.
        exact: the same request gives the same bytes; not so for times.
    """

    name: str
    triton_type: str
    dtype: type[np.generic]
    dims: tuple[int, ...]
    exact: bool = True


# Parameters of a model's config.pbtxt.
EXECUTION_MODEL_PATH: Final = "EXECUTION_MODEL_PATH"
"""Folder of the weights; `MODEL_DIRECTORY` in it stands for the model's own folder."""
MODEL_DIRECTORY: Final = "$$TRITON_MODEL_DIRECTORY"
MODEL_CLASS: Final = "MODEL_CLASS"
"""The `Model` behind it: ``package.module:Class``, or ``file.py:Class`` for a file beside ``model.py``."""
THREADS: Final = "THREADS"
"""Threads of one instance."""
