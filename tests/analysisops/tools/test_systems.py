"""Tracks by the tool are those of the pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from beampipe.analysisops.contract import ToolRefusedError
from beampipe.analysisops.ledger import Ledger
from beampipe.analysisops.tools.handles import TrackLabels
from beampipe.analysisops.tools.session import LocalTools, Session


def test_labels_are_those_of_the_pipeline(tmp_path: Path) -> None:
    import awkward as ak
    import uproot

    from beampipe.tracking import load_pipeline, shipped_events

    events = [shipped_events(pileup)[0] for pileup in (60,)]
    positions = [event.hits.position for event in events]
    counts = [len(position) for position in positions]
    joined = np.concatenate(positions)
    folder = tmp_path / "data"
    folder.mkdir()
    with uproot.recreate(folder / "hits.root") as file:
        columns = {name: ak.unflatten(joined[:, i], counts) for i, name in enumerate(("r", "phi", "z"))}
        file.mktree("events", {"hit": ak.zip(columns)})
    (folder / "manifest.json").write_text(json.dumps({"files": [{"name": "hits.root", "role": "data"}]}))
    session = Session(folder, Ledger(tmp_path / "ledger", b"k"))
    tools = LocalTools(session)
    branches = {"r": "hit_r", "phi": "hit_phi", "z": "hit_z"}
    loaded = tools.call("load_kinematics_tool", file_path="hits.root", tree_name="events", branches=branches)
    graph = tools.call("connect_hits_tool", events=loaded["handle"], r="r", phi="phi", z="z")
    assert graph["n_hits"] == sum(counts)
    assert graph["n_edges"] > 1000
    with pytest.raises(ToolRefusedError, match="label_tracks_tool"):
        tools.call("export_tool", handle=graph["handle"], name="labels")
    result = tools.call("label_tracks_tool", graph=graph["handle"])
    content = session.content(result["handle"])
    assert isinstance(content, TrackLabels)
    truth = [load_pipeline("module_map").find(event.hits) for event in events]
    assert content.track_id.tolist() == np.concatenate([item.track_id for item in truth]).tolist()
    assert content.n_tracks == tuple(item.n_tracks for item in truth)
    assert result["n_tracks"] > 10
    assert result["n_hits_on_tracks"] == int((content.track_id >= 0).sum())
    exported = tools.call("export_tool", handle=result["handle"], name="labels")
    assert (exported["kind"], exported["n"]) == ("labels", sum(counts))
    for name, message in (("module_mapp", "module_map"), ("module_map_soft", "several passes")):
        with pytest.raises(ToolRefusedError, match=message):
            tools.call("connect_hits_tool", events=loaded["handle"], r="r", phi="phi", z="z", pipeline=name)
