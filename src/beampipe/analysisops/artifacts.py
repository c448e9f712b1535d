"""The artifact track: agents that run their own code get a copy of the data, and submit artifacts instead of numbers.

An artifact is a list of selected events with the mass that the agent computed for each. The host derives the answers:
it looks up each event in the data, recomputes the mass from the objects there, and runs the usual tools
(`beampipe.analysisops.tools`) on the verified masses, so that a ledger records every answer. A list that does not match
the data earns nothing. The agent still decides on the analysis: the events, the objects, the model and the window of
the fit.

Limitation: the check does not detect true events that were selected by their mass to shift or sharpen a peak. Such a
list gives a wrong answer, which is graded as such. Agents could guess event numbers, as they are consecutive, but not a
mass to one in a thousand for each event.

An agent leaves a file `artifacts.json` and the lists that it names:

    {
      "status": "ok",
      "lists": {"mass": {"file": "selected.csv", "model": "voigt_plus_exponential", "window": [75, 107]}},
      "words": {},
      "method": {"selection": "..."},
      "comments": ""
    }

Each list has the columns ``event``, the number of an event in the data, and ``mass``, the mass computed for it [GeV];
each event is listed once. The other fields of a list are arguments of `fit_peak_tool`; no parameter can be fixed.

Lists are ``.csv``, ``.json`` or ``.npy`` files of bounded size. Three kinds of formats are refused: compressed ones (a
few bytes become gigabytes), pickles, which execute code, and ROOT, whose files define their own readers.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.agents.agent import stated_answer
from beampipe.analysisops.assessment import Answer, Ask
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.instances import PreparedInstance
from beampipe.analysisops.ledger import Ledger
from beampipe.analysisops.samples.dataset import HiddenTruth
from beampipe.analysisops.sandbox import Sandbox, SandboxLimits, best_kind
from beampipe.analysisops.tasks.load import Task
from beampipe.analysisops.tools.data_folder import MANIFEST, DataFolder, write_manifest
from beampipe.analysisops.tools.session import LocalTools, Session, SessionLimits
from beampipe.arrays import Float64
from beampipe.errors import BeampipeError, ConfigError, FileError, UnknownNameError
from beampipe.files import make_folder
from beampipe.settings import build

ARTIFACTS: Final = "artifacts.json"
"""Name of the file that lists the others."""

_LARGEST_TABLE: Final = 256 << 10
"""Its maximum size [bytes]."""

COLUMNS: Final = ("event", "mass")
"""Columns of a list: number of the event, and its mass [GeV]."""

FORMATS: Final = (".csv", ".json", ".npy")
LARGEST: Final = 16 << 20
"""Maximum size of a list [bytes]; as Python objects it takes about twenty times as much memory."""

MOST_ROWS: Final = 500_000
"""Maximum number of rows of a list, the limit of an unbinned fit."""


@dataclass(frozen=True)
class RequiredList:
    """A list that a task requires.

    Attributes:
        name: name of the list.
        role: role of the data files with its events.
        collection: standard prefix of the objects whose systems have the masses.
        description: description of the events.
        number: number of objects in a system.
    """

    name: str
    role: str
    collection: str
    description: str
    number: int = 2


_MUONS: Final = RequiredList("mass", "data", "lep", "selected events of the data, with the mass of the muon pair")

_REQUIRED: Final[Mapping[str, tuple[RequiredList, ...]]] = {
    "zmumu": (_MUONS,),
    "width": (
        _MUONS,
        RequiredList("narrow", "calibration_mc", "lep", "selected events of the narrow line's sample, in the same way"),
    ),
    "hmumu": (_MUONS,),
    "hyy": (RequiredList("mass", "data", "photon", "selected events of the data, with the mass of the photon pair"),),
    "hbb": (RequiredList("mass", "data", "jet", "selected events of the data, with the mass of the pair of b jets"),),
    "hzz4l": (RequiredList("mass", "data", "lep", "selected events of the data, with the mass of the leptons", 4),),
}
"""Family of a task -> the lists that it requires."""


def required_lists(family: str) -> tuple[RequiredList, ...]:
    """The lists that tasks of a family require.

    Raises:
        UnknownNameError: the family accepts no artifacts.
    """
    if family not in _REQUIRED:
        raise UnknownNameError("family with artifacts", family, _REQUIRED)
    return _REQUIRED[family]


# The inputs of an agent.


def copy_data(data: Path, folder: Path) -> Path:
    """Copy a manifest and the files that it lists into a new, read-only folder.

    Other files beside the data are not copied. The host checks artifacts against its own files, so an agent that
    changes its copy gains nothing.

    Args:
        data: folder of the instance's data.
        folder: folder of the copy.

    Returns:
        The folder of the copy.
    """
    make_folder(folder)
    for path in (*(file.path for file in DataFolder(data).files()), data / MANIFEST):
        shutil.copyfile(path, folder / path.name)
        (folder / path.name).chmod(0o444)
    folder.chmod(0o555)
    return folder


def instructions(family: str) -> str:
    """The part of a task's prompt that describes which artifacts to submit, and their format.

    Raises:
        UnknownNameError: the family accepts no artifacts.
    """
    required = required_lists(family)
    lists = "\n".join(f"- `{events.name}`: {events.description}." for events in required)
    example = ",\n           ".join(
        f'"{events.name}": {{"file": "{events.name}.csv", "model": "MODEL", "window": [LOW, HIGH], "unbinned": true}}'
        for events in required
    )
    return f"""## What to hand in

