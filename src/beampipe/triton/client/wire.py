"""One request and its answer, free of any protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from numpy import ndarray

from beampipe.triton.model.contract import TensorSpec

__all__ = ["Call", "Output", "Placed", "Request", "Tensor", "Transport"]


@dataclass(frozen=True, eq=False)
class Tensor:
    """An array as it goes out.

    Attributes:
        spec: name and type.
        array: C-contiguous, of the wire's shape.
    """

    spec: TensorSpec
    array: ndarray


@dataclass(frozen=True)
class Placed:
    """Where in a shared memory region the tensors of one request are.

    Attributes:
        region: the name under which the server knows it.
        at: offset and length [bytes] by name of tensor, for inputs and outputs.
    """

    region: str
    at: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Request:
    """What is asked of a model.

    Attributes:
        model: its name.
        inputs: tensors to send.
        outputs: tensors to get.
        placed: which of both are in shared memory, or None.
    """

    model: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[TensorSpec, ...]
    placed: Placed | None = None


@dataclass(frozen=True, eq=False)
class Output:
    """A tensor as it came in, unchecked.

    Attributes:
        datatype: Triton's name of the element type.
        shape: as the server states it.
        data: raw bytes, None if they are in shared memory.
    """

    datatype: str
    shape: tuple[int, ...]
    data: bytes | memoryview | None


@runtime_checkable
class Call(Protocol):
    """Somebody who waits for an answer and may stop waiting."""

    def on_cancel(self, abort: Callable[[], Any], /) -> None:
        """Call `abort` once nobody waits any more, or now if that is so already."""
        ...


@runtime_checkable
class Transport(Protocol):
    """How to talk to one server. Raises `ServiceError` and its kin, `InputError` for what the server refuses."""

    def config(self, model: str, timeout: float) -> Mapping[str, Any]:
        """The model's configuration as JSON has it."""
        ...

    def infer(self, request: Request, timeout: float, call: Call | None) -> dict[str, Output]:
        """Ask and wait, at most `timeout` [s]."""
        ...

    def register(self, region: str, key: str, size: int, timeout: float) -> None:
        """Have the server map the POSIX shared memory object `key`, `size` bytes, as `region`."""
        ...

    def registered(self, timeout: float) -> list[str]:
        """Names of the regions that the server has mapped, anybody's."""
        ...

    def unregister(self, region: str, timeout: float) -> None:
        """Have the server let go of it."""
        ...

    def close(self) -> None:
        """Drop the connection."""
        ...
