"""Memory shared by this process and a server on the same machine, so that large tensors need not be sent."""

from __future__ import annotations

import itertools
import json
import math
import mmap
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any, ClassVar, Final

import numpy as np
from numpy import ndarray

from beampipe.errors import (
    BeampipeError,
    DeadlineError,
    InputError,
    RegionLostError,
    RegionRefusedError,
    ServiceError,
    ServiceUnavailableError,
)
from beampipe.processes import is_used
from beampipe.triton.client.codec import HttpCall, HttpReply, Placed, Tensor, parsed
from beampipe.triton.client.transports import Transport
from beampipe.triton.model.contract import TensorSpec

Places = dict[str, tuple[int, int]]
"""Offset and length [bytes] in a region by name of tensor."""

_FOLDER: Final = Path("/dev/shm")
_PREFIX: Final = "beampipe_client_"
_ALIGNED: Final = 64
_SMALLEST: Final = 1 << 20
_SHORTEST: Final = 16
_UNWRITTEN: Final = os.urandom(8)
"""Marks the begin and the end of an output until the server has written it."""
_TIMEOUT: Final = 2.0
_MOMENT: Final = 0.02
_PAUSE: Final = 10.0
"""Time [s] without shared memory after the server has lost a region."""

_NUMBERS: Final = itertools.count()


class SharedRegion:
    """One piece of shared memory that the server has mapped.

    Its file is removed as soon as the server has mapped it (Triton does so while it registers the region, not when it
    is first used). From then on the memory exists as long as one of the two processes maps it, and nothing is left in
    /dev/shm even if this process is killed.

    Args:
        transport: connection to the server.
        size: length of the memory [bytes].

    Raises:
        RegionRefusedError: the server cannot or will not map it.
        RegionLostError: there is too little memory, or the server does not confirm the mapping in time.
        ServiceUnavailableError: there is no server.
    """

    def __init__(self, transport: Transport, size: int) -> None:
        self.name = f"{_PREFIX}{os.getpid()}_{next(_NUMBERS)}_{os.urandom(4).hex()}"
        self.size = size
        self._transport = transport
        path = _FOLDER / self.name
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                # A file without its pages would kill the process at the first write beyond what the machine has.
                os.posix_fallocate(descriptor, 0, size)
                self._memory = mmap.mmap(descriptor, size)
            finally:
                os.close(descriptor)
            transport.send(MapRegion(self.name, f"/{self.name}", size), _TIMEOUT)
        except DeadlineError:
            raise RegionLostError(f"got no answer within {_TIMEOUT:g} s, expected the server to map memory") from None
        except ServiceUnavailableError:
            raise
        except BeampipeError as error:
            raise RegionRefusedError(
                f"{error}; the server cannot map memory of this client: it is on another machine or in a container, or"
                " keeps that to its own user; protocol='auto' sends the data instead"
            ) from None
        except OSError as error:
            message = f"{_FOLDER}: got {error.strerror or error}, expected room for {size} bytes"
            raise RegionLostError(message) from None
        finally:
            path.unlink(missing_ok=True)

    def place(self, inputs: Sequence[Tensor], outputs: Sequence[TensorSpec], at: Places) -> Placed:
        """Copy the inputs in, and mark the outputs as not written yet."""
        for tensor in inputs:
            if tensor.spec.name in at:
                self._view(tensor.array.shape, tensor.array.dtype.type, at[tensor.spec.name])[...] = tensor.array
        for spec in outputs:
            if spec.name in at:
                offset, length = at[spec.name]
                self._memory[offset : offset + 8] = self._memory[offset + length - 8 : offset + length] = _UNWRITTEN
        return Placed(self.name, at)

    def output(self, spec: TensorSpec, shape: tuple[int, ...], at: Places) -> ndarray:
        """An output, still in the region.

        Raises:
            ServiceError: the server answered, but wrote none.
        """
        offset, length = at[spec.name]
        if _UNWRITTEN in (self._memory[offset : offset + 8], self._memory[offset + length - 8 : offset + length]):
            raise ServiceError(
                f"got no {spec.name.lower()} in shared memory, expected {math.prod(shape)}; the backend is broken"
            )
        return self._view(shape, spec.dtype, at[spec.name])

    def close(self, timeout: float = _TIMEOUT) -> bool:
        """Have the server release it; False if the server still uses it, or does not answer in time [s]."""
        try:
            self._transport.send(UnmapRegion(self.name), timeout)
        except BeampipeError:
            return False
        return True

    def _view(self, shape: tuple[int, ...], dtype: type[np.generic], location: tuple[int, int]) -> ndarray:
        return np.ndarray(shape, dtype, self._memory, location[0])


