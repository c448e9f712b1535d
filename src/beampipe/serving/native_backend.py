"""The native backend: pipelines as models in C++, in the process of the server itself.

``libtriton_beampipe.so`` is built with the package. It runs the same pipelines over the same kernels as
`load_pipeline`, and gives the same labels; it spares a request the way through a Python process.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Final, Literal, get_args

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.files import built
from beampipe.tracking.kernels import native

__all__ = ["BACKEND", "BackendChoice", "backend_choice", "native_libraries", "uses_native"]

BACKEND: Final = "beampipe"
"""Name of the native backend in a model's configuration."""

BackendChoice = Literal["native", "python"]
"""What runs a served pipeline: C++ in the server's process, or a Python process beside it."""


def backend_choice(name: str | None) -> BackendChoice | None:
    """The choice of that name; None if nothing was chosen.

    Args:
        name: what a user wrote, such as ``"native"``.

    Raises:
        UnknownNameError: no choice of that name.
    """
    choices: tuple[BackendChoice, ...] = get_args(BackendChoice)
    for choice in choices:
        if name == choice:
            return choice
    if name is not None:
        raise UnknownNameError("backend", name, choices)
    return None


def native_libraries() -> tuple[Path, ...]:
    """The library of the native backend, the kernels that it opens, and what wheels bring for them; empty if not built.

    They work from any folder, together.
    """
    library = built("beampipe.serving", f"native/libtriton_{BACKEND}.so")
    if library is None or (kernels := native()) is None or kernels.__file__ is None:
        return ()
    folder = Path(kernels.__file__).parent
    brought = (folder.parents[2] / "beampipe.libs").glob("*.so*")  # libraries that a wheel carries along
    return (library, *sorted(folder.glob("_kernels_*.so")), *sorted(brought))


def uses_native(wanted: BackendChoice | None, device: str) -> bool:
    """Whether a pipeline is to be served by the native backend.

    Args:
        wanted: what was asked for. If nothing was, it is native on the CPU, and Python, with one warning, where the
            native backend was not built.
        device: device of the model.

    Raises:
        ConfigError: native was asked for, and cannot be had.
    """
    if wanted == "python" or (wanted is None and device != "cpu"):
        return False
    if device != "cpu":
        raise ConfigError(f"backend: got native on {device}, expected python there, or --device cpu")
    if native_libraries():
        return True
    if wanted == "native":
        raise ConfigError(
            "backend: got native, which was not built; install a wheel, or a C++ compiler and `pip install` from source"
        )
    warnings.warn(
        "beampipe's native backend was not built; the Python backend serves instead, which costs each request some"
        " tenths of a millisecond: install a wheel, or a C++ compiler and `pip install` from source",
        RuntimeWarning,
        stacklevel=2,
    )
    return False
