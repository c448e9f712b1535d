"""The artifact track: agents that run their own code get a copy of the data, and submit artifacts instead of numbers.

An artifact is a list of selected events with the mass that the agent computed for each. The host derives the answers:
it looks up each event in the data, recomputes the mass from the objects there, and runs the usual tools
(`beampipe.analysisops.tools`) on the verified masses, so that a ledger records every answer. A list that does not match
the data earns nothing. The agent still decides on the analysis: the events, the objects, the model and the window of
the fit.

Limitation: the check does not detect true events that were selected by their mass to shift or sharpen a peak. Such a
list gives a wrong answer, which is graded as such. Agents could guess event numbers, as they are consecutive, but not a
mass to one in a thousand for each event.

handing    the copy of the data, and the part of the prompt that describes the artifacts
reading    reads untrusted files: bounded sizes, few formats, none of which can execute code
form       the format of a submission: `artifacts.json` and its lists
candidates all masses that can be formed from the objects of an event
checking   compares lists with the data
answering  runs the tools on verified lists, and builds the submission
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.analysisops.artifacts.answering import answer_from_artifacts
    from beampipe.analysisops.artifacts.checking import Checked, Limits, check_artifacts
    from beampipe.analysisops.artifacts.form import Artifacts, ListGiven, ListWanted, lists_of, read_artifacts
    from beampipe.analysisops.artifacts.handing import copy_data, what_to_hand_in

__all__ = [
    "Artifacts",
    "Checked",
    "Limits",
    "ListGiven",
    "ListWanted",
    "answer_from_artifacts",
    "check_artifacts",
    "copy_data",
    "lists_of",
    "read_artifacts",
    "what_to_hand_in",
]

__getattr__, __dir__ = loader(
    __name__,
    {
        "answering": ("answer_from_artifacts",),
        "checking": ("Checked", "Limits", "check_artifacts"),
        "form": ("Artifacts", "ListGiven", "ListWanted", "lists_of", "read_artifacts"),
        "handing": ("copy_data", "what_to_hand_in"),
    },
)
