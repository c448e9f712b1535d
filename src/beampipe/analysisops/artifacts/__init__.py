"""The other track: agents that bring their own code get a copy of the data, and hand in artifacts instead of numbers.

An artifact is a list: which events were selected, and the mass that each was found to have. Numbers are the host's: it
looks each event up in the data, computes the mass again from the objects there, and runs the tools of the first track
on what it has found, so that every answer stands in a ledger. A list that does not describe the data earns nothing.
What an agent still decides is the analysis: which events, which of their objects, which model in which window.

What this cannot see: whether true events were picked by their mass, so that a peak stands elsewhere or looks better.
Such a list is as wrong as the answer that comes of it, and graded so. What agents could guess is the numbers of events,
which follow one another; a mass to one in a thousand for each of them they could not.

handing    the copy of the data, and the words that say what to hand in
reading    files of a stranger: bounded, of few formats, none of which can run anything
form       what is handed in: `artifacts.json` and its lists
candidates every mass that the objects of an event can have
checking   lists against the data
answering  the tools on what was found to be right, and the submission
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
