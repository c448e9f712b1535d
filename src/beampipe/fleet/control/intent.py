"""What the operator of a fleet has asked for, and all processes that the fleet has started; both survive any of them.

The intent is one JSON file in the run folder, written before a command has an effect and read when the fleet's process
starts. Processes are found by an environment variable that each inherits with its start: unlike a list in a file, it
cannot be lost, out of date or unwritable.
"""

from __future__ import annotations

import getpass
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator, Set
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from beampipe import processes
from beampipe.errors import BeampipeError, ConfigError, FileError
from beampipe.files import flush_to_disk, replacing
from beampipe.fleet.run_folder import RunFolder
from beampipe.fleet.specification import Fleet, fleet_of_text, read_fleet
from beampipe.settings import build
from beampipe.triton.server.cleanup import clean_up_after_dead_owners

VARIABLE: Final = "BEAMPIPE_FLEET"
"""Environment variable with the run folder of the fleet that has started a process, directly or not."""

Kind = Literal["scale", "drain", "restart", "update", "trial", "down"]
"""Kind of a request."""

_GRACE: Final = 60.0
"""Time [s] between SIGTERM and SIGKILL for processes that finish requests when a fleet is stopped."""


@dataclass(frozen=True)
class Asker:
    """Who asked for something, by which command, and when.

    Attributes:
        user: name of the user.
        host: name of the machine.
        command: the command line.
        time: the time [s since 1970].
    """

    user: str = ""
    host: str = ""
    command: str = ""
    time: float = 0.0

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.time))
        return f"{self.user}@{self.host}, {when}: {self.command}"


def this_asker(command: str = "") -> Asker:
    """The user of this process, now.

    Args:
        command: the command line; empty for that of this process.
    """
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may have no name for the user
        user = str(os.getuid())
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    return Asker(user, socket.gethostname(), command or shlex.join(words), time.time())


@dataclass(frozen=True)
class Request:
    """A request that is in force until it is withdrawn, or a change in progress.

    Attributes:
        do: a group has `count` servers; a server is drained; a server is to be restarted once; all servers are to get
            other models; a trial of other models is in progress; or the fleet was stopped.
        of: name of the group or server, or digest of the models that were served before an update or a trial.
        count: number of servers.
        by: who asked.
    """

    do: Kind
    of: str = ""
    count: int = 0
    by: Asker = field(default_factory=Asker)

    def __str__(self) -> str:
        match self.do:
            case "scale":
                text = f"{self.of} has {self.count} server(s)"
            case "drain":
                text = f"{self.of} is drained"
            case "restart":
                text = f"{self.of} is to be restarted"
            case "down":
                text = "the fleet is stopped"
            case _:
                text = f"{'update' if self.do == 'update' else 'trial'} of models in progress, before: {self.of}"
        return f"{text} ({self.by})"


@dataclass(frozen=True)
class Intent:
    """The desired state of a fleet.

    Attributes:
        specification: path of the specification.
        text: its contents as of the last ``fleet up``; changes of the file since then do not count.
        by: who asked for that.
        models: digest of the models that are served; empty for those of the repository now.
        requests: what was asked for since then.
    """

    specification: Path = Path()
    text: str = ""
    by: Asker = field(default_factory=Asker)
    models: str = ""
    requests: tuple[Request, ...] = ()

    @property
    def fleet(self) -> Fleet:
        """The specification."""
        return fleet_of_text(self.text, self.specification)

    @property
    def ended(self) -> Request | None:
        """The request that ended the fleet; None if it should run."""
        return self.find("down")

    def find(self, do: str, of: str | None = None) -> Request | None:
        """The request of a kind for a group or server, or for any; None if there is none."""
        return next((one for one in self.requests if one.do == do and of in (None, one.of)), None)

    def having(self, *requests: Request) -> Intent:
        """The same with requests, in place of earlier ones of the same kind for the same group or server."""
        new = {(one.do, one.of) for one in requests}
        return replace(self, requests=(*(one for one in self.requests if (one.do, one.of) not in new), *requests))

    def without(self, do: str, of: str | None = None) -> Intent:
        """The same without the requests of a kind for a group or server, or for any."""
        left = tuple(one for one in self.requests if one.do != do or of not in (None, one.of))
        return replace(self, requests=left)

    def count(self, fleet: Fleet, group: str) -> int:
        """Number of servers that a group of a specification should have."""
        specified, scaled = fleet.servers[group], self.find("scale", group)
        return specified.count if scaled is None else min(scaled.count, specified.slots)

    def specified_by(self, path: Path, by: Asker) -> tuple[Intent, list[str]]:
        """The intent once a specification is applied.

        A drained server stays drained while its group exists. A scaled group keeps its number of servers unless the
        specification has another number than the last one had.

        Args:
            path: path of the specification.
            by: who asked for that.

        Returns:
            The intent, and a sentence for each request that is kept or discarded.

        Raises:
            BeampipeError: the specification cannot be used.
        """
        fleet, text = read_fleet(path), path.read_text(encoding="utf-8")
        before = self.fleet if self.text else fleet
        kept, notes = [], []
        for request in self.requests if self.ended is None else ():
            match request.do:
                case "scale":
                    old, new = before.servers.get(request.of), fleet.servers.get(request.of)
                    keeps = None is not old and None is not new and old.count == new.count
                case "drain":
                    keeps = any(request.of.startswith(f"{group}-") for group in fleet.servers)
                case _:  # servers are replaced as the new specification needs it
                    keeps = False
            kept += [request] * keeps
            notes.append(f"{'kept' if keeps else 'discarded'}: {request}")
        return Intent(path.resolve(), text, by, requests=tuple(kept)), notes

    def write(self, folder: RunFolder) -> None:
        """Write it atomically; it is on the disk afterwards.

        Raises:
            FileError: it cannot be written; the file is as it was.
        """
        with replacing(folder.intent) as part:
            with part.open("w", encoding="utf-8") as stream:
                json.dump(asdict(self), stream, default=str, indent=1)
            flush_to_disk(part)
        flush_to_disk(folder.path)


