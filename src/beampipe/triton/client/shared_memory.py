"""Memory that this process and a server on the same machine both see, so that large events are not sent at all."""

from __future__ import annotations

import itertools
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Final

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from beampipe.errors import BeampipeError, DeadlineError, InputError, ServiceError, ServiceUnavailableError
from beampipe.processes import is_used
from beampipe.serving.contract import LABELS
from beampipe.triton.client.failures import RegionLostError
from beampipe.triton.client.wire import Placed, Request, Transport

__all__ = ["Region", "Regions", "layout"]

_FOLDER: Final = Path("/dev/shm")
_PREFIX: Final = "beampipe_client_"
_ALIGNED: Final = 64
_SMALLEST: Final = 1 << 20
_UNWRITTEN: Final = np.iinfo(np.int64).min
_TIMEOUT: Final = 2.0
_MOMENT: Final = 0.02
_PAUSE: Final = 10.0
"""After the server has refused a region, so long [s] none is offered."""

_NUMBERS: Final = itertools.count()


class Region:
    """One piece of shared memory that the server has mapped.

    Its file is removed as soon as the server has mapped it (Triton does so while it registers the region, not when it
    is first used): from then on the memory lives as long as one of the two processes has it, and whatever becomes of
    this one, nothing is left in /dev/shm.

    Args:
        transport: to the server.
        size: bytes.

    Raises:
        RegionLostError: there is no room, or the server cannot map it.
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
            transport.register(self.name, f"/{self.name}", size, _TIMEOUT)
        except (ServiceUnavailableError, DeadlineError):
            raise
        except BeampipeError as error:
            raise RegionLostError(f"{error}; the server cannot map memory of this process") from None
        except OSError as error:
            raise RegionLostError(f"{path}: got {error.strerror or error}, expected room for {size} bytes") from None
        finally:
            path.unlink(missing_ok=True)

    def place(self, request: Request, at: dict[str, tuple[int, int]]) -> Placed:
        """Copy the inputs in."""
        for tensor in request.inputs:
            offset, _ = at[tensor.spec.name]
            target = np.ndarray(tensor.array.shape, tensor.array.dtype, self._memory, offset)
            target[...] = tensor.array
        labels = self._labels(at)
        labels[[0, -1]] = _UNWRITTEN
        return Placed(self.name, at)

    def labels(self, at: dict[str, tuple[int, int]], n_hits: int) -> Int64[ndarray, " n_hits"]:
        """The labels, still in the region.

        Raises:
            ServiceError: the server answered, but wrote none.
        """
        labels = self._labels(at)
        if (labels[[0, -1]] == _UNWRITTEN).any():
            raise ServiceError(f"{self.name}: got no labels in shared memory, expected {n_hits}; the backend is broken")
        return labels

    def close(self) -> bool:
        """Have the server let go of it; False if that is still at work on it, or cannot be asked."""
        try:
            self._transport.unregister(self.name, _TIMEOUT)
        except BeampipeError:
            return False
        return True

    def _labels(self, at: dict[str, tuple[int, int]]) -> ndarray:
        offset, length = at[LABELS.name]
        labels: ndarray = np.ndarray((length // 8,), np.int64, self._memory, offset)
        return labels


def layout(request: Request, n_hits: int) -> tuple[dict[str, tuple[int, int]], int]:
    """Where inputs and labels go in a region, and how large it must be [bytes]."""
    at, end = {}, 0
    lengths = [(tensor.spec.name, tensor.array.nbytes) for tensor in request.inputs]
    for name, length in (*lengths, (LABELS.name, 8 * n_hits)):
        at[name] = (end, length)
        end += -(-length // _ALIGNED) * _ALIGNED
    return at, end


class Regions:
    """The regions of one connection: as many as there are requests at once, made once and used again.

    Args:
        transport: to the server.
        clock: seconds.
    """

    def __init__(self, transport: Transport, clock: Callable[[], float] = monotonic) -> None:
        self._transport = transport
        self._clock = clock
        self._lock = threading.Lock()
        self._free: list[Region] = []
        self._given_up: list[Region] = []
        self._off_until = float("-inf")
        self._swept = False

    @property
    def offered(self) -> bool:
        """The server took regions so far, or has not been asked for a while."""
        return self._clock() >= self._off_until

    def refused(self) -> None:
        """Do without for a while: the server cannot map our memory, or was replaced by one that has not."""
        self._off_until = self._clock() + _PAUSE
        with self._lock:
            self._given_up += self._free
            self._free = []

    @contextmanager
    def region(self, size: int) -> Iterator[Region]:
        """A region of at least `size` bytes for one request.

        Unless the server has answered it is not used again: the server may be at work still, and write to it later.
        """
        with self._lock:
            fitting = [region for region in self._free if region.size >= size]
            taken = min(fitting, key=lambda region: region.size) if fitting else None
            small = self._free.pop() if taken is None and self._free else None
            if taken is not None:
                self._free.remove(taken)
        if small is not None:
            small.close()
        if not self._swept:
            self._swept = True
            _sweep(self._transport)
        region = taken or Region(self._transport, max(_SMALLEST, 1 << (size - 1).bit_length()))
        try:
            yield region
        except InputError:
            self._give_back(region)
            raise
        except BaseException:
            with self._lock:
                self._given_up.append(region)
            raise
        self._give_back(region)

    def _give_back(self, region: Region) -> None:
        with self._lock:
            self._free.append(region)
            # Not before the server answers again: one that hangs would also hang on this.
            given_up, self._given_up = self._given_up, []
        kept = [old for old in given_up if not old.close()]
        with self._lock:
            self._given_up += kept

    def close(self) -> None:
        """Let go of all; the server may need a moment to be done with what it has just answered."""
        with self._lock:
            left = self._free + self._given_up
            self._free, self._given_up = [], []
        deadline = monotonic() + _TIMEOUT
        while (left := [region for region in left if not region.close()]) and monotonic() < deadline:
            sleep(_MOMENT)


def _sweep(transport: Transport) -> None:
    """Let go of what killed processes left: memory that the server still maps, or a file that it had yet to map."""
    for path in _FOLDER.glob(f"{_PREFIX}*"):
        if _dead(path.name):
            with suppress(OSError):
                path.unlink()
    with suppress(BeampipeError):
        for region in transport.registered(_TIMEOUT):
            if _dead(region):
                with suppress(BeampipeError):
                    transport.unregister(region, _TIMEOUT)


def _dead(name: str) -> bool:
    """It is a region of ours, and the process in its name is no more."""
    number = name.removeprefix(_PREFIX).partition("_")[0]
    return name.startswith(_PREFIX) and number.isdecimal() and not is_used(int(number))