Analyse the files with code of your own. Hand in lists, not numbers: the host finds each event in the data, computes its
mass again, and fits those masses with the model and in the window that you name. Leave in your folder:

{lists}

Each list is one file with the columns `{COLUMNS[0]}`, the number of the event in the data, and `{COLUMNS[1]}`, its
mass in GeV, to at least five digits. Each event stands in it once. Formats: {", ".join(FORMATS)} (a .csv with a line of
names, a .json with an object of two lists, a .npy with these fields or two columns), at most {LARGEST >> 20} MiB and
{MOST_ROWS} rows. A list whose events or masses the data do not have earns no points.

`{ARTIFACTS}` names them, with the model and the window of each fit:

{{"status": "ok",
 "lists": {{{example}}},
 "words": {{}}, "method": {{"selection": "...", "model": "...", "window": "...", "uncertainty": "..."}}}}
"""


# Reading untrusted files.


@dataclass(frozen=True)
class Rows:
    """A submitted list, not yet verified.

    Attributes:
        event: number of each event.
        mass: its stated mass [GeV].
    """

    event: Float64[ndarray, " n"]
    mass: Float64[ndarray, " n"]


def read_json(folder: Path, name: str, largest: int = LARGEST) -> Any:
    """Read a JSON file of at most so many bytes.

    Raises:
        FileError: the folder has no plain file of that name, or it is too large, or no JSON.
    """
    try:
        return json.loads(_bytes(folder, name, largest))
    except (ValueError, RecursionError) as error:
        raise _fault(name, f"something that is no JSON ({str(error)[:80]})", "JSON") from error


def read_rows(folder: Path, name: str) -> Rows:
    """Read a list of events with masses.

    Args:
        folder: folder that the agent wrote to.
        name: plain name of the file; its suffix determines the format.

    Raises:
        FileError: the folder has no plain file of that name, or it is too large, of another format, or lacks a column.
    """
    suffix = Path(name).suffix.lower()
    readers = {".csv": _from_csv, ".json": _from_json, ".npy": _from_npy}
    if suffix not in readers:
        raise _fault(name, f"the format {suffix or 'without a suffix'!r}", f"one of {', '.join(FORMATS)}")
    content = _bytes(folder, name, LARGEST)
    try:
        event, mass = readers[suffix](content)
    except Exception as error:  # an untrusted file may make a reader fail in any way
        fault = f"what is no such list ({' '.join(str(error).split())[:120]})"
        raise _fault(name, fault, f"columns {' and '.join(COLUMNS)} of one length, of numbers") from error
    if len(event) > MOST_ROWS or len(event) != len(mass):
        raise _fault(name, f"{len(event)} events and {len(mass)} masses", f"as many, at most {MOST_ROWS}")
    return Rows(event, mass)


def _bytes(folder: Path, name: str, largest: int) -> bytes:
    """Read a plain file. Links, pipes and devices are refused, since they could lead to files of the host."""
    if Path(name).name != name or name in ("", ".", ".."):
        raise _fault(name, "a path", "the plain name of a file beside artifacts.json")
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise _fault(name, f"no such file ({getattr(error, 'strerror', error)})", "a plain file") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _fault(name, "a folder, pipe or device", "a plain file")
        if status.st_size > largest:
            raise _fault(name, f"{status.st_size} bytes", f"at most {largest}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(largest)
    finally:
        os.close(descriptor)


def _from_csv(content: bytes) -> tuple[ndarray, ndarray]:
    head, _, body = content.decode("utf-8-sig").partition("\n")
    names = [name.strip() for name in next(csv.reader([head.strip()]), [])]
    positions = [names.index(column) for column in COLUMNS]
    if not body.strip():
        return np.empty(0), np.empty(0)
    if body.count("\n") > MOST_ROWS:
        raise ValueError(f"more than {MOST_ROWS} lines")
    table = np.loadtxt(io.StringIO(body), float, comments=None, delimiter=",", usecols=positions, ndmin=2)
    return table[:, 0].copy(), table[:, 1].copy()


def _from_json(content: bytes) -> tuple[ndarray, ndarray]:
    table = json.loads(content)
    columns = [table[column] for column in COLUMNS]
    for column in columns:
        if not isinstance(column, list) or not {type(value) for value in column} <= {int, float}:
            raise TypeError("a column that is no list of numbers")
    event, mass = (np.asarray(column, float) for column in columns)
    return event, mass


def _from_npy(content: bytes) -> tuple[ndarray, ndarray]:
    """Read an ``.npy`` file by the type and shape in its header; Python objects are refused."""
    if not content.startswith(b"\x93NUMPY"):
        raise ValueError("it does not begin as .npy does")
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version}")
    shape, by_columns, dtype = read(file)
    if dtype.hasobject:
        raise TypeError("objects of Python")
    number = int(np.prod(shape, dtype=object)) if shape else 1
    if number * dtype.itemsize != len(content) - file.tell() or not dtype.itemsize:
        raise ValueError("another number of values than its header says")
    table = np.frombuffer(content, dtype, offset=file.tell()).reshape(shape, order="F" if by_columns else "C")
    if dtype.names:
        event, mass = (_numbers(table[column]) for column in COLUMNS)
    elif table.ndim == 2 and table.shape[1] == len(COLUMNS):
        event, mass = _numbers(table[:, 0]), _numbers(table[:, 1])
    else:
        raise ValueError(f"the shape {shape}")
    return event, mass


def _numbers(values: ndarray) -> ndarray:
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise TypeError(f"values of type {values.dtype}")
    return values.astype(float)


def _fault(name: str, got: str, expected: str) -> FileError:
    shown = name[:60].encode("utf-8", "replace").decode()
    return FileError(f"artifact {shown!r}: got {got}, expected {expected}", name=shown)


@dataclass(frozen=True)
class SubmittedList:
    """A submitted list and the arguments of its fit; `fit_peak_tool` refuses invalid ones.

    Attributes:
        file: plain name of the file with the list.
        model: model of signal and background, as named by `fit_peak_tool`.
        window: lowest and highest mass of the fit [GeV].
        unbinned: whether to fit the masses without bins.
        bins: number of bins of a binned fit.
    """

    file: str
    model: str
    window: tuple[float, ...]
    unbinned: bool = True
    bins: int = 120

    @property
    def fit(self) -> dict[str, Any]:
        """Arguments of `fit_peak_tool`."""
        return {"model": self.model, "window": list(self.window), "unbinned": self.unbinned, "bins": self.bins}


@dataclass(frozen=True)
class _Table:
    """The part of `artifacts.json` with a fixed form."""

    status: str = "ok"
    lists: Mapping[str, SubmittedList] = field(default_factory=dict)


@dataclass(frozen=True)
class Artifacts:
    """The artifacts of an agent: bounded and of the right types, but not yet verified.

    Attributes:
        status: ``"ok"``, or any other text by the agent.
        lists: description of each list, by name.
        rows: the lists themselves, by name.
        texts: ``words``, ``method`` and ``comments`` of the submission, unchecked; grading bounds them.
    """

    status: str
    lists: Mapping[str, SubmittedList] = field(default_factory=dict)
    rows: Mapping[str, Rows] = field(default_factory=dict)
    texts: Mapping[str, Any] = field(default_factory=dict)


def read_artifacts(folder: Path, family: str) -> Artifacts:
    """Read the artifacts that an agent has left in its folder.

    Args:
        folder: folder that only the agent wrote to.
        family: of the task.

    Raises:
        FileError: a file is missing, too large, or of another format; the message is for the agent.
        ConfigError: artifacts.json has wrong keys or types; the message is for the agent.
        UnknownNameError: the family accepts no artifacts.
    """
    required = sorted(events.name for events in required_lists(family))
    content = read_json(folder, ARTIFACTS, _LARGEST_TABLE)
    if not isinstance(content, dict):
        raise FileError(f"{ARTIFACTS}: got {type(content).__name__}, expected an object", name=ARTIFACTS)
    texts = {name: content.pop(name) for name in ("words", "method", "comments") if name in content}
    table = build(_Table, content, ARTIFACTS)
    if table.status != "ok":
        return Artifacts(table.status, texts=texts)
    if sorted(table.lists) != required:
        submitted = ", ".join(sorted(table.lists))[:80] or "none"
        raise FileError(f"{ARTIFACTS}: lists: got {submitted}, expected {', '.join(required)}", name=ARTIFACTS)
    rows = {name: read_rows(folder, submitted.file) for name, submitted in table.lists.items()}
    return Artifacts(table.status, table.lists, rows, texts)


# Comparing lists with the data.

_MOST_SYSTEMS: Final = 100
"""Maximum number of systems considered in an event, starting with its first objects."""

_LARGEST_EXACT: Final = 2.0**53
"""Larger integers are not exact as doubles, so two could be one event."""


@dataclass(frozen=True)
class Candidates:
    """Events with the masses of their systems of objects, such as pairs of muons.

    Attributes:
        event: number of each event, ascending.
        masses: masses of all systems of its objects [GeV]; padded with NaN.
        sources: file -> its SHA-256 in the manifest.
    """

    event: Float64[ndarray, " n"]
    masses: Float64[ndarray, "n systems"]
    sources: dict[str, str]

    def nearest(self, event: Float64[ndarray, " m"], mass: Float64[ndarray, " m"]) -> Float64[ndarray, " m"]:
        """For each event the mass closest to the given one; NaN for an event that does not exist."""
        if not len(self.event) or not self.masses.shape[1]:
            return np.full(len(event), np.nan)
        row = np.minimum(np.searchsorted(self.event, event), len(self.event) - 1)
        masses = self.masses[row]
        with np.errstate(invalid="ignore", over="ignore"):
            distance = np.abs(masses - mass[:, None])
        distance[np.isnan(distance)] = np.inf
        best = np.take_along_axis(masses, distance.argmin(1)[:, None], 1)[:, 0]
        return np.asarray(np.where(self.event[row] == event, best, np.nan), float)


def read_candidates(data: Path, hidden: HiddenTruth, required: RequiredList) -> Candidates:
    """Read the events and masses that a list may contain, from the host's data.

    Args:
        data: folder of the instance's data.
        hidden: its hidden truth, with names and unit of the columns.
        required: the list.

    Raises:
        FileError: there is no such file, or two events have the same number; an error of the host.
    """
    role = required.role
    files = [file for file in DataFolder(data).files() if file.facts.get("role") == role]
    if not files:
        raise FileError(f"{data}: got no file of role {role}, expected one", path=data, name=role)
    parts = [_masses_in_file(file.path, hidden, required) for file in files]
    width = max(masses.shape[1] for _, masses in parts)
    event = np.concatenate([event for event, _ in parts])
    masses = np.concatenate(
        [np.pad(masses, ((0, 0), (0, width - masses.shape[1])), constant_values=np.nan) for _, masses in parts]
    )
    order = np.argsort(event, kind="stable")
    if np.any(np.diff(event[order]) == 0):
        raise FileError(f"{data}: got two events of one number among those of role {role}, expected one", path=data)
    sources = {file.name: str(file.facts.get("sha256", "")) for file in files}
    return Candidates(event[order], masses[order], sources)


def _masses_in_file(path: Path, hidden: HiddenTruth, required: RequiredList) -> tuple[ndarray, ndarray]:
    """Numbers of the events of a file, and the masses of their systems."""
    import awkward as ak
    import uproot

    branches = {name: hidden.columns[f"{required.collection}_{name}"] for name in ("pt", "eta", "phi", "e")}
    event = hidden.columns["eventNumber"]
    with uproot.open(path) as file:
        arrays = file[hidden.tree].arrays([event, *branches.values()])
    objects = ak.zip({name: ak.values_astype(arrays[branch], np.float64) for name, branch in branches.items()})
    members = ak.unzip(ak.combinations(objects, required.number))
    width = min(int(ak.max(ak.num(members[0]), initial=0)), _MOST_SYSTEMS)
    masses = _mass(members) * hidden.energy_unit
    padded = ak.to_numpy(ak.fill_none(ak.pad_none(masses, width, clip=True), np.nan))
    return np.asarray(arrays[event], float), np.asarray(padded, float).reshape(len(arrays), width)


def _mass(members: Sequence[Any]) -> Any:
    """m^2 = E^2 - p^2 of the sum of objects; a small negative one, from rounding, counts as 0."""
    energy = sum(member.e for member in members)
    x = sum(member.pt * np.cos(member.phi) for member in members)
    y = sum(member.pt * np.sin(member.phi) for member in members)
    z = sum(member.pt * np.sinh(member.eta) for member in members)
    return np.sqrt(np.maximum(energy**2 - x**2 - y**2 - z**2, 0.0))


@dataclass(frozen=True)
class Tolerance:
    """Required accuracy of a list.

    Attributes:
        rounding: relative difference allowed between a listed mass and that of the data. Results are computed from the
            masses of the data, so this tolerance does not affect them.
        faulty: share of rows that may be wrong; a list with more is void.
    """

    rounding: float = 1e-3
    faulty: float = 1e-3


@dataclass(frozen=True)
class CheckedList:
    """A list after the check.

    Attributes:
        masses: masses of the correct rows, computed from the data [GeV], in the order of the list.
        rows: number of submitted rows.
        faults: kind of fault -> number of rows with it; each row counts once.
        sources: data file -> its SHA-256.
        void: why the list is void; empty if it is valid.
    """

    masses: Float64[ndarray, " n"]
    rows: int
    faults: Mapping[str, int]
    sources: Mapping[str, str] = field(default_factory=dict)
    void: str = ""


def check_rows(rows: Rows, candidates: Candidates, tolerance: Tolerance) -> CheckedList:
    """Check a list against the data: each event must exist, be listed once, and have the stated mass."""
    finite = np.isfinite(rows.event) & np.isfinite(rows.mass)
    # A row without a mass also uses up its event.
    event = np.where(np.abs(rows.event) <= _LARGEST_EXACT, rows.event, -1.0)
    masses = candidates.nearest(event, np.where(finite, rows.mass, 0.0))
    with np.errstate(invalid="ignore", over="ignore"):
        same = np.abs(masses - rows.mass) <= tolerance.rounding * np.abs(masses)
    first = np.zeros(len(event), bool)
    first[np.unique(event, return_index=True)[1]] = True

    faults, correct = {}, np.ones(len(event), bool)
    for kind, good in (
        ("not finite", finite),
        ("no such event", np.isfinite(masses)),
        ("another mass than the data have", same),
        ("an event that was there before", first),
    ):
        faults[kind] = int(np.count_nonzero(correct & ~good))
        correct &= good
    wrong = len(event) - int(np.count_nonzero(correct))
    void = ""
    if not len(event):
        void = "got no events, expected those that were selected"
    elif wrong > tolerance.faulty * len(event):
        kinds = ", ".join(f"{number} {kind}" for kind, number in faults.items() if number)
        void = f"got {wrong} of {len(event)} rows that the data do not have ({kinds}), expected events of the data once"
    return CheckedList(masses[correct], len(event), faults, candidates.sources, void)


# Computing the answers.

_TREE: Final = "artifact"
_FILE: Final = "artifact_{}.root"
_CALLS: Final = 50


def answer_from_artifacts(
    task: Task, artifacts: Artifacts, data: Path, hidden: HiddenTruth, ledger: Ledger
) -> dict[str, Any]:
    """Check the artifacts of an agent and compute the answers from them; the ledger records every step.

    The first entry holds the checksums of the verified lists and of the data files.

    Args:
        task: the task.
        artifacts: the agent's artifacts, from `read_artifacts`.
        data: folder of the instance's data, the host's own and not the agent's copy.
        hidden: the hidden truth of the instance.
        ledger: ledger of this assessment.

    Returns:
        The submission, of status ``"error"`` if the agent reports an error, a list is void, or a fit fails.

    Raises:
        UnknownNameError: the family of the task accepts no artifacts.
        FileError: the host's data are damaged.
    """
    answers: Answers = ({}, {})
    status, comments = artifacts.status, ""
    if status == "ok":
        lists = {
            required.name: check_rows(
                artifacts.rows[required.name], read_candidates(data, hidden, required), Tolerance()
            )
            for required in required_lists(task.spec.family)
        }
        comments = "; ".join(f"{name}: {checked.void}" for name, checked in lists.items() if checked.void)
        if not comments:
            with tempfile.TemporaryDirectory(prefix="beampipe-artifacts-") as made:
                _write(Path(made), lists)
                work = _Work(task, artifacts, Session(Path(made), ledger, SessionLimits(_CALLS)))
                try:
                    work.session.call("list_local_root_files_tool")
                    answers = _METHODS[task.spec.family](work)
                except BeampipeError as error:
                    comments = str(error)
        status = "error" if comments else "ok"
    numbers, histograms = answers
    return {
        "task_id": task.id,
        "status": status,
        "answers": {name: stated_answer(*pair) for name, pair in numbers.items()},
        "histograms": histograms,
        **artifacts.texts,
        **({"comments": comments} if comments else {}),
    }


Answers = tuple[dict[str, tuple[float, float]], dict[str, str]]
"""Value and uncertainty by name, and handles of histograms by name."""


def _write(folder: Path, lists: Mapping[str, CheckedList]) -> None:
    """Write lists as data files of a session, with the checksums of the data that they were matched to."""
    import uproot

    files = []
    for name, checked in lists.items():
        path = folder / _FILE.format(name)
        with uproot.recreate(path) as file:
            file.mktree(_TREE, {"mass": checked.masses})
        files.append(
            {
                "name": path.name,
                "role": "artifact",
                # A checksum of the masses, since the file also holds the date.
                "contents_sha256": hashlib.sha256(checked.masses.astype("<f8").tobytes()).hexdigest(),
                "found_in": dict(checked.sources),
                "rows": checked.rows,
                "faults": {kind: number for kind, number in checked.faults.items() if number},
            }
        )
    write_manifest(folder, files, {})


@dataclass(frozen=True)
class _Work:
    """Inputs of a method."""

    task: Task
    artifacts: Artifacts
    session: Session

    def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """The result of a tool."""
        return LocalTools(self.session).call(name, **arguments)

    def load(self, name: str) -> str:
        """Load a list; returns its handle."""
        loaded = self.call(
            "load_kinematics_tool", file_path=_FILE.format(name), tree_name=_TREE, branches={"mass": "mass"}
        )
        return str(loaded["handle"])

    def fit(self, name: str, events: str, fixed: Mapping[str, float] | None = None) -> dict[str, Any]:
        """Fit a list with the model and window that the agent chose."""
        settings = {**self.artifacts.lists[name].fit, "fixed": dict(fixed or {})}
        fitted = self.call("fit_peak_tool", events=events, column="mass", **settings)
        if not fitted["valid"]:
            raise ConfigError(f"fit of {name}: got one that is not valid, expected another model or window")
        return fitted

    def histograms(self, events: str) -> dict[str, str]:
        """The histograms of the task, before the fit."""
        handles = {}
        for name, bins in self.task.spec.histograms.items():
            filled = self.call(
                "histogram_tool", events=events, column="mass", bins=bins.bins, low=bins.low, high=bins.high
            )
            handles[name] = str(filled["handle"])
        return handles


def _peak(work: _Work) -> Answers:
    """Position and yield of a peak."""
    events = work.load("mass")
    histograms, fit = work.histograms(events), work.fit("mass", events)
    results = {"mass": (fit["mu"], fit["mu_error"]), "signal_yield": (fit["signal_yield"], fit["signal_yield_error"])}
    return {name: results[name] for name in work.task.spec.answers if name in results}, histograms


def _width(work: _Work) -> Answers:
    """Natural width, with the resolution taken from the narrow line; the uncertainty includes its error."""
    resolution = work.fit("narrow", work.load("narrow"))
    moved = work.call(
        "calculate_tool",
        expression="sigma + error",
        values={"sigma": resolution["sigma"], "error": resolution["sigma_error"]},
    )
    events = work.load("mass")
    histograms = work.histograms(events)
    line, shifted = (work.fit("mass", events, {"sigma": sigma}) for sigma in (resolution["sigma"], moved["value"]))
    total = work.call(
        "calculate_tool",
        expression="sqrt(statistical**2 + (shifted - width)**2)",
        values={"statistical": line["width_error"], "shifted": shifted["width"], "width": line["width"]},
    )
    return {"width": (line["width"], total["value"])}, histograms


_METHODS: Final[Mapping[str, Callable[[_Work], Answers]]] = {**dict.fromkeys(_REQUIRED, _peak), "width": _width}
"""Family of a task -> function that computes the answers from its lists."""


# Running a program.

DATA: Final = "BEAMPIPE_DATA"
"""Environment variable with the read-only folder of the data."""
REQUEST: Final = "BEAMPIPE_REQUEST"
"""Environment variable with the file of the request, the same JSON that other agents receive."""

_SHOWN: Final = 300
"""Number of characters of a failed program's output that are shown."""


