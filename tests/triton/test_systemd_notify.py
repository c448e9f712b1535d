from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from beampipe.triton.systemd import is_managed_by_systemd, notify


@pytest.fixture(params=["a file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of a manager that has started this process."""
    address = str(tmp_path / "notify") if request.param == "a file" else f"\0{tmp_path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(address)
        bound.settimeout(5.0)
        monkeypatch.setenv("NOTIFY_SOCKET", address.replace("\0", "@"))
        yield bound


def test_the_manager_is_told(manager: socket.socket) -> None:
    assert is_managed_by_systemd()
    notify(READY="1", STATUS="serves one\nWATCHDOG=1")
    assert manager.recv(1000).decode() == "READY=1\nSTATUS=serves one WATCHDOG=1"


def test_a_manager_that_does_not_listen_is_no_fault(manager: socket.socket) -> None:
    for _ in range(5000):  # its buffer is full long before
        notify(WATCHDOG="1")
    manager.close()
    notify(WATCHDOG="1")


def test_without_a_manager_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not is_managed_by_systemd()
    notify(READY="1")
