"""What one model of a repository is to be: its name, its class, and how it runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from numpy import ndarray

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.triton.model.contract import PYTHON_BACKEND, TensorSpec

__all__ = ["EnsembleSettings", "ModelSettings"]

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
        instances: number of copies of the model, in all on a CPU, on each device on GPUs.
        device: device of the copies: ``"cpu"``, ``"cuda"`` (every GPU), ``"cuda:N"``, or ``"auto"`` (GPUs where there
            are any).
        threads: number of threads of each copy. If not given, the cores are shared out among the copies.
        max_batch_size: largest number of requests in one call of the model, each of any size; 0 for one at a time.
        backend: name of Triton's backend that runs the model. ``"python"`` makes an instance of its class; another one
            is told what to do by the parameters, and must give the same answers.
        libraries: files that are copied beside the model's configuration: the library of the backend, and those that
            it opens. Triton looks for ``libtriton_<backend>.so`` there first.
        example: arrays of the request that the model is asked before it is served, by name of the tensor; if not given,
            the example of its class.
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
        if self.backend != PYTHON_BACKEND and self.device != "cpu":
            raise ConfigError(
                f"{self.name}: got backend {self.backend} on {self.device}, expected {PYTHON_BACKEND} there, or cpu"
            )


@dataclass(frozen=True)
class EnsembleSettings:
    """Models that Triton chains: a tensor of one is handed to the next that has an input of the same name.

    Attributes:
        name: name of the whole chain on the wire.
        steps: the models of the chain, in order.
        inputs: tensors that a client sends.
        outputs: tensors that a client gets.
        made_from: name of the steps' tensor that a client's tensor is, by name of the latter, where they differ. A step
            may have a tensor of the client's name, too: it is not handed on then.
    """

    name: str
    steps: tuple[ModelSettings, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    made_from: Mapping[str, str] = field(default_factory=dict)
