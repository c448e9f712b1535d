"""What a user must say of files of events, as their content does not; a module that imports nothing slow."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

NO_EVENT_COLUMN: Final = "none"
"""Says in place of a column's name that a table is one event."""


@dataclass(frozen=True)
class ReadOptions:
    """Facts about an input that the user must supply because the files lack them; also options of commands.

    Attributes:
        scale: units of r, phi and z in files of three columns and tables: mm, exatrkx or acts.
        format: name of the format of the files: beampipe, table, trackml, acts, acts-spacepoints, colliderml,
            event-display, edm4hep or features. [default: recognised]
        hits: name of a collection of tracker hits in EDM4hep, in the order in which their hits are joined.
        links: name of the link from each of these collections to simulated hits, for truth; LINK:SIMHITS names the
            simulated hits, too.
        particles: name of the particles in EDM4hep, or path of their table of ColliderML.
        cell_id: how cellID of EDM4hep is packed, as DD4hep writes it: system:5,side:-2,layer:6,module:11,sensor:8.
        columns: column of a table that is read as r, phi, z, x, y, z, event or another quantity: r=hit_r,event=evt;
            event=none if the table is one event. [default: recognised]
        units: unit of a quantity of a table: x=cm,px=MeV. [default: mm, rad, GeV, e]
    """

    scale: str = "mm"
    format: str | None = None
    hits: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    particles: str | None = None
    cell_id: str | None = None
    columns: tuple[str, ...] = ()
    units: tuple[str, ...] = ()

    def given(self) -> list[str]:
        """Names of the attributes, besides the format, that differ from their defaults."""
        options = (field for field in fields(self) if field.name != "format")
        return [option.name for option in options if getattr(self, option.name) != option.default]
