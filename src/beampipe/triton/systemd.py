"""The systemd unit of a server, and the protocol by which a service reports its state to systemd."""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from string import Template
from typing import Final

from beampipe.errors import ConfigError
from beampipe.triton.server.launch import ServerSettings

_SOCKET: Final = "NOTIFY_SOCKET"
"""Environment variable with the address of systemd's socket; a leading ``@`` means a null byte."""
_START: Final = round(ServerSettings.start_timeout)
"""Time [s] to load the models, at the first start and at each restart."""
_PREPARE: Final = 180
"""Time [s] that making a repository of models may take."""
_SILENCE: Final = 60
"""Time [s] without an answer, loading of models not counted, after which systemd restarts the service."""
_STOP: Final = ServerSettings.exit_timeout + 10
"""Time [s] to end in order: that of the requests in progress, and some for the rest."""
_MEMORY: Final = re.compile(r"\d+(\.\d+)?[KMGT]?|\d+(\.\d+)?%|infinity")
_PROTECTION: Final = """\
User={user}
ProtectSystem=full
ProtectControlGroups=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictSUIDSGID=yes
"""
"""For a unit of the system only: in a user's unit these need namespaces that not every system allows."""


def is_managed_by_systemd() -> bool:
    """Whether systemd, or a manager with its protocol, has started this process and expects reports."""
    return bool(os.environ.get(_SOCKET))


def notify(**facts: str) -> None:
    """Report to systemd in one datagram of ``NAME=value`` lines; does nothing without systemd.

    Args:
        facts: such as ``READY="1"``, ``WATCHDOG="1"``, ``STATUS="..."`` and ``STOPPING="1"``. A line break in a value
            would begin another line and is replaced by a blank.
    """
    address = os.environ.get(_SOCKET)
    if not address:
        return
    lines = [f"{name}={' '.join(value.split())}" for name, value in facts.items()]
    # The service continues if the manager has ended or is busy.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        sender.sendto("\n".join(lines).encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)


def systemd_unit(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    for_user: bool = False,
    run_as: str | None = None,
    memory: str | None = None,
) -> str:
    """The text of a unit file for a service in the foreground.

    Args:
        command: program and arguments.
        folder: working directory of the command.
        environment: variables that the service needs beyond systemd's.
        for_user: whether it is for a user's own manager (``systemctl --user``), else for that of the system.
        run_as: name of the user who runs a service of the system; None for the current user.
        memory: limit on the memory of all processes together, such as ``8G`` or ``50%``; None for no limit.

    Raises:
        ConfigError: `memory` is no amount, or `run_as` is given for a user's own manager.
    """
    if memory is not None and not _MEMORY.fullmatch(memory):
        raise ConfigError(f"memory: got {memory!r}, expected an amount such as 8G, 500M or 50%")
    if for_user and run_as is not None:
        raise ConfigError(f"user: got {run_as!r} for a user's own manager, expected none; it runs as that user")
    template = Template(Path(__file__).with_name("unit.service").read_text(encoding="utf-8"))
    return template.substitute(
        command=" ".join(_quoted(word).replace("$", "$$") for word in command),
        folder=_escaped(str(folder.absolute())),
        environment="\n".join(f"Environment={_quoted(f'{name}={value}')}" for name, value in environment.items()),
        start=_START,
        silence=_SILENCE,
        start_limit=_START + _PREPARE,
        watchdog=_START + _SILENCE,
        stop=_STOP,
        memory=f"MemoryMax={memory}\n" if memory else "",
        protection="" if for_user else _PROTECTION.format(user=run_as or getpass.getuser()),
        target="default.target" if for_user else "multi-user.target",
    )


def _quoted(word: str) -> str:
    """A word in systemd's syntax for quoted words."""
    escaped = _escaped(word.replace("\\", "\\\\").replace('"', '\\"'))
    return escaped if re.fullmatch(r"[\w./:=,@%+-]+", escaped) else f'"{escaped}"'


def _escaped(text: str) -> str:
    if "\n" in text:
        raise ConfigError(f"unit: got {text!r} with a line break, expected a word or path without")
    return text.replace("%", "%%")
