"""What a service tells the manager that started it, by systemd's protocol: one datagram of ``NAME=value`` lines."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Final

__all__ = ["is_managed", "tell_manager"]

_SOCKET: Final = "NOTIFY_SOCKET"
"""Variable of the environment with the address of the manager's socket; an ``@`` in front stands for a null byte."""


def is_managed() -> bool:
    """Whether a manager has started this process and wants to know how it fares."""
    return bool(os.environ.get(_SOCKET))


def tell_manager(**facts: str) -> None:
    """Tell the manager, if there is one.

    Args:
        facts: what it is told, such as ``READY="1"``, ``WATCHDOG="1"``, ``STATUS="..."`` and ``STOPPING="1"``. A line
            break in a value would begin another fact and is taken for a blank.
    """
    address = os.environ.get(_SOCKET)
    if not address:
        return
    lines = [f"{name}={' '.join(value.split())}" for name, value in facts.items()]
    # A manager that has gone, or is busy, is no reason to stop serving.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        sender.sendto("\n".join(lines).encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