def read_intent(folder: RunFolder) -> Intent | None:
    """The intent in a run folder, None if there is none.

    Raises:
        FileError: the file cannot be read.
        ConfigError: it is of another version.
    """
    try:
        table = json.loads(folder.intent.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise FileError(
            f"{folder.intent}: got {error}, expected what was asked of the fleet; if it does not run, remove the file"
        ) from error
    return build(Intent, table, str(folder.intent))


def prepare(folder: RunFolder, specification: Path) -> tuple[Intent, list[str]]:
    """Write the intent of a fleet that is started, with what is kept of an earlier one.

    Returns:
        The intent, and a sentence for each earlier request that is kept or discarded.

    Raises:
        BeampipeError: specification or intent cannot be read, or it cannot be written.
    """
    intent, notes = (read_intent(folder) or Intent()).specified_by(specification, this_asker())
    intent.write(folder)
    return intent, notes


def end_intent(folder: RunFolder) -> None:
    """Withdraw everything that was asked, also on a full disk."""
    with suppress(OSError, BeampipeError):
        if (intent := read_intent(folder)) is not None and intent.ended is None:
            intent.having(Request("down", by=this_asker())).write(folder)


def check_owner(folder: RunFolder, specification: Path) -> None:
    """Refuse a command for a fleet that was started by another specification.

    Raises:
        ConfigError: the run folder is that of another specification.
        FileError: the intent cannot be read.
    """
    intent = read_intent(folder)
    if intent is None or intent.ended is not None or intent.specification == specification.resolve():
        return
    raise ConfigError(
        f"{folder.path}: got the specification {specification.resolve()}, expected {intent.specification}, by which"
        f" this fleet was started ({intent.by}); give one of the two another name, or replace the fleet by:"
        f" beampipe fleet up -f {specification} --take-over"
    )


def processes_of(folder: RunFolder) -> dict[int, str]:
    """The processes that a fleet has started, by id, each with a description; without this one."""
    pids = processes.with_variable(VARIABLE, lambda value: value == str(folder.path))
    return {pid: _description(pid) for pid in pids if pid != os.getpid()}


def _description(pid: int) -> str:
    words = processes.arguments(pid) or ("?",)
    name = " ".join(word for word in words[1:4] if not word.startswith("-")) if "-m" in words else Path(words[0]).name
    if "member" in words:
        name = f"supervisor of {Path(words[-1]).stem}"
    return f"{name}, process {pid}{', stopped by a signal' if processes.is_stopped(pid) else ''}"


def fleet_processes(folder: RunFolder) -> list[int]:
    """Ids of the process of a fleet, and of the one that restarts it."""
    words = ({"fleet", "run"}, {"fleet", "gateway"})
    return [pid for pid in processes_of(folder) if any(each <= set(processes.arguments(pid)) for each in words)]


def left_over(folder: RunFolder, managed: Set[int]) -> dict[int, str]:
    """The processes of a fleet that are neither managed nor started by managed ones.

    Args:
        folder: run folder of the fleet.
        managed: process ids of the managed ones.
    """
    found = processes_of(folder)
    return {pid: text for pid, text in found.items() if not managed & set(_ancestry(pid))}


def _ancestry(pid: int) -> Iterator[int]:
    at: int | None = pid
    while at:
        yield at
        at = processes.parent(at)


def end_processes(folder: RunFolder, grace: float = _GRACE) -> int:
    """End all processes of a fleet, and what they leave behind; gives their number.

    Args:
        folder: run folder of the fleet.
        grace: time [s] for requests in progress.
    """
    ended = processes.end_all(lambda: list(processes_of(folder)), grace)
    clean_up_after_dead_owners()
    return ended
