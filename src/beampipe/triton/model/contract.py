"""A served model without Triton: tensors, the `Model` protocol, and the settings of a model in a repository.

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

A model with counters of its own names them in an attribute such as ``counters = {"values": "Values doubled."}``,
and calls ``instance.observe("values", 3, "")``: this adds to the metric ``beampipe_values_total``.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from traceback import extract_tb
from typing import Any, ClassVar, Final, Protocol, runtime_checkable

import numpy as np
from numpy import ndarray

from beampipe.errors import BeampipeError, ConfigError, UnknownNameError
from beampipe.identity import digest_of, file_digest, user_code


@dataclass(frozen=True)
class TensorSpec:
    """A tensor as a model declares it.

    Attributes:
        name: name of the tensor on the wire.
        triton_type: Triton's name of the element type, without ``TYPE_``, such as ``"FP32"``.
        dtype: numpy's name of the same element type.
        dims: shape of the tensor of one event; -1 stands for any length.
        exact: whether the same request gives the same bytes. It does not for measured times.
        optional: whether a request may leave it out, for an input.
    """

    name: str
    triton_type: str
    dtype: type[np.generic]
    dims: tuple[int, ...]
    exact: bool = True
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.triton_type} {list(self.dims)}"


def fits(shape: tuple[int, ...], dims: tuple[int, ...]) -> bool:
    """Whether a shape fits `dims`, where -1 stands for any length."""
    if shape == dims:
        return True
    return len(shape) == len(dims) and all(want in (-1, got) for want, got in zip(dims, shape, strict=True))


def instance_count(config: Mapping[str, Any]) -> int:
    """Number of instances of a model on all its devices, from its configuration; 0 for an ensemble."""
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
"""Parameter of ``config.pbtxt``: folder of the weights. `MODEL_DIRECTORY` in it is replaced by the model's folder."""

MODEL_DIRECTORY: Final = "$$TRITON_MODEL_DIRECTORY"
"""Placeholder of the model's folder in the value of EXECUTION_MODEL_PATH."""

MODEL_CLASS: Final = "MODEL_CLASS"
"""Parameter of ``config.pbtxt``: class of the model, as `model_class` reads it."""

WEIGHTS: Final = "weights"
"""Name of the folder of the weights in that of the model."""

DIGEST: Final = "DIGEST"
"""Parameter of ``config.pbtxt``: digest of code, weights and parameters of the model, 40 hexadecimal digits. Clients
that keep what a model computes use it as the identity of the model: its name may be that of any other."""

THREADS: Final = "THREADS"
"""Parameter of ``config.pbtxt``: threads of one instance, or ``auto``: the cores are shared out among the instances."""


ModelRequest = Mapping[str, ndarray]
"""The arrays of one request, by name of the tensor."""

ModelAnswer = Mapping[str, ndarray] | BeampipeError
"""The arrays of one answer, by name of the tensor, or the error in its place."""


@dataclass(frozen=True)
class Instance:
    """One copy of a model: device, threads and parameters. Without a server: ``Model(Instance(weights=folder))``.

    Attributes:
        name: name of the instance, unique in its server.
        device: device on which everything of the instance stays, ``"cpu"`` or ``"cuda:N"``.
        threads: number of threads that the instance may use.
        weights: folder of the model's weights.
        parameters: parameters of the model's configuration, by name.
        checkpoint: function to call between the steps of long work. It raises `CancelledError` if the request was
            cancelled.
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
    """A model for a server: arrays in, arrays out. It is made once for each `Instance`.

    Attributes:
        inputs: tensors of a request.
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
            in an answer only if the client requested it, so a mapping may compute expensive outputs on look-up.

        Raises:
            InputError: a request is bad. Each is then run alone, so that the good ones are answered.
        """

    @classmethod
    def example(cls) -> ModelRequest:
        """A request that has an answer: it becomes the model's canary."""


class _NoBytecode(SourceFileLoader):
    """Writes no ``__pycache__`` beside a file, which would then be part of a repository."""

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        pass


_PARTS: Final = ("inputs", "outputs", "run", "example")


def model_class(path: str, folder: Path | None = None) -> type[Any]:
    """Import the class named ``"package.module:Class"`` or ``"file.py:Class"``.

    Args:
        path: name of module and class, or of file and class.
        folder: folder of the file.

    Raises:
        ConfigError: there is no such module or class, it cannot be imported, or lacks an attribute of `Model`.
    """
    where, _, name = path.rpartition(":")
    module_path = (folder or Path()) / where
    try:
        if where.endswith(".py"):
            # A unique name: a file called json.py must not replace the module json.
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
        cls: type[Any] = getattr(module, name)
    except Exception as error:  # whatever the user's code raises
        lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == str(module_path)]
        if lines or isinstance(error, SyntaxError):
            line = f", line {lines[-1]}" if lines else ""
            raise ConfigError(f"model: {where} cannot be imported ({type(error).__name__}: {error}{line})") from error
        raise ConfigError(
            f"model: got {path!r}, expected 'package.module:Class' or 'file.py:Class' ({error})"
        ) from error
    missing = [part for part in _PARTS if not hasattr(cls, part)]
    if missing:
        raise ConfigError(
            f"model: got {path!r} without {', '.join(missing)}, expected a class with {', '.join(_PARTS)}"
        )
    return cls


