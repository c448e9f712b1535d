"""The format of submitted artifacts: `artifacts.json`, and the lists that it names.

    {
      "status": "ok",
      "lists": {"mass": {"file": "selected.csv", "model": "voigt_plus_exponential", "window": [75, 107]}},
      "words": {},
      "method": {"selection": "..."},
      "comments": ""
    }

Each list has the columns ``event``, the number of an event in the data, and ``mass``, the mass computed for it [GeV];
each event is listed once. The other fields of a list are arguments of `fit_peak_tool`; no parameter can be fixed.
`lists_of` returns the lists that a task requires.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from beampipe.analysisops.artifacts.reading import Rows, read_json, read_rows
from beampipe.errors import FileError, UnknownNameError
from beampipe.settings import build

ARTIFACTS: Final = "artifacts.json"
"""Name of the file that names the others."""

_LARGEST: Final = 256 << 10
"""Number of bytes that it may have."""


@dataclass(frozen=True)
class ListWanted:
    """A list that a task requires.

    Attributes:
        name: name of the list.
        role: role of the data files with its events.
        collection: standard prefix of the objects whose systems have the masses.
        what: description of the events.
        number: number of objects in a system.
    """

    name: str
    role: str
    collection: str
    what: str
    number: int = 2


_MUONS: Final = ListWanted("mass", "data", "lep", "selected events of the data, with the mass of the muon pair")

_WANTED: Final[Mapping[str, tuple[ListWanted, ...]]] = {
    "zmumu": (_MUONS,),
    "width": (
        _MUONS,
        ListWanted("narrow", "calibration_mc", "lep", "selected events of the narrow line's sample, in the same way"),
    ),
    "hmumu": (_MUONS,),
    "hyy": (ListWanted("mass", "data", "photon", "selected events of the data, with the mass of the photon pair"),),
    "hbb": (ListWanted("mass", "data", "jet", "selected events of the data, with the mass of the pair of b jets"),),
    "hzz4l": (ListWanted("mass", "data", "lep", "selected events of the data, with the mass of the leptons", 4),),
}
"""Family of a task -> the lists that it wants."""


@dataclass(frozen=True)
class ListGiven:
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
    lists: Mapping[str, ListGiven] = field(default_factory=dict)


_FREE: Final = ("words", "method", "comments")
"""What goes into the submission as it is; grading bounds it."""


@dataclass(frozen=True)
class Artifacts:
    """The artifacts of an agent: bounded and of the right types, but not yet verified.

    Attributes:
        status: ``"ok"``, or any other text by the agent.
        lists: description of each list, by name.
        rows: the lists themselves, by name.
        said: ``words``, ``method`` and ``comments`` of the submission, unchecked.
    """

    status: str
    lists: Mapping[str, ListGiven] = field(default_factory=dict)
    rows: Mapping[str, Rows] = field(default_factory=dict)
    said: Mapping[str, Any] = field(default_factory=dict)


def lists_of(family: str) -> tuple[ListWanted, ...]:
    """The lists that tasks of a family require.

    Raises:
        UnknownNameError: nothing can be handed in for that family.
    """
    if family not in _WANTED:
        raise UnknownNameError("family with artifacts", family, _WANTED)
    return _WANTED[family]


def read_artifacts(folder: Path, family: str) -> Artifacts:
    """Read the artifacts that an agent has left in its folder.

    Args:
        folder: folder that only the agent wrote to.
        family: of the task.

    Raises:
        FileError: a file is missing, too large, or of another format; the message is for the agent.
        ConfigError: artifacts.json has wrong keys or types; the message is for the agent.
        UnknownNameError: nothing can be handed in for that family.
    """
    wanted = sorted(one.name for one in lists_of(family))
    content = read_json(folder, ARTIFACTS, _LARGEST)
    if not isinstance(content, dict):
        raise FileError(f"{ARTIFACTS}: got {type(content).__name__}, expected an object", name=ARTIFACTS)
    said = {name: content.pop(name) for name in _FREE if name in content}
    table = build(_Table, content, ARTIFACTS)
    if table.status != "ok":
        return Artifacts(table.status, said=said)
    if sorted(table.lists) != wanted:
        given = ", ".join(sorted(table.lists))[:80] or "none"
        raise FileError(f"{ARTIFACTS}: lists: got {given}, expected {', '.join(wanted)}", name=ARTIFACTS)
    rows = {name: read_rows(folder, one.file) for name, one in table.lists.items()}
    return Artifacts(table.status, table.lists, rows, said)
