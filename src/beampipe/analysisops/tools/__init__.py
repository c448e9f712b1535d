"""What an agent may do with the data of one assessment: generic tools that pass handles, and a ledger of every call.

session    the tools of one assessment, its handles and limits; bench: what one call works at
catalogue  all tools, with schemas made from their signatures; provenance: numbers that agents carry between calls
contents   what handles stand for; folder: the data files
events     tools for files, columns, selections and masses; expressions: their little language
statistics histograms, fits, limits, efficiencies, arithmetic
operations metrics and logs; tracks: the pipelines of `beampipe.tracking`; export: parts of answers
server     the tools as an MCP server; client: how agents call them
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.analysisops.tools.client import LocalTools, McpTools
    from beampipe.analysisops.tools.contents import Artifact, Events, Histogram, Jagged, TrackLabels
    from beampipe.analysisops.tools.refusal import ToolRefusedError
    from beampipe.analysisops.tools.server import ToolServer, make_server, serve_stdio
    from beampipe.analysisops.tools.session import Session, SessionLimits

__all__ = [
    "Artifact",
    "Events",
    "Histogram",
    "Jagged",
    "LocalTools",
    "McpTools",
    "Session",
    "SessionLimits",
    "ToolRefusedError",
    "ToolServer",
    "TrackLabels",
    "make_server",
    "serve_stdio",
]

__getattr__ = loader(
    __name__,
    {
        "client": ("LocalTools", "McpTools"),
        "contents": ("Artifact", "Events", "Histogram", "Jagged", "TrackLabels"),
        "refusal": ("ToolRefusedError",),
        "server": ("ToolServer", "make_server", "serve_stdio"),
        "session": ("Session", "SessionLimits"),
    },
)
