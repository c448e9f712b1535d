"""Inspection of every file and bookkeeping of every sample, before events are selected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os.path import abspath
from pathlib import Path

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
from beampipe.calibration.ntuple.branches import remote_digest
from beampipe.calibration.ntuple.columns import DERIVED
from beampipe.calibration.ntuple.inspection import inspect_file
from beampipe.calibration.tasks.runtime import Workers, Workspace, stage_code
from beampipe.errors import BeampipeError, ConfigError, FileError, MissingExtraError, WorkflowError
from beampipe.workflow import FileDigests, FileStamp, Input, Recipe, Store, Task, digest_of

__all__ = ["InspectedFile", "InspectedSample", "bookkeeping_of", "check_bookkeeping", "inspect_files", "recall_files"]


@dataclass(frozen=True)
class InspectionRequest:
    """The settings of the inspection of a file.

    Attributes:
        layout: mapping of branches to columns.
        origin: position of the file in its dataset, if the file has no bookkeeping.
        needs: required observables of jets.
        min_pt: pT that both leading jets of an event must exceed for their labels to count [GeV].
    """

    layout: Layout
    origin: FileOrigin | None
    needs: tuple[str, ...]
    min_pt: float


@dataclass(frozen=True)
class InspectedFile:
    """An inspected ROOT file.

    Attributes:
        path: path of the file.
        looks: stamp of the file at the inspection; None for a remote file.
        digest: digest of its content; empty if it is not known yet.
        facts: properties of the file, obtained without reading all events.
        asked: settings of the inspection.
        recipe: recipe of the artifact that holds `facts`.
    """

    path: Path
    looks: FileStamp | None
    digest: str
    facts: FileInfo
    asked: InspectionRequest
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


def _recipe(path: Path, looks: FileStamp | None, digest: str, asked: InspectionRequest) -> Recipe:
    """Recipe of the facts of a file, keyed by path and stamp, as its content is not yet known at the inspection."""
    file = Input("file", digest_of([abspath(path), looks]) if looks else digest, str(path))
    return Recipe("inspect", stage_code("inspect"), asked, (file,), str(path))


def inspect_files(configuration: Configuration, space: Workspace, workers: Workers) -> dict[Path, InspectedFile]:
    """Inspect all new files, and load the results for the others. Digests of contents are not computed.

    Raises:
        WorkflowError: files cannot be used; the message lists the problems of all files.
        ConfigError: there is no cross section for a sample, or a manifest does not fit.
    """
    asked = _requests(configuration)
    paths = sorted(asked)
    if not space.digests.exists():
        workers.expect_work()
    known = FileDigests(space.digests)
    looks = {path: _looks(path) for path in paths}
    digests = _elsewhere([path for path in paths if is_remote(path)], workers)
    digests |= {path: known.known(path, look) or "" for path, look in looks.items() if look is not None}
    recipes = {path: _recipe(path, looks[path], digests.get(path, ""), asked[path]) for path in paths}
    store = space.store
    facts = {path: store.read(recipes[path]) for path in paths}
    missing = [path for path, found in facts.items() if found is None]
    # No leases: an inspection takes no longer than acquiring a lease.
    tasks = [Task(str(path), _inspect, (store, recipes[path], path, asked[path], looks[path])) for path in missing]
    try:
        workers.run("looking at files", tasks)
    except WorkflowError as error:
        raise _in_groups(error, len(tasks)) from error
    return {
        path: InspectedFile(
            path, looks[path], digests[path], _facts(store, recipes[path], facts[path]), asked[path], recipes[path]
        )
        for path in paths
    }


def recall_files(configuration: Configuration, space: Workspace) -> dict[Path, InspectedFile] | None:
    """The stored inspections of all files; None if a file is new or has changed. No file is opened.

    Raises:
        ConfigError: there is no cross section for a sample, or a manifest does not fit.
    """
    found, known = {}, FileDigests(space.digests)
    for path, asked in _requests(configuration).items():
        looks = _looks(path)
        digest = known.known(path, looks) if looks is not None else None
        recipe = _recipe(path, looks, digest or "", asked)
        facts = None if digest is None else space.store.read(recipe)
        if digest is None or facts is None:
            return None
        found[path] = InspectedFile(path, looks, digest, _facts(space.store, recipe, facts), asked, recipe)
    return found


def _requests(configuration: Configuration) -> dict[Path, InspectionRequest]:
    """The inspection settings of each file in use."""
    layout = configuration.layout
    boosted = any(tagger.boosted and not tagger.in_files for tagger in configuration.taggers)
    needs = DERIVED if layout.own_books or boosted else DERIVED[:1]
    manifest = read_manifest(layout.sums.manifest) if layout.sums.manifest else ()
    out: dict[Path, InspectionRequest] = {}
    for name in configuration.used_samples:
        sample, own = configuration.samples[name], configuration.layout_of(name)
        found: Mapping[Path, FileOrigin | None] = dict.fromkeys(sample.files)
        if not layout.own_books:
            found = file_origins(
                name,
                sample.files,
                simulated=sample.kind != "data",
                cross_section=sample.cross_section,
                filter_efficiency=sample.filter_efficiency,
                manifest=manifest,
            )
        made: dict[FileOrigin | None, InspectionRequest] = {}
        for path, origin in found.items():
            if origin is not None and not configuration.wants_variations(name):
                origin = replace(origin, sum_weights=origin.sum_weights[:1])
            asked = made.setdefault(
                origin, InspectionRequest(own, origin, needs, configuration.selection.min_subleading_pt)
            )
            if out.setdefault(path, asked) != asked:
                raise ConfigError(f"sample {name}: got {path}, which is in another sample, too; expected it in one")
    return out


def _looks(path: Path) -> FileStamp | None:
    """The stamp of a local file; None for a remote or unreadable file (the inspection task reports the latter)."""
    try:
        return None if is_remote(path) else FileStamp.of(path)
    except FileError:
        return None


def _elsewhere(paths: list[Path], workers: Workers) -> dict[Path, str]:
    """Digests of remote files, from their metadata; see `remote_digest`."""
    tasks = [Task(str(path), remote_digest, (path,)) for path in paths]
    try:
        return dict(zip(paths, workers.run("asking for files", tasks), strict=True))
    except WorkflowError as error:
        raise _in_groups(error, len(tasks)) from error


def _in_groups(error: WorkflowError, looked_at: int) -> BeampipeError:
    """The error with equal messages grouped, each with the number of files; or the package that is missing."""
    missing = next((fault for _, fault in error.errors if isinstance(fault, MissingExtraError)), None)
    if missing is not None:
        return missing
    files: dict[str, list[str]] = {}
    for label, fault in error.errors:
        files.setdefault(str(fault).removeprefix(f"{label}: ").replace(label, "FILE"), []).append(label)
    if not files:
        return error
    lines = [f"{len(error.errors)} of {looked_at} tasks failed: these files cannot be used"]
    for said, labels in files.items():
        more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        lines.append(f"  {labels[0]}{more}: {said}")
    lines.append("no event was read; see one of them by: beampipe calibration inspect FILE")
    return WorkflowError("\n".join(lines), error.errors)


def check_bookkeeping(configuration: Configuration, files: Mapping[Path, InspectedFile]) -> dict[str, Bookkeeping]:
    """The bookkeeping of every sample. It is checked in every run, as this is quick.

    Raises:
        FileError: files of a slice are missing, duplicate, or of another sample.
    """
    found, errors = {}, []
    for name in configuration.used_samples:
        sample = configuration.samples[name]
        try:
            found[name] = slice_factors(sample, {path: files[path].facts for path in sample.files})
        except FileError as error:
            errors.append(error)
    if errors:
        errors[0].args = ("\n".join(map(str, errors)),)
        raise errors[0]
    return found


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
    return {name: _keep(configuration.samples[name], files, kept, store) for name, kept in books.items()}


def _keep(
    sample: InputSample, files: Mapping[Path, InspectedFile], bookkeeping: Bookkeeping, store: Store | None
) -> InspectedSample:
    ordered = sorted(
        (files[path] for path in sample.files), key=lambda file: (file.facts.slice, file.facts.file_number)
    )
    inputs = tuple(Input("file", file.digest, str(file.path)) for file in ordered)
    parameters = {
        "kind": sample.kind,
        "luminosity": sample.luminosity,
        "facts": digest_of([stage_code("inspect"), [file.asked for file in ordered]]),
    }
    books = Recipe("bookkeeping", stage_code("bookkeeping"), parameters, inputs, sample.name)
    if store is not None and store.find(books) is None:
        store.get(books, ".json", lambda path: path.write_text(json.dumps(bookkeeping.plain())))
    return InspectedSample(sample, tuple(ordered), bookkeeping, books)


def _inspect(store: Store, recipe: Recipe, path: Path, asked: InspectionRequest, looks: FileStamp | None) -> None:
    """The task that inspects one file, unless another run has done so meanwhile."""
    if store.find(recipe) is not None:
        return
    facts = inspect_file(path, asked.layout, asked.origin, needs=asked.needs, min_pt=asked.min_pt)
    if looks is not None:
        looks.require(path)
    store.write(recipe, ".json", lambda to: to.write_text(json.dumps(facts.plain())))


def _facts(store: Store, recipe: Recipe, found: bytes | None) -> FileInfo:
    """The facts of a file, from the stored bytes `found` before the inspection, or else read from the store."""
    return FileInfo.of(json.loads(store.require(recipe).read_bytes() if found is None else found))
