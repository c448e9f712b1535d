"""What a host is asked for: agents by role, and which tasks they shall solve.

The form is that of the public platform, ``{"participants": {ROLE: URL}, "config": {...}}``. Nothing in it can name a
file or a reference; seeds that are not given are the host's own, and secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, Literal, cast
from urllib.parse import urlsplit

from beampipe import settings
from beampipe.analysisops.agents.wire.documents import parse_object
from beampipe.analysisops.contract import Level
from beampipe.errors import ConfigError, InputError, UnknownNameError

__all__ = ["Assessment", "EvalRequest", "HostSettings", "parse_request"]

_WHERE: Final = "request of an assessment"
_LARGEST: Final = 256 * 1024
_KEYS: Final = ("participants", "config")
_NOT_USED: Final = ("data_dir",)
"""What public configurations hold and nothing here needs: data are never in a folder that both sides share."""


@dataclass(frozen=True)
class HostSettings:
    """What a host offers.

    Attributes:
        tasks: names of its tasks.
        seeds: instances that are taken where a request names none; secret, never in anything that is sent.
        seconds: longest time of one assessment [s].
        most: largest number of assessments in one request.
        at_once: number of requests that are worked on at the same time; more are refused. With 1, an agent that is
            being assessed cannot have itself assessed beside that, to learn its score.
        results: how each result is sent: as JSON text, which is exact, as data, whose integers become floats, or as
            both. The gateway of the public platform counts a result that is sent as both twice: there, use text.
    """

    tasks: tuple[str, ...]
    seeds: tuple[int, ...] = (1,)
    seconds: float = 3600.0
    most: int = 500
    at_once: int = 1
    results: Literal["text", "data", "both"] = "both"


@dataclass(frozen=True)
class _Config:
    """The configuration in a request.

    Attributes:
        tasks: names of tasks; all if there are none.
        task_dirs: the same by the folders of tasks, as the public benchmark does.
        levels: how much the prompts tell.
        seeds: instances; the host's own if there are none.
        data_dir: read and not used.
    """

    tasks: tuple[str, ...] = ()
    task_dirs: tuple[str, ...] = ()
    levels: tuple[int, ...] = (1,)
    seeds: tuple[int, ...] = ()
    data_dir: str = ""


@dataclass(frozen=True)
class Assessment:
    """One task for one agent.

    Attributes:
        role: of the agent, as the request names it.
        url: address of the agent.
        task_id: name of the task.
        level: how much its prompt tells.
        seed: of the instance.
        number: place of the seed among those of the request, from 1 on.
        secret: the seed is the host's own, and must not be shown.
    """

    role: str
    url: str
    task_id: str
    level: Level
    seed: int
    number: int
    secret: bool


@dataclass(frozen=True)
class EvalRequest:
    """A request that was read and checked.

    Attributes:
        participants: address of each agent by its role.
        assessments: what is to be done, in this order.
        notes: what of the request is not used.
    """

    participants: Mapping[str, str]
    assessments: tuple[Assessment, ...]
    notes: tuple[str, ...] = ()


def parse_request(text: str, host: HostSettings) -> EvalRequest:
    """The request that stands in a message.

    Args:
        text: JSON.
        host: what the host offers.

    Raises:
        InputError: it is no JSON object of that form, names no agent, or asks for too much.
        ConfigError: its configuration has an unknown key or a value of another type.
        UnknownNameError: there is no such task.
    """
    document = parse_object(text, _WHERE, largest=_LARGEST)
    unknown = [key for key in document if key not in _KEYS]
    if unknown or "participants" not in document:
        raise InputError(
            f"{_WHERE}: got the keys {sorted(document)}, expected participants, an object of addresses by role,"
            " and config, an object"
        )
    participants = _participants(document["participants"])
    config = settings.build(_Config, document.get("config") or {}, f"{_WHERE}: config")
    assessments = tuple(_plan(participants, config, host))
    if len(assessments) > host.most:
        raise InputError(
            f"{_WHERE}: got {len(assessments)} assessments, expected at most {host.most}; ask for fewer tasks or seeds"
        )
    notes = tuple(f"{key} is not used: data belong to the host" for key in _NOT_USED if getattr(config, key))
    return EvalRequest(participants, assessments, notes)


def _plan(participants: Mapping[str, str], config: _Config, host: HostSettings) -> Sequence[Assessment]:
    tasks = (*config.tasks, *(PurePosixPath(folder).name for folder in config.task_dirs)) or host.tasks
    for name in tasks:
        if name not in host.tasks:
            raise UnknownNameError("task", name, host.tasks)
    for level in config.levels:
        if level not in (1, 2, 3):
            raise ConfigError(f"{_WHERE}: config: levels: got {level}, expected 1, 2 or 3")
    seeds = config.seeds or host.seeds
    if any(seed < 0 for seed in seeds):
        raise ConfigError(f"{_WHERE}: config: seeds: got {min(seeds)}, expected 0 or more")
    return [
        Assessment(role, url, task, cast("Level", level), seed, number, secret=not config.seeds)
        for role, url in participants.items()
        for task in dict.fromkeys(tasks)
        for level in dict.fromkeys(config.levels)
        for number, seed in enumerate(dict.fromkeys(seeds), 1)
    ]


def _participants(found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not found:
        raise InputError(f"{_WHERE}: participants: got {str(found)[:80]}, expected at least one address by its role")
    for role, url in found.items():
        try:
            parts = urlsplit(url if isinstance(url, str) else "")
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
            good = good and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise InputError(
                f"{_WHERE}: participants: {role}: got {str(url)[:80]!r}, expected an address such as http://agent:9019/"
            )
    return dict(found)