def ask_program(program: Path, prepared: PreparedInstance) -> Ask:
    """Run a program on a copy of the data; it writes `artifacts.json` into its working directory.

    The host computes the answers from the artifacts. If the system supports namespaces, the program has no network.

    Args:
        program: Python file, or any executable.
        prepared: the instance.
    """

    def ask(request: TaskRequest, session: Session) -> Answer:
        family = prepared.task.spec.family
        home = Path(tempfile.mkdtemp(prefix="beampipe-program-"))
        try:
            request = replace(request, prompt=f"{request.prompt}\n\n{instructions(family)}")
            read_only, command, environment = _lay_out(home, program, prepared.data, request)
            limits = SandboxLimits(seconds=prepared.task.spec.time_limit)
            sandbox = Sandbox(limits, read_only=[read_only], network=best_kind() != "namespaces")
            with sandbox.running(command, environment) as confined:
                code = confined.wait()
                if code != 0:
                    why = f"ended for {confined.ended_by}" if confined.ended_by else f"exit status {code}"
                    return Answer(None, f"program: {why}; it said: {confined.output()[-_SHOWN:]}")
                try:
                    given = read_artifacts(confined.work, family)
                    submission = answer_from_artifacts(
                        prepared.task, given, prepared.data, prepared.hidden, session.ledger
                    )
                except Exception as error:  # whatever the artifacts cause is the program's failure
                    if isinstance(error, BeampipeError):
                        raise
                    return Answer(None, f"{type(error).__name__} while the artifacts were read")
            return Answer(submission)
        except BeampipeError as error:
            return Answer(None, str(error))
        finally:
            for folder in (home, *(path for path in home.rglob("*") if path.is_dir())):
                folder.chmod(0o700)
            shutil.rmtree(home, ignore_errors=True)

    return ask


def _lay_out(home: Path, program: Path, data: Path, request: TaskRequest) -> tuple[Path, list[str], dict[str, str]]:
    """The folder with all files that the program may read, its command, and its environment."""
    home.chmod(0o755)
    read_only = home / "given"
    read_only.mkdir(mode=0o755)
    copy = copy_data(data, read_only / "data")
    request_file = read_only / "request.json"
    request_file.write_text(json.dumps(request.to_json()), encoding="utf-8")
    own = read_only / program.name
    shutil.copyfile(program, own)
    own.chmod(0o755)
    request_file.chmod(0o644)
    executable = program.suffix != ".py" and bool(program.stat().st_mode & stat.S_IXUSR)
    command = [str(own)] if executable else [sys.executable, str(own)]
    return read_only, command, {DATA: str(copy), REQUEST: str(request_file)}
