"""The files of an assessment as an analysis sees them: by role, with columns by their standard names and in GeV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from beampipe.analysisops.agents.agent import Tools
from beampipe.analysisops.agents.analyses.layout import ENERGIES, Layout, recognise
from beampipe.analysisops.contract import TaskRequest
from beampipe.errors import InputError

__all__ = ["Binning", "Found", "Opened", "open_files"]


@dataclass(frozen=True)
class Binning:
    """A histogram as a task asks for it.

    Attributes:
        bins: number of bins.
        low: lower edge of the first.
        high: upper edge of the last.
    """

    bins: int
    low: float
    high: float


@dataclass(frozen=True)
class Found:
    """What an analysis found; numbers are those that tools gave.

    Attributes:
        answers: value and uncertainty by name.
        words: answers that are words, by name.
        histograms: handles of histograms, by name.
        artifacts: handles of other things, by name.
        method: what was done, in words.
    """

    answers: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    histograms: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, str] = field(default_factory=dict)
    method: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Opened:
    """Tools, and what is known of the files after a look at them.

    Attributes:
        tools: the tools of the assessment.
        layout: names and unit of the files; None if none holds a tree.
        files: role -> what is listed of each file of it.
        histograms: histograms that the task asks for, by name.
        public: what anybody may know of the data, such as ``luminosity_fb``.
    """

    tools: Tools
    layout: Layout | None
    files: Mapping[str, tuple[Mapping[str, Any], ...]]
    histograms: Mapping[str, Binning] = field(default_factory=dict)
    public: Mapping[str, Any] = field(default_factory=dict)

    def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """What a tool gives."""
        return self.tools.call(name, **arguments)

    def made(self, name: str, /, **arguments: Any) -> str:
        """The handle of what a tool makes."""
        return str(self.call(name, **arguments)["handle"])

    def names(self, role: str) -> list[str]:
        """The files of a role.

        Raises:
            InputError: there is none.
        """
        if role not in self.files:
            raise InputError(f"files: got none of role {role}, expected one; there are {', '.join(sorted(self.files))}")
        return [str(file["name"]) for file in self.files[role]]

    def load(self, role: str, columns: Sequence[str], *, file: int | None = None) -> str:
        """Events of the files of a role, with columns by their standard names; energies in GeV.

        Args:
            role: role of the files.
            columns: standard names, such as ``"lep_pt"``.
            file: place of the file among those of the role; None for all of them.
        """
        assert self.layout is not None, "no tree"
        layout, names = self.layout, self.names(role)
        events = self.made(
            "load_kinematics_tool",
            file_path=names if file is None else names[file],
            tree_name=layout.tree,
            branches={column: layout.branch(column) for column in columns},
        )
        if layout.energy != 1.0:
            for column in columns:
                if column.rpartition("_")[2] in ENERGIES or column in ENERGIES:
                    events = self.derive(events, column, f"{column} * {layout.energy!r}")
        return events

    def derive(self, events: str, name: str, expression: str) -> str:
        """Events with one more column, or another one in its place."""
        return self.made("derive_tool", events=events, name=name, expression=expression)

    def select(self, events: str, expression: str) -> str:
        """The events that fulfil a condition."""
        return self.made("select_tool", events=events, expression=expression)

    def thin(self, events: str, collection: str, fields: Sequence[str], expression: str) -> str:
        """Events whose objects fulfil a condition."""
        columns = [f"{collection}_{name}" for name in fields]
        return self.made("select_objects_tool", events=events, columns=columns, expression=expression)

    def fill(self, events: str, column: str, binning: Binning, weight: str | None = None) -> dict[str, Any]:
        """A histogram, with its handle and contents."""
        return self.call(
            "histogram_tool",
            events=events,
            column=column,
            bins=binning.bins,
            low=binning.low,
            high=binning.high,
            weight=weight,
        )

    def answer(self, name: str, events: str, column: str, weight: str | None = None) -> dict[str, str]:
        """The histogram that the task asks for under a name, as `Found.histograms`; empty if it asks for none."""
        if name not in self.histograms:
            return {}
        return {name: str(self.fill(events, column, self.histograms[name], weight)["handle"])}


def open_files(request: TaskRequest, tools: Tools, layout: Layout | None = None) -> Opened:
    """Look at the files of an assessment.

    Args:
        request: the task.
        tools: its tools.
        layout: names and unit of the files, for whoever knows them; None to find out.
    """
    listed = tools.call("list_local_root_files_tool")
    files: dict[str, tuple[Mapping[str, Any], ...]] = {}
    for file in listed["files"]:
        role = str(file.get("role") or "data")
        files[role] = (*files.get(role, ()), file)
    trees = [file for role in sorted(files, key=lambda role: role != "data") for file in files[role]]
    root = next((file for file in trees if str(file["name"]).endswith(".root")), None)
    if root is not None and layout is None:
        layout = recognise(tools.call("inspect_root_schema_tool", file_path=root["name"]))
    histograms = {
        name: Binning(int(one["bins"]), float(one["low"]), float(one["high"]))
        for name, one in (request.data.get("histograms") or {}).items()
    }
    public = {**request.data, **(listed.get("public") or {})}
    return Opened(tools, layout, files, histograms, public)
