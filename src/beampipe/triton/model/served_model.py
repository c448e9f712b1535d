"""What a served model is: a class with its tensors and one method. Nothing here knows Triton.

A model is written like this, and served by naming it in a `ModelSettings`::

    class Doubler:
        inputs = (TensorSpec("X", "FP32", np.float32, (-1,)),)
        outputs = (TensorSpec("Y", "FP32", np.float32, (-1,)),)

        def __init__(self, instance: Instance) -> None: ...

        def run(self, requests):
            return [{"Y": 2 * request["X"]} for request in requests]

        @classmethod
        def example(cls):
            return {"X": np.arange(3, dtype=np.float32)}

A model that counts something names it in a further attribute, such as ``counters = {"values": "Values doubled."}``, and
calls ``instance.observe("values", 3, "")``: this adds to the metric ``beampipe_values_total``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, runtime_checkable

from numpy import ndarray

from beampipe.errors import BeampipeError, ConfigError
from beampipe.triton.model.contract import TensorSpec

__all__ = ["Instance", "Model", "ModelAnswer", "ModelRequest", "model_class"]

ModelRequest = Mapping[str, ndarray]
"""The arrays of one request, by name of the tensor."""

ModelAnswer = Mapping[str, ndarray] | BeampipeError
"""The arrays of one answer, by name of the tensor, or the error that says why there is none."""


@dataclass(frozen=True)
class Instance:
    """Where one copy of a model runs. Without a server: ``Model(Instance(weights=folder))``.

    Attributes:
        name: name of the instance, unique in its server.
        device: device on which everything of the instance stays, ``"cpu"`` or ``"cuda:N"``.
        threads: number of threads that the instance may use.
        weights: folder of the model's weights.
        parameters: parameters of the model's configuration, by name.
        checkpoint: function to call between the steps of long work. It raises `CancelledError` once nobody waits for
            the answer any more.
        observe: function ``observe(name, amount, stage)`` that adds an amount to the metric ``beampipe_<name>_total``.
            The names are those in the model's `counters`, and ``events`` and ``stage_seconds``.
    """

    name: str = "direct"
    device: str = "cpu"
    threads: int = 1
    weights: Path = Path()
    parameters: Mapping[str, str] = field(default_factory=dict)
    checkpoint: Callable[[], None] = lambda: None
    observe: Callable[[str, float, str], None] = lambda name, amount, step: None


@runtime_checkable
class Model(Protocol):
    """What a server can hold: arrays in, arrays out. It is made once for each `Instance`.

    Attributes:
        inputs: tensors that a request brings.
        outputs: tensors that an answer may hold.
    """

    inputs: ClassVar[tuple[TensorSpec, ...]]
    outputs: ClassVar[tuple[TensorSpec, ...]]

    def __init__(self, instance: Instance) -> None: ...

    def run(self, requests: Sequence[ModelRequest], /) -> Sequence[ModelAnswer]:
        """Answer requests.

        Args:
            requests: the requests, one at a time unless the model's configuration allows batches.

        Returns:
            One answer per request, in order. The answer to a bad request is an `InputError`. An output is looked up
            in an answer only if the client asked for it: a mapping may make then what takes time.

        Raises:
            InputError: a request is bad. Each is then asked alone, so that the good ones are answered.
        """

    @classmethod
    def example(cls) -> ModelRequest:
        """A request that has an answer: it becomes the model's canary."""


class _NoBytecode(SourceFileLoader):
    """Leaves no ``__pycache__`` beside a file, which would then be part of a repository."""

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        pass


_PARTS: Final = ("inputs", "outputs", "run", "example")


def model_class(path: str, folder: Path | None = None) -> type[Any]:
    """The class that ``"package.module:Class"`` or ``"file.py:Class"`` names.

    Args:
        path: name of module and class, or of file and class.
        folder: folder in which a file is looked for.

    Raises:
        ConfigError: there is no such module or class, or it lacks what a `Model` has.
    """
    where, _, name = path.rpartition(":")
    try:
        if where.endswith(".py"):
            module_path = (folder or Path()) / where
            # A name of its own: a file called json.py must not pass for the json of others.
            module_name = f"beampipe_model_{module_path.stem}"
            loader = _NoBytecode(module_name, str(module_path))
            spec = importlib.util.spec_from_file_location(module_name, module_path, loader=loader)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[module_name] = module  # dataclasses look their module up
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(where)
        found: type[Any] = getattr(module, name)
    except (ImportError, FileNotFoundError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"model: got {path!r}, expected 'package.module:Class' or 'file.py:Class' ({error})"
        ) from error
    missing = [part for part in _PARTS if not hasattr(found, part)]
    if missing:
        raise ConfigError(
            f"model: got {path!r} without {', '.join(missing)}, expected a class with {', '.join(_PARTS)}"
        )
    return found
