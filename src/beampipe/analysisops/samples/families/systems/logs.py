"""Logs of an inference server: what happened, among what is always said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

__all__ = ["log_of"]

_HAPPENED: Final = {
    "full_queue": "WARN  scheduler: request rejected, 128 are waiting already and no more are taken",
    "dead_instance": "ERROR worker 1: exited with signal 11, not started again",
    "full_disk": "ERROR writer: write of response cache failed: No space left on device",
    "expired_certificate": "ERROR door: handshake refused by peer: certificate is not valid any more",
    "slow_client": "WARN  door: peer 10.3.0.17 takes its answers at 2 kB/s, 61 responses are held for it",
    "gpu_out_of_memory": "ERROR worker 0: allocation of 2147483648 bytes on device 0 failed",
    "bad_release": "INFO  repository: model tracks version 13 replaces version 12",
    "network_partition": "WARN  cluster: no heartbeat from the other members for 10 s",
    "restart": "INFO  worker 1: stopped for maintenance, back in two minutes",
    "burst": "WARN  scheduler: 90 requests are waiting",
    "release": "INFO  repository: model tracks version 13 replaces version 12",
}
"""What happened -> what the log says of it."""

_ALWAYS: Final = (
    "INFO  door: connection from 10.3.0.{peer} accepted",
    "INFO  door: connection from 10.3.0.{peer} closed",
    "INFO  scheduler: batch of {number} done",
    "INFO  worker 0: model tracks answered {number} requests",
    "WARN  scheduler: request waited {number} ms",
    "WARN  door: peer 10.3.0.{peer} closed early",
    "INFO  metrics: scraped",
)

_BETWEEN: Final = 20.0
"""Mean time between lines [s]."""


def log_of(generator: np.random.Generator, duration: float, happened: Sequence[tuple[float, str]]) -> str:
    """The log of a server.

    Args:
        generator: of random numbers.
        duration: time that it covers [s].
        happened: time [s] and name of what happened.
    """
    lines = [(time, _HAPPENED[what]) for time, what in happened]
    for time in np.sort(generator.uniform(0, duration, int(duration / _BETWEEN))):
        text = _ALWAYS[generator.integers(len(_ALWAYS))]
        lines.append((float(time), text.format(peer=generator.integers(2, 60), number=generator.integers(1, 64))))
    return "".join(f"{time:9.3f} {text}\n" for time, text in sorted(lines))
