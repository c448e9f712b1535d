"""Real data: files of ATLAS Open Data, downloaded completely and verified into a folder that the tools read.

catalogue  the files of a release, a dataset and a skim, from `atlasopenmagic` (extra ``opendata``) or any other list;
           the data of a task
download   resumed and verified downloads into a folder with its manifest
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.analysisops.opendata.catalogue import Catalogue, Selection, atlas_catalogue, prepare_open_data
    from beampipe.analysisops.opendata.download import OpenFile, Transfer, TransferLimits, download_files

__all__ = [
    "Catalogue",
    "OpenFile",
    "Selection",
    "Transfer",
    "TransferLimits",
    "atlas_catalogue",
    "download_files",
    "prepare_open_data",
]

__getattr__, __dir__ = loader(
    __name__,
    {
        "catalogue": ["Catalogue", "Selection", "atlas_catalogue", "prepare_open_data"],
        "download": ["OpenFile", "Transfer", "TransferLimits", "download_files"],
    },
)
