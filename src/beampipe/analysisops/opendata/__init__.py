"""Real data: files of ATLAS Open Data, brought whole and checked, as a folder that the tools read.

catalogue  which files there are: what `atlasopenmagic` (extra ``opendata``) knows, or any other list
transfer   one file over HTTP, which goes on where it stopped
checksums  what a file or a server says of the contents: digests, and the length that a ROOT file tells of itself
bringing   several files at once into a folder with its manifest
tasks      the data of a task, before an assessment or by its download tool
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.analysisops.opendata.bringing import bring_files
    from beampipe.analysisops.opendata.catalogue import Catalogue, OpenFile, Selection, atlas_catalogue
    from beampipe.analysisops.opendata.tasks import OpenDataFetch, prepare_open_data
    from beampipe.analysisops.opendata.transfer import Transfer, TransferLimits

__all__ = [
    "Catalogue",
    "OpenDataFetch",
    "OpenFile",
    "Selection",
    "Transfer",
    "TransferLimits",
    "atlas_catalogue",
    "bring_files",
    "prepare_open_data",
]

__getattr__ = loader(
    __name__,
    {
        "bringing": ("bring_files",),
        "catalogue": ("Catalogue", "OpenFile", "Selection", "atlas_catalogue"),
        "tasks": ("OpenDataFetch", "prepare_open_data"),
        "transfer": ("Transfer", "TransferLimits"),
    },
)
