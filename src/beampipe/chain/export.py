"""Hits, tracks, particles and jets of a chain in files that other programs read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.chain.recipes import Chunk, Plan
from beampipe.chain.run import store_of
from beampipe.chain.settings import ChainSettings
from beampipe.chain.tables import EventTable, JetEvents, ParticleTable, TrackTable
from beampipe.chain.tracks import opened_finder
from beampipe.errors import ConfigError, look_up
from beampipe.events import NO_TRACK, Event, Tracks
from beampipe.files import MARK, replacing
from beampipe.tables import load_table
from beampipe.tracking.formats.parquet import write_events
from beampipe.tracking.formats.registry import write_tracks
from beampipe.workflow import Store

ENDINGS: Final = {"parquet": ".parquet", "root": ".root", "edm4hep": ".root"}
"""Ending of the files of a format."""

_STAGE: Final = {"hits": "simulate", "tracks": "tracks", "particles": "tracks", "jets": "jets"}
"""What can be exported -> the stage that has it."""


def export(settings: ChainSettings, what: str, form: str, path: Path, sample: str = "") -> int:
    """Write hits, tracks, particles or jets of a sample that was made.

    Parquet and ROOT have an entry for each event, with lists: hits as tracks are found in them, tracks and charged
    particles within the cuts, and jets with the number of their tracks. EDM4hep has all hits; for tracks also all that
    are found in them, with their fits and without cuts.

    Args:
        settings: settings of the chain.
        what: ``hits``, ``tracks``, ``particles`` or ``jets``.
        form: ``parquet``, ``root`` or ``edm4hep``.
        path: the file to write; one that is there is replaced.
        sample: name of the sample; may be empty for the nominal one, and for files alone.

    Returns:
        The number of events.

    Raises:
        UnknownNameError: there is no such sample, format, or nothing of that name.
        ConfigError: the format cannot hold it, the sample lacks it, or it was not made.
    """
    stage = look_up("export", what, _STAGE)
    look_up("format", form, ENDINGS)
    if form == "edm4hep" and what in ("particles", "jets"):
        raise ConfigError(f"export: got {what} as edm4hep, expected hits or tracks; --as parquet or root takes {what}")
    if not sample:
        sample = settings.of_role("nominal").name if settings.measures else next(iter(settings.samples))
    chunks, store = Plan(settings).chunks[look_up("sample", sample, settings.samples).name], store_of(settings)
    if what == "hits" or form == "edm4hep":
        stage = "simulate"
    for chunk in chunks:
        if stage not in chunk.stages:
            raise ConfigError(f"export: sample {sample} has no hits: it starts with tracks; export these as parquet")
        if store.find(chunk.recipes[stage]) is None:
            raise ConfigError(f"export: {stage} of {chunk.label} is not made yet; run the chain before")
    if stage == "simulate" and form == "parquet":
        return write_events(path, _events(store, chunks))
    if form == "edm4hep":
        return write_tracks(path, _found(store, chunks, what), "edm4hep")
    columns = _joined([_columns(store, chunk, what) for chunk in chunks])
    _write_lists(path, form, what, columns)
    return len(columns["weight"])


def _events(store: Store, chunks: tuple[Chunk, ...]) -> Iterator[Event]:
    """The events as tracks are found in them, numbered through."""
    number = 0
    for chunk in chunks:
        for event in chunk.events(store.require(chunk.recipes["simulate"])):
            yield Event(number, event.hits, event.truth, provenance=event.provenance)
            number += 1


def _found(store: Store, chunks: tuple[Chunk, ...], what: str) -> Iterator[tuple[Event, Tracks]]:
    """The events with their tracks, or with none if only hits are wanted."""
    settings = chunks[0].settings
    for event in _events(store, chunks):
        if what == "hits":
            yield event, Tracks(np.full(len(event.hits), NO_TRACK, np.int64))
        else:
            yield event, opened_finder(settings.tracks, settings.detector.read(), chunks[0].finder).find(event)


def _columns(store: Store, chunk: Chunk, what: str) -> dict[str, Any]:
    """The columns of a chunk as arrays of awkward, with a list for each event, and the weights of the events."""
    import awkward as ak

    if what == "hits":
        events = list(chunk.events(store.require(chunk.recipes["simulate"])))
        hits = {axis: ak.Array([getattr(event.hits, axis) for event in events]) for axis in "xyz"}
        return {"weight": np.ones(len(events)), **hits}
    path = store.require(chunk.recipes[_STAGE[what]])
    further: dict[str, ndarray] = {}
    if what == "jets":
        data = JetEvents.load(path)
        table: Any = data.jets
        further["n_trk"] = np.bincount(data.owners.track + 1, minlength=len(data.jets) + 1)[1:]
        weight = data.events.weight
    else:
        table = load_table(path, what, TrackTable if what == "tracks" else ParticleTable)
        weight = load_table(path, "events", EventTable).weight
    counts = np.bincount(table.event, minlength=len(weight))
    flat = {each.name: getattr(table, each.name) for each in fields(table) if each.name != "event"} | further
    return {"weight": weight, **{name: ak.unflatten(values, counts) for name, values in flat.items()}}


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    import awkward as ak

    columns = {name: ak.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {"event": np.arange(len(columns["weight"])), **columns}


def _write_lists(path: Path, form: str, what: str, columns: dict[str, Any]) -> None:
    """Write a file with an entry for each event."""
    import awkward as ak

    if form == "parquet":
        from pyarrow.parquet import write_table

        table = ak.to_arrow_table(ak.Array(columns), extensionarray=False)
        with replacing(path) as part:
            write_table(table.replace_schema_metadata({"generator": MARK}), part, compression="zstd")
        return
    import uproot

    with replacing(path) as part, uproot.recreate(part, compression=uproot.ZSTD(3)) as file:
        tree = file.mktree(what, {name: ak.type(values).content for name, values in columns.items()}, title=MARK)
        tree.extend(columns)