_NO_RESULT: Final = (DIGEST, EXECUTION_MODEL_PATH, MODEL_CLASS, THREADS)
"""Parameters on which no answer depends."""


def model_digest(model: Any, path: str, version: Path, parameters: Mapping[str, str]) -> str:
    """Digest of a model: the one that it states in an attribute `digest`, else that of its folder and of its class.

    The latter has the code of the class and what it imports, the weights and libraries, and the parameters.

    Args:
        model: the model.
        path: its class, as `model_class` reads it.
        version: folder of the version, in the folder of the model.
        parameters: parameters of the model's configuration, by name.
    """
    if isinstance(stated := getattr(model, "digest", None), str):
        return stated
    where = path.rpartition(":")[0]
    code = user_code(where, version / where if where.endswith(".py") else None).digest
    files = sorted([*(version.parent / WEIGHTS).glob("*"), *version.parent.glob("*.so*")])
    values = {name: value for name, value in parameters.items() if name not in _NO_RESULT}
    return digest_of([path, code, {file.name: file_digest(file) for file in files}, values])


_NAME: Final = re.compile(r"\w[\w.-]*", re.ASCII)

_DEVICE: Final = re.compile(r"cpu|auto|cuda(:[0-9]+)?")


@dataclass(frozen=True)
class ModelSettings:
    """One model of a repository.

    Attributes:
        name: name of the model on the wire.
        model: class of the model, ``"package.module:Class"`` or ``"file.py:Class"``. The file is copied into the
            repository.
        parameters: texts that the model finds in `Instance.parameters`, by name.
        weights: files that are copied into the model's folder of weights, `Instance.weights`.
        instances: number of copies of the model: in total on a CPU, per device on GPUs.
        device: device of the copies: ``"cpu"``, ``"cuda"`` (every GPU), ``"cuda:N"``, or ``"auto"`` (GPUs where there
            are any).
        threads: threads of each copy; None to divide the cores among the copies.
        max_batch_size: largest number of requests in one call of the model, each of any size; 0 for one at a time.
        backend: name of Triton's backend that runs the model. ``"python"`` makes an instance of its class; another one
            is configured by the parameters, and must give the same answers.
        libraries: files that are copied beside the model's configuration: the library of the backend, and those that
            it opens. Triton looks for ``libtriton_<backend>.so`` there first.
        example: arrays of the canary's request, by name of the tensor; None for the example of its class.
    """

    name: str
    model: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    weights: tuple[Path, ...] = ()
    instances: int = 1
    device: str = "cpu"
    threads: int | None = None
    max_batch_size: int = 0
    backend: str = PYTHON_BACKEND
    libraries: tuple[Path, ...] = ()
    example: Mapping[str, ndarray] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"model: got the name {self.name!r}, expected letters, digits, '_', '-' and '.'")
        if self.instances < 1:
            raise ConfigError(f"{self.name}: got {self.instances} instances, expected 1 or more")
        if self.max_batch_size < 0:
            raise ConfigError(f"{self.name}: got max_batch_size {self.max_batch_size}, expected 0 or more")
        if not _DEVICE.fullmatch(self.device):
            raise UnknownNameError("device", self.device, ["cpu", "cuda", "cuda:0", "auto"])
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"{self.name}: got {self.threads} threads, expected 1 or more")


@dataclass(frozen=True)
class EnsembleSettings:
    """Models that Triton chains: a tensor of one is passed to the next that has an input of the same name.

    Attributes:
        name: name of the whole chain on the wire.
        steps: the models of the chain, in order.
        inputs: tensors that a client sends.
        outputs: tensors that a client gets.
        made_from: name of the steps' tensor by name of the client's tensor, where they differ. A step may have a tensor
            of the client's name, too, which is then not passed on.
    """

    name: str
    steps: tuple[ModelSettings, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    made_from: Mapping[str, str] = field(default_factory=dict)


def tensor_configuration(spec: TensorSpec) -> dict[str, Any]:
    """One tensor of a configuration."""
    tensor = {"name": spec.name, "data_type": f"TYPE_{spec.triton_type}", "dims": list(spec.dims)}
    return {**tensor, "optional": True} if spec.optional else tensor
