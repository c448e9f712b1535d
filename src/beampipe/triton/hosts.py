"""Addresses of machines: whether they are of this one, and how they stand beside a port."""

from __future__ import annotations

import ipaddress
from typing import Final

__all__ = ["LOOPBACK", "authority", "is_loopback"]

LOOPBACK: Final = "127.0.0.1"
"""The address at which only this machine reaches itself."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def authority(host: str, port: int) -> str:
    """Host and port as they stand in a URL: an IPv6 address in brackets.

    >>> authority("127.0.0.1", 8000), authority("::1", 8000)
    ('127.0.0.1:8000', '[::1]:8000')
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
