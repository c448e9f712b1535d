"""Arguments of a server that other users of the machine must not read.

Whatever stands in a command line is shown to everybody by ``ps``. A library that is loaded into the server's program
before all others puts the lines of a file in the place of ``@FILE`` (`native/arguments.cpp`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from beampipe.files import built
from beampipe.triton.door.limits import STACK

__all__ = ["LIBRARY", "HiddenArguments", "hide"]

LIBRARY: Final = built("beampipe.triton.door", "libbeampipe_arguments.so")
"""Path of the library; None where the package was installed without a compiler."""

_OVERCOMMIT: Final = Path("/proc/sys/vm/overcommit_memory")
_NEVER: Final = "2"


class HiddenArguments(NamedTuple):
    """How a program is given arguments.

    Attributes:
        command: what stands in the command line.
        environ: variables of the environment to add.
    """

    command: list[str]
    environ: dict[str, str]


def hide(arguments: Sequence[str], file: Path) -> HiddenArguments:
    """Arguments by way of a file that only this user can read; in the command line where the library is missing.

    Args:
        arguments: the arguments, none with a line break.
        file: path of the file, which has to stay for as long as the program may be started.
    """
    if LIBRARY is None:
        return HiddenArguments(list(arguments), {})
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text("".join(f"{argument}\n" for argument in arguments))
    before = os.environ.get("LD_PRELOAD")
    environ = {"LD_PRELOAD": f"{before}:{LIBRARY}" if before else str(LIBRARY)}
    if not _memory_is_counted_when_promised():
        environ["BEAMPIPE_STACK"] = str(STACK)
    return HiddenArguments([f"@{file}"], environ)


def _memory_is_counted_when_promised() -> bool:
    """Whether the system takes addresses for memory in use, so that large stacks would be refused."""
    try:
        return _OVERCOMMIT.read_text().strip() == _NEVER
    except OSError:
        return False
