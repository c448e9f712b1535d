"""What a format of events is: how it is recognised, how it is read, and what a user may have to say about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from beampipe.tracking.events import Event
from beampipe.tracking.formats.reading.glimpse import Glimpse

__all__ = ["Format", "Told"]


@dataclass(frozen=True)
class Told:
    """What a user tells about an input because the input does not tell it itself.

    Attributes:
        format: name of the format, None to recognise it by its content.
        scale: name of the units of r, phi and z, a key of `SCALES`.
        hits: EDM4hep: names of the collections of tracker hits, in the order in which their hits are joined.
        links: EDM4hep: names of the collections that link these hits to simulated ones, one for each of `hits`;
            ``LINK:SIMHITS`` names the simulated hits too.
        particles: EDM4hep: name of the collection of particles. ColliderML: path of the table of particles.
        cell_id: EDM4hep: how `cellID` is packed, as DD4hep writes it, e.g. ``system:5,side:-2,layer:6,module:11``.
    """

    format: str | None = None
    scale: str = "mm"
    hits: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    particles: str | None = None
    cell_id: str | None = None

    def words(self) -> list[str]:
        """The same as options of the command line; of a path the name only."""
        told = [] if self.format is None else [f"--format {self.format}"]
        for name in self.given():
            values = getattr(self, name)
            for value in (values,) if isinstance(values, str) else values:
                told.append(f"--{name.replace('_', '-')} {Path(value).name}")
        return told

    def given(self) -> list[str]:
        """Names of the attributes, besides the format, that say something."""
        default = Told()
        names = ("scale", "hits", "links", "particles", "cell_id")
        return [name for name in names if getattr(self, name) != getattr(default, name)]


@dataclass(frozen=True)
class Format:
    """One format of events.

    Attributes:
        name: name by which a user asks for it.
        recognises: whether a file is the one that stands for an event, or for several, of this format.
        read: the events of such a file, one in memory at a time.
        takes: names of the attributes of `Told` that it makes use of.
        yields_to: names of formats that are read instead where a folder holds both.
        readable: whether a file that it does not recognise can be read all the same, if the user names the format.
    """

    name: str
    recognises: Callable[[Glimpse], bool]
    read: Callable[[Path, Told], Iterator[Event]]
    takes: frozenset[str] = frozenset()
    yields_to: frozenset[str] = frozenset()
    readable: Callable[[Glimpse], bool] = lambda file: False

    def accepts(self, file: Glimpse) -> bool:
        """Whether a file can be read if the user names the format."""
        return self.recognises(file) or self.readable(file)