def layout(inputs: Sequence[Tensor], outputs: Mapping[str, int]) -> tuple[Places, int]:
    """Where tensors go in a region, and how large it must be [bytes].

    Args:
        inputs: tensors to send.
        outputs: lengths [bytes] of outputs by name; short ones, too short for the marks of unwritten memory, are left
            out and sent.
    """
    at, end = {}, 0
    lengths = [(tensor.spec.name, tensor.array.nbytes) for tensor in inputs]
    lengths += [(name, length) for name, length in outputs.items() if length >= _SHORTEST]
    for name, length in lengths:
        at[name] = (end, length)
        end += -(-length // _ALIGNED) * _ALIGNED
    return at, end


class SharedRegions:
    """The regions of one connection: as many as there are concurrent requests, reused.

    Args:
        transport: connection to the server.
        clock: gives the time [s], for tests.
    """

    def __init__(self, transport: Transport, clock: Callable[[], float] = monotonic) -> None:
        self._transport = transport
        self._clock = clock
        self._lock = threading.Lock()
        self._free: list[SharedRegion] = []
        self._abandoned: list[SharedRegion] = []
        self._off_until = float("-inf")
        self._swept = False

    @property
    def offered(self) -> bool:
        """Whether to use shared memory: the server has mapped regions so far, or some time has passed since."""
        return self._clock() >= self._off_until

    def lost(self) -> None:
        """Stop using shared memory for a while: the server was replaced by one that has not mapped it."""
        self._off_until = self._clock() + _PAUSE
        with self._lock:
            self._abandoned += self._free
            self._free = []

    def refused(self) -> None:
        """Stop using shared memory for as long as this server runs: it cannot or will not map it."""
        self.lost()
        self._off_until = float("inf")

    def offer_again(self) -> None:
        """Try shared memory again: the server went away, and the next one may map it."""
        if self._off_until == float("inf"):
            self._off_until = float("-inf")

    @contextmanager
    def region(self, size: int) -> Iterator[SharedRegion]:
        """A region of at least `size` bytes for one request.

        It is reused only if the server has answered: otherwise the server may still write to it.
        """
        with self._lock:
            fitting = [region for region in self._free if region.size >= size]
            taken = min(fitting, key=lambda region: region.size) if fitting else None
            small = self._free.pop() if taken is None and self._free else None
            if taken is not None:
                self._free.remove(taken)
        if small is not None and not small.close():
            with self._lock:
                self._abandoned.append(small)
        if not self._swept:
            self._swept = True
            _sweep(self._transport)
        region = taken or SharedRegion(self._transport, max(_SMALLEST, 1 << (size - 1).bit_length()))
        try:
            yield region
        except InputError:
            self._return(region)
            raise
        except BaseException:
            with self._lock:
                self._abandoned.append(region)
            raise
        self._return(region)

    def _return(self, region: SharedRegion) -> None:
        with self._lock:
            self._free.append(region)
            # Only after an answer of the server: one that hangs would also hang on this.
            abandoned, self._abandoned = self._abandoned, []
        kept = [old for old in abandoned if not old.close()]
        with self._lock:
            self._abandoned += kept

    def close(self, limit: float = _TIMEOUT) -> None:
        """Release all regions within `limit` seconds; the server may need a moment after its last answer.

        Those that it does not release in time, the next client will have released (`_sweep`).
        """
        with self._lock:
            left = self._free + self._abandoned
            self._free, self._abandoned = [], []
        deadline = monotonic() + limit
        while left and (time_left := deadline - monotonic()) > 0:
            left = [region for region in left if not region.close(max(_MOMENT, min(time_left, deadline - monotonic())))]
            if left:
                sleep(_MOMENT)


class _MemoryMessage:
    """A message about shared memory, which may require the secret; most have an empty answer."""

    rpc: ClassVar[str]
    guarded: ClassVar[bool] = True
    numbers: ClassVar[int] = 0

    def from_http(self, reply: HttpReply, url: str) -> Any:
        """Nothing."""

    def to_grpc(self, protobuf: Any, timeout: float | None = None) -> Any:
        return getattr(protobuf, f"{self.rpc}Request")(**vars(self))

    def from_grpc(self, answer: Any) -> Any:
        """Nothing."""


@dataclass(frozen=True)
class MapRegion(_MemoryMessage):
    """Request that the server maps POSIX shared memory.

    Attributes:
        name: name of the region on the server.
        key: name of the shared memory object, with its leading slash.
        byte_size: size of the memory [bytes].
    """

    rpc: ClassVar[str] = "SystemSharedMemoryRegister"

    name: str
    key: str
    byte_size: int

    def to_http(self, timeout: float | None = None) -> HttpCall:
        body = json.dumps({"key": self.key, "offset": 0, "byte_size": self.byte_size}).encode()
        return HttpCall("POST", f"/v2/systemsharedmemory/region/{self.name}/register", [body])


@dataclass(frozen=True)
class MappedRegions(_MemoryMessage):
    """Names of all regions that the server has mapped, of any client."""

    rpc: ClassVar[str] = "SystemSharedMemoryStatus"

    def to_http(self, timeout: float | None = None) -> HttpCall:
        return HttpCall("GET", "/v2/systemsharedmemory/status")

    def from_http(self, reply: HttpReply, url: str) -> list[str]:
        return [region["name"] for region in parsed(reply.data, url)]

    def from_grpc(self, answer: Any) -> list[str]:
        return list(answer.regions)


@dataclass(frozen=True)
class UnmapRegion(_MemoryMessage):
    """Request that the server releases shared memory.

    Attributes:
        name: name of the region on the server.
    """

    rpc: ClassVar[str] = "SystemSharedMemoryUnregister"

    name: str

    def to_http(self, timeout: float | None = None) -> HttpCall:
        return HttpCall("POST", f"/v2/systemsharedmemory/region/{self.name}/unregister", [b""])


def _sweep(transport: Transport) -> None:
    """Release memory of killed clients: regions that the server still maps, and files that it has not mapped."""
    for path in _FOLDER.glob(f"{_PREFIX}*"):
        if _dead(path.name):
            with suppress(OSError):
                path.unlink()
    with suppress(BeampipeError):
        for region in transport.send(MappedRegions(), _TIMEOUT):
            if _dead(region):
                with suppress(BeampipeError):
                    transport.send(UnmapRegion(region), _TIMEOUT)


def _dead(name: str) -> bool:
    """Whether it is a region of this package, and the process in its name has ended."""
    number = name.removeprefix(_PREFIX).partition("_")[0]
    return name.startswith(_PREFIX) and number.isdecimal() and not is_used(int(number))
