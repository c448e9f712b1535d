"""Files that were cut or spoiled on their way meet an error of our tree, whatever is left of them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beampipe.errors import BeampipeError
from beampipe.tracking.formats import open_events
from tests.tracking.formats.reading.test_colliderml import HITS, event_display
from tests.tracking.formats.reading.test_tables import PER_HIT, per_event
from tests.tracking.formats.test_opening import ACTS

STEM = "event000000000"


def acts(path: Path) -> None:
    for file in ACTS.iterdir():
        (path.parent / file.name).write_bytes(file.read_bytes())


WRITERS: dict[str, Callable[[Path], None]] = {
    "hits.parquet": lambda path: pq.write_table(pa.table(PER_HIT), path),
    "events.parquet": lambda path: pq.write_table(pa.table(per_event()), path),
    "tracker_hits.parquet": lambda path: pq.write_table(pa.table(HITS), path),
    "event_2.json": lambda path: (path.write_text(json.dumps(event_display())), None)[1],
    f"{STEM}-measurements.csv": acts,
}
PIECES = (b"nan", b",", b"-1", b"99999999999999999999", b"\n", b"null", b'"', b"1e400", b"")


def spoiled(whole: bytes, chance: random.Random) -> bytes:
    kind, at = chance.randrange(3), chance.randrange(len(whole))
    if kind == 0:
        return whole[:at]
    if kind == 1:
        return whole[:at] + bytes([chance.randrange(128)]) + whole[at + 1 :]
    return whole[:at] + chance.choice(PIECES) + whole[at + chance.randint(1, 5) :]


@pytest.mark.parametrize("name", WRITERS)
def test_a_spoiled_file_is_refused_or_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    whole, chance = path.read_bytes(), random.Random(1)
    assert list(open_events(path))
    refused = 0
    for _ in range(40):
        path.write_bytes(spoiled(whole, chance))
        try:
            list(open_events(path))
        except BeampipeError:
            refused += 1
    assert refused > 10
