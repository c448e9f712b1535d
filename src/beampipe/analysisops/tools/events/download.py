"""The tool that brings data into the session's folder, where a task has data to bring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from beampipe.analysisops.tools.bench import Bench

__all__ = ["download_atlas_data_tool"]


def download_atlas_data_tool(
    bench: Bench, skim: str = "", release: str = "", dataset: str = "data", protocol: str = "https", max_files: int = 0
) -> Mapping[str, Any]:
    """Bring the data of this task here, if they are not here yet, and list them.

    Args:
        skim: which selection of events; empty: that of the task.
        release: of the open data; empty: that of the task.
        dataset: "data" or a number of a simulated sample.
        protocol: how to download.
        max_files: at most so many files; 0: as many as the task allows.
    """
    if bench.fetch is not None:
        bench.fetch(skim=skim, release=release, dataset=dataset, protocol=protocol, max_files=max_files)
    return {"files": [{"name": file.name, "bytes": file.path.stat().st_size} for file in bench.folder.files()]}
