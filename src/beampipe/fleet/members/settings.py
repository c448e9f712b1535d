"""What one server of a fleet is told."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from beampipe.errors import FileError
from beampipe.files import replacing
from beampipe.settings import build

__all__ = ["MemberSettings", "read_member", "write_member"]


@dataclass(frozen=True)
class MemberSettings:
    """One server.

    Attributes:
        server: name of the server.
        group: group that it belongs to.
        registry: folder in which it says who it is.
        repository: folder of the models.
        secret_file: file with the secret of the fleet's servers.
        log: file to which its log is appended.
        models: names of the models to serve; all of the repository if there are none.
        digest: digest of the repository.
        host: address to listen on.
        reached: host name or address under which the gateway reaches it; None for `host`.
        threads: number of threads of the math libraries in each instance; None for what the models say.
        start_timeout: time [s] that it may take until it answers.
        exit_timeout: time [s] that work in progress may take at its end.
        patience: time [s] without an answer and without work after which it hangs.
        farewell: time [s] from the word that it takes no more requests to its end, for a gateway that nobody has told.
    """

    server: str
    group: str
    registry: Path
    repository: Path
    secret_file: Path
    log: Path
    models: tuple[str, ...] = ()
    digest: str = ""
    host: str = "127.0.0.1"
    reached: str | None = None
    threads: int | None = None
    start_timeout: float = 120.0
    exit_timeout: int = 5
    patience: float = 3.0
    farewell: float = 0.0


def write_member(path: Path, settings: MemberSettings) -> None:
    """Write the settings of one server.

    Raises:
        FileError: it cannot be written.
    """
    with replacing(path, parents=True) as part:
        part.write_text(json.dumps(asdict(settings), default=str, indent=1), encoding="utf-8")


def read_member(path: Path) -> MemberSettings:
    """The settings of one server.

    Raises:
        FileError: the file cannot be read, or is no JSON.
        ConfigError: it is of another version.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: got {error}, expected the settings of a server, written by beampipe fleet") from error
    return build(MemberSettings, table, str(path), path.parent)
