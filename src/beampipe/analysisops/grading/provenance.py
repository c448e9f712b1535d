"""The origin of each submitted number: a label beside the score, on which the gate `traceable` depends.

A submission names for each number the call of a tool that it comes from: ``{"value": 91.02, "from": "call_7.mu"}``.

====================== =============================================================================================
label                  the number
====================== =============================================================================================
traceable              a tool computed it from data files, by steps that the ledger holds
computed_from_nothing  a tool returned it, but it depends on no data file, or only describes the files
differs                the call that it names returned another number
no_reference           it names no number that a tool returned
====================== =============================================================================================

The number that counts is that of the call, with all its digits: a submitted value may be rounded to three digits, its
uncertainty to one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from beampipe.analysisops.grading.submission import MISSING, Submission, number_of, value_at
from beampipe.analysisops.ledger import Entry
from beampipe.analysisops.references import number_at
from beampipe.errors import InputError

Label = Literal["traceable", "computed_from_nothing", "differs", "no_reference"]
"""The origin of a number."""

LABELS: Final[tuple[Label, ...]] = ("traceable", "computed_from_nothing", "differs", "no_reference")
"""The labels, from the most to the least trusted."""

_MOST_ANSWERS: Final = 64

_FACTS: Final = frozenset(
    {
        "download_atlas_data_tool",
        "list_local_root_files_tool",
        "inspect_root_schema_tool",
        "load_kinematics_tool",
    }
)
"""Tools whose numbers describe the data. They may enter a calculation; they are not results of an analysis."""


@dataclass(frozen=True)
class Origin:
    """The origin of a number.

    Attributes:
        label: whether it can be traced.
        entry: number of the call that it names, None if there is none.
        tool: name of the tool of that call.
        path: path of the number in its result.
        number: the number there, with all digits.
        reason: why it cannot be traced; empty if it can.
    """

    label: Label
    entry: int | None = None
    tool: str = ""
    path: str = ""
    number: float | None = None
    reason: str = ""


def origin_of(number: float, reference: object, entries: Sequence[Entry], *, fewest_digits: int = 3) -> Origin:
    """The origin of a submitted number by the reference beside it.

    Args:
        number: the number.
        reference: the reference, of any type.
        entries: the ledger of the session.
        fewest_digits: number of significant digits to which it may be rounded.
    """
    try:
        exact, entry, path = number_at(entries, reference)
    except InputError as error:
        return Origin("no_reference", reason="it names no call" if reference in (None, MISSING) else str(error))
    where = (entry.number, entry.tool, path, exact)
    if not _is_rounded(number, exact, fewest_digits):
        return Origin("differs", *where, f"{reference} is {exact:.6g}, not {number:.6g}")
    if entry.tool in _FACTS or not entry.sources:
        return Origin("computed_from_nothing", *where, f"{reference} is no result of an analysis of the data")
    return Origin("traceable", *where)


def _is_rounded(number: float, exact: float, fewest_digits: int) -> bool:
    """Whether a number is another one, rounded or cut off after at least so many significant digits."""
    if number == 0.0 or number == exact:
        return number == exact
    digits = next((n for n in range(fewest_digits, 17) if float(f"{number:.{n}g}") == number), 17)
    last_digit = 10.0 ** (math.floor(math.log10(abs(number))) - digits + 1)
    return abs(number - exact) < last_digit


def label_answers(submission: Submission, entries: Sequence[Entry]) -> dict[str, dict[str, Any]]:
    """For each answer its label and its call, and the same for value and uncertainty separately.

    The label of an answer is the worse one of its value and its uncertainty.
    """
    labels: dict[str, dict[str, Any]] = {}
    for name, answer in list(submission.section("answers").items())[:_MOST_ANSWERS]:
        value, uncertainty = submission.answer(name)
        given = answer if isinstance(answer, Mapping) else {}
        if value is None:
            labels[name] = asdict(Origin("no_reference", reason="no finite number"))
            continue
        parts = {"value": origin_of(value, given.get("from"), entries)}
        if uncertainty is not None:
            parts["uncertainty"] = origin_of(uncertainty, given.get("uncertainty_from"), entries, fewest_digits=1)
        worst = max(parts.values(), key=lambda origin: LABELS.index(origin.label))
        labels[name] = {
            **asdict(parts["value"]),
            "label": worst.label,
            "reason": worst.reason,
            **{part: asdict(origin) for part, origin in parts.items()},
        }
    return labels


def label_trace(submission: Submission, paths: Iterable[str], entries: Sequence[Entry]) -> dict[str, dict[str, Any]]:
    """For each number at a path of a trace of the public benchmark its label and its call.

    The trace names the calls by path: ``"from": {"fit_result.mu": "call_7.mu"}``.
    """
    references = submission.section("from")
    numbers = {path: number_of(value_at(submission.content, path)) for path in paths}
    return {
        path: asdict(origin_of(number, references.get(path), entries))
        for path, number in numbers.items()
        if number is not None
    }


def with_exact_numbers(submission: Submission, labels: Mapping[str, Mapping[str, Any]]) -> Submission:
    """The submission with the numbers of the calls in place of its own, rounded ones.

    Args:
        submission: the submission.
        labels: output of `label_answers` or `label_trace`.
    """
    content: Any = submission.content
    for name, label in labels.items():
        parts = [part for part in ("value", "uncertainty") if part in label]
        origins = [(["answers", name, part], label[part]) for part in parts] or [(name.split("."), label)]
        for path, origin in origins:
            if origin["label"] == "traceable":
                content = _replaced(content, path, origin["number"])
    return Submission(content, submission.is_object, submission.notes)


def _replaced(content: Any, path: Sequence[str], number: float) -> Any:
    """Nested objects with another number at a path."""
    if not path:
        return number
    return {**content, path[0]: _replaced(content[path[0]], path[1:], number)}
