"""The systemd unit of a server, and the protocol by which a service reports its state to systemd."""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from beampipe.errors import ConfigError
from beampipe.triton.server.launch import ServerSettings

# What a service tells the manager that started it, by systemd's protocol: one datagram of ``NAME=value`` lines.


_SOCKET: Final = "NOTIFY_SOCKET"
"""Variable of the environment with the address of the manager's socket; an ``@`` in front stands for a null byte."""


def is_managed_by_systemd() -> bool:
    """Whether a manager has started this process and wants to know how it fares."""
    return bool(os.environ.get(_SOCKET))


def notify(**facts: str) -> None:
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


# The file by which systemd runs a server, watches the whole of it, and starts it again whatever happens.


_START: Final = round(ServerSettings.start_timeout)
"""Time [s] that a server gets to load its models, at its start and when it is started again."""

_PREPARE: Final = 180
"""Time [s] that making a repository of models may take."""

_SILENCE: Final = 60
"""Time [s] without an answer, that of loading models not counted, after which systemd starts everything again."""

_STOP: Final = ServerSettings.exit_timeout + 10
"""Time [s] to end in order: that of the requests in progress, and some for the rest."""

_MEMORY: Final = re.compile(r"\d+(\.\d+)?[KMGT]?|\d+(\.\d+)?%|infinity")

_UNIT: Final = """\
# Written by: beampipe serving unit
[Unit]
Description=beampipe: models behind NVIDIA Triton
After=network.target
# Never give up: the pause between two starts stays as it is, however many there were.
StartLimitIntervalSec=0

[Service]
# The service says when it is ready, and every second that its models answer.
Type=notify
NotifyAccess=main
ExecStart={command}
WorkingDirectory={folder}
{environment}
# A server that is started again may load its models for {start} s; {silence} s more without an answer end it.
TimeoutStartSec={start_limit}
WatchdogSec={watchdog}
Restart=always
RestartSec=1

# The supervisor lets requests in progress finish; then, or if it hangs, the whole group of processes is killed.
KillMode=mixed
TimeoutStopSec={stop}

# A model that needs too much memory is killed alone, and the supervisor brings it back.
OOMPolicy=continue
{memory}LimitNOFILE=65536
LimitCORE=0
TasksMax=16384

NoNewPrivileges=yes
{protection}
[Install]
WantedBy={target}
"""

_PROTECTION: Final = """\
User={user}
ProtectSystem=full
ProtectControlGroups=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictSUIDSGID=yes
"""
"""What a unit of the system adds; for one of a user these need namespaces that not every system allows."""


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
        folder: folder in which the command runs, from which relative paths are read.
        environment: variables that the service needs beyond systemd's.
        for_user: whether it is for a user's own manager (``systemctl --user``), else for that of the system.
        run_as: name of the user who runs a service of the system, by default the one who asks for the file.
        memory: most memory that all processes together may use, such as ``8G`` or ``50%``; None for no bound.

    Raises:
        ConfigError: `memory` is none, or `run_as` is given for a user's own manager.
    """
    if memory is not None and not _MEMORY.fullmatch(memory):
        raise ConfigError(f"memory: got {memory!r}, expected an amount such as 8G, 500M or 50%")
    if for_user and run_as is not None:
        raise ConfigError(f"user: got {run_as!r} for a user's own manager, expected none; it runs as that user")
    return _UNIT.format(
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
    """A word as systemd reads it between quotes."""
    escaped = _escaped(word.replace("\\", "\\\\").replace('"', '\\"'))
    return escaped if re.fullmatch(r"[\w./:=,@%+-]+", escaped) else f'"{escaped}"'


def _escaped(text: str) -> str:
    if "\n" in text:
        raise ConfigError(f"unit: got {text!r} with a line break, expected a word or path without")
    return text.replace("%", "%%")
