"""Before any event is read: a look at every file, and the bookkeeping of every sample."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from beampipe.calibration.config import Configuration, InputSample
from beampipe.calibration.ntuple.bookkeeping import Bookkeeping, keep_books
from beampipe.calibration.ntuple.reading import Facts, inspect_file
from beampipe.calibration.tasks.stages import stage_code
from beampipe.calibration.tasks.workers import Workers
from beampipe.calibration.tasks.workspace import Workspace
from beampipe.workflow import FileDigests, Input, Recipe, Store, Task

__all__ = ["InspectedFile", "InspectedSample", "inspect_files", "inspect_recipe", "keep_all_books"]


@dataclass(frozen=True)
class InspectedFile:
    """A ROOT file that was looked at.

    Attributes:
        path: path of the file.
        digest: SHA-256 of its content.
        facts: what is known of it without reading its events.
        recipe: recipe of the artifact that holds `facts`.
    """

    path: Path
    digest: str
    facts: Facts
    recipe: Recipe


@dataclass(frozen=True)
class InspectedSample:
    """A sample whose files make whole slices.

    Attributes:
        sample: the sample as it is configured.
        files: files of the sample, ordered by slice and number.
        bookkeeping: what all files say together.
        books: recipe of the artifact that holds `bookkeeping`.
    """

    sample: InputSample
    files: tuple[InspectedFile, ...]
    bookkeeping: Bookkeeping
    books: Recipe


def inspect_recipe(path: Path, digest: str) -> Recipe:
    """Recipe of the facts of a file."""
    return Recipe("inspect", stage_code("inspect"), None, (Input("file", digest, str(path)),), str(path))


def inspect_files(configuration: Configuration, space: Workspace, workers: Workers) -> dict[Path, InspectedFile]:
    """Look at all files that were never looked at, and recall the others.

    Raises:
        WorkflowError: files cannot be used.
    """
    paths = sorted({path for name in configuration.used_samples for path in configuration.samples[name].files})
    if not space.digests.exists():
        workers.expect_work()
    with FileDigests(space.digests) as digests:
        by_path = dict(zip(paths, digests.of_all(paths), strict=True))
    recipes = {path: inspect_recipe(path, digest) for path, digest in by_path.items()}
    missing = [path for path in paths if space.store.find(recipes[path]) is None]
    workers.run("looking at files", [Task(str(path), _inspect, (space.store, recipes[path], path)) for path in missing])
    facts = {path: _facts(space.store, recipes[path]) for path in paths}
    return {path: InspectedFile(path, by_path[path], facts[path], recipes[path]) for path in paths}


def keep_all_books(
    configuration: Configuration, files: Mapping[Path, InspectedFile], store: Store
) -> dict[str, InspectedSample]:
    """The bookkeeping of every sample: checked every time, as it is quick, and stored for `explain`.

    Raises:
        FileError: files of a slice are missing, there twice, or of another sample.
    """
    return {name: _keep_books(configuration.samples[name], files, store) for name in configuration.used_samples}


def _keep_books(sample: InputSample, files: Mapping[Path, InspectedFile], store: Store) -> InspectedSample:
    bookkeeping = keep_books(sample, {path: files[path].facts for path in sample.files})
    ordered = sorted(
        (files[path] for path in sample.files), key=lambda file: (file.facts.slice, file.facts.file_number)
    )
    inputs = tuple(Input("facts", file.recipe.key, str(file.path)) for file in ordered)
    parameters = {"kind": sample.kind, "luminosity": sample.luminosity}
    books = Recipe("bookkeeping", stage_code("bookkeeping"), parameters, inputs, sample.name)
    if store.find(books) is None:
        store.write(books, ".json", lambda path: path.write_text(json.dumps(bookkeeping.plain())))
    return InspectedSample(sample, tuple(ordered), bookkeeping, books)


def _inspect(store: Store, recipe: Recipe, path: Path) -> None:
    """The task that looks at one file."""
    facts = inspect_file(path)
    store.write(recipe, ".json", lambda to: to.write_text(json.dumps(facts.plain())))


def _facts(store: Store, recipe: Recipe) -> Facts:
    return Facts.of(json.loads(store.require(recipe).read_text()))
