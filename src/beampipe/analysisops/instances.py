"""Instances that are made once and given to every agent: on disk, in a folder that only the host reads."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from beampipe import __version__
from beampipe.analysisops.assessing import Prepared, prepare_instance, prepare_open_instance
from beampipe.analysisops.contract import Reference
from beampipe.analysisops.samples.hidden import Hidden
from beampipe.analysisops.samples.prepare import VERSION
from beampipe.analysisops.tasks.load import Task
from beampipe.files import make_folder
from beampipe.workflow import digest_of, file_digest

__all__ = ["InstanceStore", "work_code"]

_HIDDEN = "hidden.json"


_ROOMS: Final = ("agents", "artifacts", "samples", "tasks", "tools")
_MODULES: Final = (
    "assessing.py",
    "choosing.py",
    "contract.py",
    "evaluating.py",
    "instances.py",
    "ledger.py",
    "programs.py",
)
"""What makes data, finds references and asks agents; no grading, no report."""


class InstanceStore:
    """Instances by task and seed. Several processes may use one folder; an instance appears whole or not at all.

    Args:
        folder: where they are; closed to others, since what is hidden stands beside the data.
    """

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        folder.chmod(0o700)
        self._folder = folder

    def get(self, task: Task, seed: int) -> Prepared:
        """An instance; it is made if it is not there.

        Raises:
            ConfigError: the oracle does not find what the task asks for.
            BeampipeError: real data cannot be brought.
        """
        spec = task.spec
        if not spec.family:
            # Real data: one instance, whatever the seed. It is brought into its place, so that what has come is kept.
            return prepare_open_instance(
                task, self._folder / digest_of(["open", spec.release, spec.dataset, spec.skim, spec.max_files])
            )
        # The seed is secret, and so no part of a name that anybody may see.
        ranges = {name: list(given) for name, given in task.parameters.items()}
        key = digest_of([spec.family, task.id, seed, VERSION, ranges, work_code()])
        place = self._folder / key
        if not (place / _HIDDEN).exists():
            self._make(task, seed, place)
        known = json.loads((place / _HIDDEN).read_bytes())
        return Prepared(
            task,
            place / "data",
            Hidden.from_json(known["hidden"]),
            Reference.from_json(known["reference"]),
            known["facts"],
        )

    def _make(self, task: Task, seed: int, place: Path) -> None:
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=self._folder))
        try:
            made = prepare_instance(task, seed, part)
            known = {
                "hidden": made.hidden.to_json(),
                "reference": made.reference.to_json(),
                "facts": dict(made.facts),
            }
            (part / _HIDDEN).write_text(json.dumps(known, allow_nan=False), encoding="utf-8")
            try:
                os.rename(part, place)
            except OSError:
                if not (place / _HIDDEN).exists():  # another process has made the same meanwhile
                    raise
        finally:
            shutil.rmtree(part, ignore_errors=True)


@cache
def work_code() -> str:
    """Digest of the source of all that makes data, finds references and asks agents.

    Families and tools are imported by their names, which `beampipe.workflow.code_digest` does not see; so all files
    of these rooms count, with every comment.
    """
    here = Path(__file__).parent
    paths = [here / name for name in _MODULES]
    paths += [path for room in _ROOMS for path in sorted((here / room).rglob("*.py"))]
    return digest_of([__version__, [(path.relative_to(here).as_posix(), file_digest(path)) for path in paths]])
