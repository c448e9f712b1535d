"""The tool that names something as part of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from beampipe.analysisops.tools.bench import Bench
from beampipe.analysisops.tools.contents import Artifact, Events, Histogram
from beampipe.analysisops.tools.expressions.parser import check_name

__all__ = ["export_tool"]


def export_tool(bench: Bench, handle: str, name: str) -> Mapping[str, Any]:
    """Name a result as an artifact that you hand in; the answer then holds the artifact's handle.

    Args:
        handle: of events, a histogram or labels of tracks.
        name: what the artifact is called in the answer.
    """
    check_name(name)
    content = bench.content(handle)
    if isinstance(content, Artifact):
        content = content.content
    if isinstance(content, Histogram):
        kind, n = "histogram", content.n
    elif isinstance(content, Events):
        kind, n = "events", content.n
    else:
        kind, n = "labels", len(content.track_id)
    return {"artifact": bench.keep(Artifact(name, content)), "name": name, "kind": kind, "n": n}
