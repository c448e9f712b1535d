"""The simulated events in the package: ttbar at mu = 200 and 60, and single soft collisions (mu = 0).

The default degradation (lost hits, dead modules, noise) is applied, and coordinates are rounded to about a
micrometre. Thirty events with mu = 20 are for training: no hit is lost, coordinates are rounded to four micrometres.
`tools/ship_events.py` of the repository makes them.
"""

from __future__ import annotations

from pathlib import Path
from shutil import copyfile
from typing import Final

from beampipe.errors import ConfigError, UnknownNameError, expect_type
from beampipe.events import Events
from beampipe.files import write_whole

__all__ = ["SHIPPED", "shipped_events", "shipped_path", "write_example"]

SHIPPED: Final = (0, 60, 200)
"""Available numbers of pile-up collisions."""


_FOR_TRAINING: Final = Path(__file__).parent / "training.parquet"


def shipped_path(mu: int) -> Path:
    """The file of events with `mu` pile-up collisions.

    Raises:
        UnknownNameError: there are no such events.
    """
    expect_type("shipped_events", mu, int, "give the number of pile-up collisions: 0, 60 or 200")
    if mu not in SHIPPED:
        raise UnknownNameError("shipped sample", str(mu), map(str, SHIPPED))
    return Path(__file__).parent / f"mu{mu}.parquet"


def shipped_events(mu: int) -> Events:
    """The shipped events with `mu` pile-up collisions, with truth: ``shipped_events(60)[0]`` is the first one.

    >>> shipped_events(0)[0]
    Event(event: 0, hits: 1831, truth: 177 particles)

    Args:
        mu: number of pile-up collisions: 0, 60 or 200.

    Raises:
        UnknownNameError: there are no such events.
        MissingExtraError: pyarrow is not installed.
    """
    from beampipe.tracking.formats import open_events

    return open_events(shipped_path(mu))


def write_example(path: Path, mu: int = 0, *, for_training: bool = False) -> None:
    """Write the shipped events with `mu` pile-up collisions to a file.

    Args:
        path: Parquet file to write.
        mu: pile-up of the events: 0, 60 or 200.
        for_training: write the events for training instead.

    Raises:
        ConfigError: the file's name does not end in .parquet.
        UnknownNameError: there are no such events.
        FileError: the file cannot be written.
    """
    if path.suffix != ".parquet":
        raise ConfigError(
            f"{path}: got the ending {path.suffix!r}, expected .parquet: the events are kept in that form"
        )
    shipped = _FOR_TRAINING if for_training else shipped_path(mu)
    write_whole(path, lambda part: copyfile(shipped, part))
