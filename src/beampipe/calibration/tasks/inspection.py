"""Inspection of every file and bookkeeping of every sample, before events are selected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import inf
from os.path import abspath
from pathlib import Path
from typing import Any

from beampipe.calibration.config import Configuration, InputSample
from beampipe.calibration.layout import Layout, is_remote
from beampipe.calibration.ntuple.bookkeeping import (
    Bookkeeping,
    FileInfo,
    FileOrigin,
    file_origins,
    read_manifest,
    slice_factors,
)
from beampipe.calibration.ntuple.file_checks import inspect_file, needed_observables
from beampipe.calibration.ntuple.root_files import remote_digest
from beampipe.calibration.tasks.runtime import Workers, Workspace, stage_code
from beampipe.errors import ConfigError, FileError, WorkflowError
from beampipe.workflow import FileDigests, FileStamp, Input, Recipe, Store, Task, digest_of


@dataclass(frozen=True)
class InspectionRequest:
    """The settings of the inspection of a file.

    Attributes:
        layout: mapping of branches to columns.
        origin: position of the file in its dataset, if the file has no bookkeeping.
        needs: required observables of jets.
        min_pt: pT that both leading jets of an event must exceed for their numbers to count [GeV].
        max_abs_eta: limit of their \\|eta\\|.
    """

    layout: Layout
    origin: FileOrigin | None
    needs: tuple[str, ...]
    min_pt: float
    max_abs_eta: float = inf


@dataclass(frozen=True)
class InspectedFile:
    """An inspected ROOT file.

    Attributes:
        path: path of the file.
        stamp: stamp of the file at the inspection; None for a remote file.
        digest: digest of its content; empty if it is not known yet.
        facts: properties of the file, obtained without reading all events.
        request: settings of the inspection.
        recipe: recipe of the artifact that holds `facts`.
    """

    path: Path
    stamp: FileStamp | None
    digest: str
    facts: FileInfo
    request: InspectionRequest
    recipe: Recipe


@dataclass(frozen=True)
class InspectedSample:
    """A sample whose files make complete slices.

    Attributes:
        sample: the configuration of the sample.
        files: files of the sample, ordered by slice and number.
        bookkeeping: combined bookkeeping of all files.
        books: recipe of the artifact that holds `bookkeeping`.
    """

    sample: InputSample
    files: tuple[InspectedFile, ...]
    bookkeeping: Bookkeeping
    books: Recipe


def _recipe(path: Path, stamp: FileStamp | None, digest: str, request: InspectionRequest) -> Recipe:
    """Recipe of the facts of a file, keyed by path and stamp, as its content is not yet known at the inspection."""
    file = Input("file", digest_of([abspath(path), stamp]) if stamp else digest, str(path))
    return Recipe("inspect", stage_code("inspect"), request, (file,), str(path))


def inspect_files(configuration: Configuration, space: Workspace, workers: Workers) -> dict[Path, InspectedFile]:
    """Inspect all new files, and load the results for the others. Digests of contents are not computed.

    Raises:
        WorkflowError: files cannot be used; the message lists the problems of all files.
        ConfigError: there is no cross section for a sample, or a manifest does not fit.
    """
    requests = _requests(configuration)
    paths = sorted(requests)
    if not space.digests.exists():
        workers.expect_work()
    cache = FileDigests(space.digests)
    stamps = {path: _stamp_of(path) for path in paths}
    remote = [path for path in paths if is_remote(path)]
    tasks: list[Task[Any]] = [Task(str(path), remote_digest, (path,)) for path in remote]
    digests = dict(zip(remote, _run_inspections("remote files", tasks, workers), strict=True))
    digests |= {path: cache.cached(path, stamp) or "" for path, stamp in stamps.items() if stamp is not None}
    recipes = {path: _recipe(path, stamps[path], digests.get(path, ""), requests[path]) for path in paths}
    store = space.store
    facts = {path: store.read(recipes[path]) for path in paths}
    missing = [path for path, content in facts.items() if content is None]
    # No leases: an inspection takes no longer than acquiring a lease.
    tasks = [Task(str(path), _inspect, (store, recipes[path], path, requests[path], stamps[path])) for path in missing]
    _run_inspections("inspecting files", tasks, workers)
    return {
        path: InspectedFile(
            path, stamps[path], digests[path], _facts(store, recipes[path], facts[path]), requests[path], recipes[path]
        )
        for path in paths
    }


def recall_files(configuration: Configuration, space: Workspace) -> dict[Path, InspectedFile] | None:
    """The stored inspections of all files; None if a file is new or has changed. No file is opened.

    Raises:
        ConfigError: there is no cross section for a sample, or a manifest does not fit.
    """
    files, cache = {}, FileDigests(space.digests)
    for path, request in _requests(configuration).items():
        stamp = _stamp_of(path)
        digest = cache.cached(path, stamp) if stamp is not None else None
        recipe = _recipe(path, stamp, digest or "", request)
        facts = None if digest is None else space.store.read(recipe)
        if digest is None or facts is None:
            return None
        files[path] = InspectedFile(path, stamp, digest, _facts(space.store, recipe, facts), request, recipe)
    return files


def _requests(configuration: Configuration) -> dict[Path, InspectionRequest]:
    """The inspection settings of each file in use."""
    layout = configuration.layout
    needs = needed_observables(layout, configuration.taggers)
    manifest = read_manifest(layout.sums.manifest) if layout.sums.manifest else ()
    limits = configuration.selection.min_subleading_pt, configuration.selection.max_abs_eta
    out: dict[Path, InspectionRequest] = {}
    for name in configuration.used_samples:
        sample, own = configuration.samples[name], configuration.layout_of(name)
        origins: Mapping[Path, FileOrigin | None] = dict.fromkeys(sample.files)
        if not layout.own_books:
            origins = file_origins(sample, manifest)
        made: dict[FileOrigin | None, InspectionRequest] = {}
        for path, origin in origins.items():
            if origin is not None and not configuration.wants_variations(name):
                origin = replace(origin, sum_weights=origin.sum_weights[:1])
            request = made.setdefault(origin, InspectionRequest(own, origin, needs, *limits))
            if out.setdefault(path, request) != request:
                raise ConfigError(f"sample {name}: got {path}, which is in another sample, too; expected it in one")
    return out


def _stamp_of(path: Path) -> FileStamp | None:
    """The stamp of a local file; None for a remote or unreadable file (the inspection task reports the latter)."""
    try:
        return None if is_remote(path) else FileStamp.of(path)
    except FileError:
        return None


def _run_inspections(what: str, tasks: list[Task[Any]], workers: Workers) -> list[Any]:
    """Run tasks on files; equal messages of failed ones are grouped in the error."""
    try:
        return workers.run(what, tasks)
    except WorkflowError as error:
        files: dict[str, list[str]] = {}
        for label, fault in error.errors:
            files.setdefault(str(fault).removeprefix(f"{label}: ").replace(label, "FILE"), []).append(label)
        if not files:
            raise
        lines = [f"{len(error.errors)} of {len(tasks)} tasks failed: these files cannot be used"]
        for message, labels in files.items():
            more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
            lines.append(f"  {labels[0]}{more}: {message}")
        lines.append("no event was read; see one of them by: beampipe calibration inspect FILE")
        raise WorkflowError("\n".join(lines), error.errors) from error


def check_bookkeeping(configuration: Configuration, files: Mapping[Path, InspectedFile]) -> dict[str, Bookkeeping]:
    """The bookkeeping of every sample. It is checked in every run, as this is quick.

    Raises:
        FileError: files of a slice are missing, duplicate, or of another sample.
    """
    books, errors = {}, []
    for name in configuration.used_samples:
        sample = configuration.samples[name]
        try:
            books[name] = slice_factors(sample, {path: files[path].facts for path in sample.files})
        except FileError as error:
            errors.append(error)
    if errors:
        errors[0].args = ("\n".join(map(str, errors)),)
        raise errors[0]
    return books


def bookkeeping_of(
    configuration: Configuration,
    files: Mapping[Path, InspectedFile],
    books: Mapping[str, Bookkeeping],
    store: Store | None,
) -> dict[str, InspectedSample]:
    """The inspected samples; stores their bookkeeping for `explain`.

    Args:
        configuration: samples in use.
        files: their files, all with digests.
        books: their bookkeeping, by `check_bookkeeping`.
        store: store of the artifacts; None to write nothing.
    """
    samples = {}
    for name, bookkeeping in books.items():
        sample = configuration.samples[name]
        ordered = sorted(
            (files[path] for path in sample.files), key=lambda file: (file.facts.slice, file.facts.file_number)
        )
        inputs = tuple(Input("file", file.digest, str(file.path)) for file in ordered)
        parameters = {
            "kind": sample.kind,
            "luminosity": sample.luminosity,
            "facts": digest_of([stage_code("inspect"), [file.request for file in ordered]]),
        }
        recipe = Recipe("bookkeeping", stage_code("bookkeeping"), parameters, inputs, sample.name)
        if store is not None and store.find(recipe) is None:
            text = json.dumps(asdict(bookkeeping))
            store.get(recipe, ".json", partial(Path.write_text, data=text))
        samples[name] = InspectedSample(sample, tuple(ordered), bookkeeping, recipe)
    return samples


def _inspect(store: Store, recipe: Recipe, path: Path, request: InspectionRequest, stamp: FileStamp | None) -> None:
    """The task that inspects one file, unless another run has done so meanwhile."""
    if store.find(recipe) is not None:
        return
    facts = inspect_file(path, **vars(request))
    if stamp is not None:
        stamp.require(path)
    store.write(recipe, ".json", lambda to: to.write_text(json.dumps(asdict(facts))))


def _facts(store: Store, recipe: Recipe, content: bytes | None) -> FileInfo:
    """The facts of a file, from the stored bytes `found` before the inspection, or else read from the store."""
    return FileInfo.of(json.loads(store.require(recipe).read_bytes() if content is None else content))
