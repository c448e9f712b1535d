from __future__ import annotations

import json
import os
from pathlib import Path

from beampipe.workflow import EventLog


def test_a_log_survives_a_torn_line(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "deep" / "events.jsonl")
    assert list(log.read()) == []
    log.write("start", stage="fill", key="ab", label="x", seconds=1.5)
    with log.path.open("a") as stream:
        stream.write('{"time": 12, "ev\n')
    log.write("done")
    first, second = log.read()
    assert first["event"] == "start"
    assert first["seconds"] == 1.5
    assert first["pid"] == os.getpid()
    assert second["event"] == "done"
    assert json.loads(log.path.read_text().splitlines()[0]) == first
