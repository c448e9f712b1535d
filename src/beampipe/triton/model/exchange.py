"""How arrays pass between numpy and Triton's Python backend.

Builds of the backend made for numpy 1 (Triton 2.51 is one) give wrong data with numpy 2, without an error:
``as_numpy`` repeats the first element, and `Tensor` sends an empty buffer of the right shape. DLPack avoids both. With
numpy 1 the backend's own functions are right. The canary notices a wrong choice, whatever the build.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray

__all__ = ["exchange"]


def exchange(pb: Any) -> tuple[Callable[[Any], ndarray], Callable[[str, ndarray], Any]]:
    """The two functions that carry arrays over.

    Args:
        pb: Triton's module `triton_python_backend_utils`.

    Returns:
        A function from a tensor to its array, which may be read-only, and one from a name and an array to a tensor.
    """
    if int(np.__version__.split(".")[0]) < 2:
        return lambda tensor: tensor.as_numpy(), lambda name, array: pb.Tensor(name, array)
    set_destructor = ctypes.pythonapi.PyCapsule_SetDestructor
    set_destructor.argtypes, set_destructor.restype = [ctypes.py_object, ctypes.c_void_p], ctypes.c_int

    def to_tensor(name: str, array: ndarray) -> Any:
        if not array.size:
            # numpy gives an empty array strides of 0, which the backend takes for a gap; a view's are those it expects.
            array = np.empty(1, array.dtype)[:0].reshape(array.shape)
        if not array.flags.writeable:  # DLPack has no word for it: an input that is handed back, say
            array = array.copy()
        capsule = array.__dlpack__()
        tensor = pb.Tensor.from_dlpack(name, capsule)
        # The backend now owns the array and frees it. It renames the capsule in a way that numpy does not know, and
        # numpy's destructor would write a traceback into the log for every answer.
        set_destructor(capsule, None)
        return tensor

    return np.from_dlpack, to_tensor
