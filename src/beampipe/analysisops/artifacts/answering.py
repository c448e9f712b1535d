"""Compute answers by running tools on verified event lists, and build the submission."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from beampipe.analysisops.artifacts.checking import Checked, Limits, check_artifacts
from beampipe.analysisops.artifacts.form import Artifacts
from beampipe.analysisops.ledger import Ledger
from beampipe.analysisops.samples.dataset import HiddenTruth
from beampipe.analysisops.tasks.load import Task
from beampipe.analysisops.tools.data_folder import write_manifest
from beampipe.analysisops.tools.session import Session, SessionLimits
from beampipe.errors import BeampipeError, ConfigError

_TREE: Final = "artifact"
_FILE: Final = "artifact_{}.root"
_CALLS: Final = 50


def answer_from_artifacts(
    task: Task, artifacts: Artifacts, data: Path, hidden: HiddenTruth, ledger: Ledger, limits: Limits | None = None
) -> dict[str, Any]:
    """Check the artifacts of an agent and compute the answers from them; the ledger records every step.

    The first entry holds the checksums of the verified lists and of the data files.

    Args:
        task: the task.
        artifacts: the agent's artifacts, from `read_artifacts`.
        data: folder of the instance's data, the host's own.
        hidden: the hidden truth of the instance.
        ledger: ledger of this assessment.
        limits: required accuracy of lists.

    Returns:
        The submission, of status ``"error"`` if the agent reports an error, a list is void, or a fit fails.

    Raises:
        UnknownNameError: the family of the task accepts no artifacts.
        FileError: the host's data are damaged.
    """
    if artifacts.status != "ok":
        return _submission(task, artifacts, status=artifacts.status)
    checked = check_artifacts(artifacts, task.spec.family, data, hidden, limits)
    if checked.void:
        return _submission(task, artifacts, status="error", comments=checked.void)
    with tempfile.TemporaryDirectory(prefix="beampipe-artifacts-") as made:
        folder = Path(made)
        _write(folder, checked)
        work = _Work(task, artifacts, Session(folder, ledger, SessionLimits(_CALLS)))
        try:
            work.session.call("list_local_root_files_tool")
            answers, histograms = _METHODS[task.spec.family](work)
        except BeampipeError as error:
            return _submission(task, artifacts, status="error", comments=str(error))
    return _submission(task, artifacts, answers=answers, histograms=histograms)


Answers = tuple[dict[str, tuple[float | None, float | None]], dict[str, str]]
"""Value and uncertainty by name, and handles of histograms by name."""


@dataclass(frozen=True)
class _Work:
    """Inputs of a method."""

    task: Task
    artifacts: Artifacts
    session: Session

    def load(self, name: str) -> str:
        """Load a list; returns its handle."""
        loaded = self.session.call(
            "load_kinematics_tool", file_path=_FILE.format(name), tree_name=_TREE, branches={"mass": "mass"}
        )
        return str(loaded["handle"])

    def fit(self, name: str, events: str, fixed: Mapping[str, float] | None = None) -> dict[str, Any]:
        """Fit a list with the model and window that the agent chose."""
        told = {**self.artifacts.lists[name].fit, "fixed": dict(fixed or {})}
        found = self.session.call("fit_peak_tool", events=events, column="mass", **told)
        if not found["valid"]:
            raise ConfigError(f"fit of {name}: got one that is not valid, expected another model or window")
        return found

    def histograms(self, events: str) -> dict[str, str]:
        """The histogram of the task, before the fit."""
        handles = {}
        for name, one in self.task.spec.histograms.items():
            filled = self.session.call(
                "histogram_tool", events=events, column="mass", bins=one.bins, low=one.low, high=one.high
            )
            handles[name] = str(filled["handle"])
        return handles


def _peak(work: _Work) -> Answers:
    """Position and yield of a peak."""
    events = work.load("mass")
    histograms, fit = work.histograms(events), work.fit("mass", events)
    known = {"mass": (fit["mu"], fit["mu_error"]), "signal_yield": (fit["signal_yield"], fit["signal_yield_error"])}
    return {name: known[name] for name in work.task.spec.answers if name in known}, histograms


def _width(work: _Work) -> Answers:
    """Natural width, with the resolution taken from the narrow line; the uncertainty includes its error."""
    resolution = work.fit("narrow", work.load("narrow"))
    moved = work.session.call(
        "calculate_tool",
        expression="sigma + error",
        values={"sigma": resolution["sigma"], "error": resolution["sigma_error"]},
    )
    events = work.load("mass")
    histograms = work.histograms(events)
    line, shifted = (work.fit("mass", events, {"sigma": sigma}) for sigma in (resolution["sigma"], moved["value"]))
    total = work.session.call(
        "calculate_tool",
        expression="sqrt(statistical**2 + (shifted - width)**2)",
        values={"statistical": line["width_error"], "shifted": shifted["width"], "width": line["width"]},
    )
    return {"width": (line["width"], total["value"])}, histograms


_METHODS: Final[Mapping[str, Callable[[_Work], Answers]]] = {
    "zmumu": _peak,
    "width": _width,
    "hmumu": _peak,
    "hyy": _peak,
    "hbb": _peak,
    "hzz4l": _peak,
}
"""Family of a task -> what its lists answer."""


def _write(folder: Path, checked: Checked) -> None:
    """Write the lists as data files of a session, with the checksums of the data that they were matched to."""
    import uproot

    files = []
    for name, checked_list in checked.lists.items():
        path = folder / _FILE.format(name)
        with uproot.recreate(path) as file:
            file.mktree(_TREE, {"mass": checked_list.masses})
        files.append(
            {
                "name": path.name,
                "role": "artifact",
                # A checksum of the masses, since the file also holds the date.
                "contents_sha256": hashlib.sha256(checked_list.masses.astype("<f8").tobytes()).hexdigest(),
                "found_in": dict(checked_list.sources),
                "rows": checked_list.rows,
                "faults": {kind: number for kind, number in checked_list.faults.items() if number},
            }
        )
    write_manifest(folder, files, {})


def _submission(
    task: Task,
    artifacts: Artifacts,
    *,
    status: str = "ok",
    comments: str = "",
    answers: Mapping[str, tuple[float | None, float | None]] | None = None,
    histograms: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    return {
        "task_id": task.id,
        "status": status,
        "answers": {
            name: {"value": value, "uncertainty": uncertainty} for name, (value, uncertainty) in (answers or {}).items()
        },
        "histograms": dict(histograms or {}),
        **artifacts.said,
        **({"comments": comments} if comments else {}),
    }
