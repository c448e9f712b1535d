"""Checks of submissions: gates, rules that earn points, and those of a judge, by the names that rubrics use.

If a gate fails, the score is 0. Rules compare answers with the reference of the same instance; the score is smooth in
every number. The checks of the public benchmark's rubrics have its names, parameters and dotted paths into the trace.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Final

import numpy as np

from beampipe.analysisops.contract import PROGRAM_RUN, HistogramReference, ToolRefusedError
from beampipe.analysisops.grading.submission import (
    Case,
    Outcome,
    bell,
    exported_handle,
    histogram_of,
    number_of,
    ramp,
    slope,
    value_at,
)
from beampipe.analysisops.tools.workspaces import fit_workspace
from beampipe.errors import ConfigError, UnknownNameError


@dataclass(frozen=True)
class StatusOk:
    """Pass if ``status`` equals ``"ok"``; an agent that reports an error earns nothing."""

    def __call__(self, case: Case) -> Outcome:
        """1 or 0."""
        status = case.submission.content.get("status")
        shown = repr(status)[:60]
        return Outcome(1.0, "the agent finished") if status == "ok" else Outcome(0.0, f"status is {shown}, not 'ok'")


@dataclass(frozen=True)
class CallsMade:
    """Pass if the ledger holds enough successful calls whose results descend from data files, or the run of a program.

    Attributes:
        minimum: number of such calls, at least 1.
        tools: tools that each need such a call.
    """

    minimum: int = 1
    tools: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.minimum < 1:
            raise ConfigError(f"calls_made: got minimum = {self.minimum}, expected at least 1")

    def __call__(self, case: Case) -> Outcome:
        """1 or 0."""
        called = [
            entry.tool for entry in case.entries if entry.result is not None and not entry.error and entry.sources
        ]
        if PROGRAM_RUN in called:
            return Outcome(1.0, "a program was run on the data")
        lacking = [tool for tool in self.tools if tool not in called]
        evidence = {"calls": len(called), "lacking": lacking}
        if len(called) < self.minimum:
            return Outcome(0.0, f"{len(called)} calls gave something of the data, expected {self.minimum}", evidence)
        if lacking:
            return Outcome(0.0, f"never called with success: {', '.join(lacking)}", evidence)
        return Outcome(1.0, f"{len(called)} calls gave something of the data", evidence)


@dataclass(frozen=True)
class Traceable:
    """Pass if every number of ``answers``, uncertainties too, is traceable.

    The labels are those of `beampipe.analysisops.grading.provenance`.

    Attributes:
        answers: names of answers that must be given; others must be traceable if they are given.
    """

    answers: tuple[str, ...] = ()

    def __call__(self, case: Case) -> Outcome:
        """1 or 0."""
        faults = [f"{name}: no finite number" for name in self.answers if case.submission.answer(name)[0] is None]
        faults += [
            f"{name}: {origin['label']}: {origin['reason']}"
            for name, origin in case.provenance.items()
            if origin["label"] != "traceable"
        ]
        # Answers beyond those with a label would be untraced numbers.
        if len(case.submission.section("answers")) > len(case.provenance):
            faults.append(f"{len(case.submission.section('answers'))} answers, expected at most {len(case.provenance)}")
        if faults:
            return Outcome(0.0, "; ".join(sorted(set(faults))[:5]), {"faults": len(faults)})
        return Outcome(1.0, f"{len(case.provenance)} numbers are results of calls")


@dataclass(frozen=True)
class FromLedger:
    """Pass if tools were used on the data, and every number of the trace that the rubric reads is traceable.

    The gate of the public benchmark's rubrics, which otherwise believe what a trace says.

    Attributes:
        paths: dotted paths of the numbers in the trace; at least one of these numbers must be there.
    """

    paths: tuple[str, ...]

    def __call__(self, case: Case) -> Outcome:
        """1 or 0."""
        worked = CallsMade()(case)
        if worked.fraction < 1.0 or not self.paths:
            return worked
        labels = {path: case.provenance[path] for path in self.paths if path in case.provenance}
        faults = [f"{path}: {origin['reason']}" for path, origin in labels.items() if origin["label"] != "traceable"]
        if faults or not labels:
            reason = "; ".join(faults) or f"no number that the rubric reads: {', '.join(self.paths)}"
            return Outcome(0.0, f"not from the tools: {reason}", {"faults": len(faults)})
        return Outcome(1.0, "the numbers are results of calls")


@dataclass(frozen=True)
class Pull:
    """``2 ** -(d / half)**4`` with ``d = max(0, |pull| - full)``.

    Here ``pull = (value - reference) / sqrt(u**2 + (relative * reference)**2)``.

    `u` is the uncertainty of the reference, never the one that the agent quotes: a wide error bar gains nothing. With
    the default `half` a pull of 0.5 earns 0.997 of the points, 1 earns 0.96, 2 one half, and 5 nothing.

    Attributes:
        answer: name of the answer.
        half: pull beyond `full` at which one half of the points are earned, more than 0.
        relative: relative difference allowed between two good analyses of the same data.
        full: pull up to which all points are earned: more than 0 where sound analyses select different events, so that
            they differ by chance.
    """

    answer: str
    half: float = 2.0
    relative: float = 0.0
    full: float = 0.0

    def __post_init__(self) -> None:
        if not self.half > 0.0 or not 0.0 <= self.relative < 1.0 or not self.full >= 0.0:
            raise ConfigError(
                f"pull: got half = {self.half}, relative = {self.relative}, full = {self.full}, expected more than 0,"
                " from 0 to 1, and 0 or more"
            )

    def __call__(self, case: Case) -> Outcome:
        """The fraction; 0 without a finite number."""
        path = f"instance.quantities.{self.answer}"
        reference = case.expected_number(f"{path}.value")
        uncertainty = math.hypot(case.expected_number(f"{path}.uncertainty"), self.relative * reference)
        if not uncertainty > 0.0:
            raise ConfigError(f"reference: got uncertainty {uncertainty} of {self.answer}, expected more than 0")
        value, _ = case.submission.answer(self.answer)
        evidence = {"reference": reference, "reference_uncertainty": uncertainty}
        if value is None:
            slip = f"answers.{self.answer}.value is no finite number"
            return Outcome(0.0, slip, evidence, f"{slip}; give one")
        pull = (value - reference) / uncertainty
        fraction = bell(max(0.0, abs(pull) - self.full), self.half)
        return Outcome(fraction, f"pull {pull:.2f}", {**evidence, "value": value, "pull": pull})


@dataclass(frozen=True)
class Uncertainty:
    """Full points for ``|ln(quoted / reference)| <= ln(full)``, none from ``ln(zero)`` on, a cosine between them.

    Too small and too large cost the same; 0 and negative numbers earn nothing. Scale it by the check of the value: a
    correct uncertainty of a wrong number is worth nothing.

    Attributes:
        answer: name of the answer.
        full: factor up to which all points are earned, at least 1.
        zero: factor from which none are earned, more than `full`.
        relative: whether both are divided by their value: for answers that sound analyses may differ in.
    """

    answer: str
    full: float = 1.15
    zero: float = 3.0
    relative: bool = False

    def __post_init__(self) -> None:
        if not 1.0 <= self.full < self.zero:
            raise ConfigError(f"uncertainty: got full = {self.full}, zero = {self.zero}, expected 1 <= full < zero")

    def __call__(self, case: Case) -> Outcome:
        """The fraction; 0 without a number that is more than 0."""
        reference = case.expected_number(f"instance.quantities.{self.answer}.uncertainty")
        if not reference > 0.0:
            raise ConfigError(f"reference: got uncertainty {reference} of {self.answer}, expected more than 0")
        value, quoted = case.submission.answer(self.answer)
        if quoted is None or not quoted > 0.0:
            reason = f"answers.{self.answer}.uncertainty is no number that is more than 0"
            return Outcome(0.0, reason, {"reference": reference}, f"{reason}; give the standard uncertainty")
        distance = math.log(quoted) - math.log(reference)
        if self.relative and value:
            distance -= math.log(abs(value))
            distance += math.log(abs(case.expected_number(f"instance.quantities.{self.answer}.value")))
        fraction = slope(abs(distance), math.log(self.full), math.log(self.zero))
        evidence = {"quoted": quoted, "reference": reference}
        return Outcome(fraction, f"quoted {quoted:.4g}, expected about {reference:.4g}", evidence)


_SAME_EDGE = 1e-6
"""Edges are equal within this fraction of the width of a bin."""

_LARGEST = 1e250
"""Contents of bins are smaller: sums of larger numbers would overflow."""


@dataclass(frozen=True)
class HistogramL2:
    """``shape * yield``; both fall from 1 to 0 as half a period of a cosine.

    With p = values / sum of values, p* that of the reference and u an even spread over the bins, the distance of the
    shapes is ``|p - p*|_2 / |u - p*|_2``: 1 for an even spread, whatever the shape of the reference. The distance of
    the yields is ``|ln(sum / sum*)| / ln(factor)``. A distance of 1 earns nothing; yields within
    the ratio `full` earn all.

    Finer bins are merged if they include the edges of the reference. Other bins that cover its range are a formal slip:
    their contents are spread evenly within each bin. So is another name of the only histogram, or of the only one whose
    name contains the right one. If the reference itself is flat, or has one bin, only an equal
    shape has a distance of 0.

    Attributes:
        histogram: name of the answer under ``histograms``.
        factor: ratio of the yields, or its inverse, from which on no points are earned.
        full: ratio of the yields, or its inverse, up to which all points are earned: more than 1 where sound selections
            differ in their efficiency.
    """

    histogram: str
    factor: float = 2.0
    full: float = 1.0

    def __post_init__(self) -> None:
        if not 1.0 <= self.full < self.factor:
            raise ConfigError(
                f"histogram_l2: got full = {self.full}, factor = {self.factor}, expected 1 <= full < factor"
            )

    def __call__(self, case: Case) -> Outcome:
        """The fraction; 0 without a histogram in these bins that the tools filled from data."""
        reference = HistogramReference.from_json(case.expected(f"instance.histograms.{self.histogram}"))
        names = list(case.submission.section("histograms"))
        similar = names if len(names) == 1 else [name for name in names if self.histogram in name]
        name = similar[0] if len(similar) == 1 and self.histogram not in names else self.histogram
        submitted, reason = histogram_of(name, case.submission, case.entries, case.evidence)
        low, high, n = reference.edges[0], reference.edges[-1], len(reference.values)
        asked_for = f"{n} from {low:g} to {high:g} that were asked for"
        if submitted is None:
            return Outcome(0.0, reason, slip=f"{reason}; fill bins, the {asked_for}, and answer with the handle")
        slip = "" if name == self.histogram else f"histograms.{name[:40]} is another name; name it {self.histogram}"
        values = _in_bins_of(reference.edges, submitted)
        if values is None:
            reason = f"its bins are others than the {asked_for}"
            slip = f"{reason}; fill those"
            values = _spread_over(reference.edges, submitted)
        if values is None:
            return Outcome(0.0, f"{reason}, and do not cover them", slip=slip)
        total, right = math.fsum(values), math.fsum(reference.values)
        if not right > 0.0:
            raise ConfigError(f"reference: got a total of {right} in {self.histogram}, expected more than 0")
        if not 0.0 < total < math.inf:
            return Outcome(0.0, f"its total is {total:g}, expected more than 0")
        normal = [(value / total, other / right) for value, other in zip(values, reference.values, strict=True)]
        off = math.hypot(*(value - other for value, other in normal))
        of_even_spread = math.hypot(*(1.0 / n - other for _, other in normal))
        shape = off / of_even_spread if of_even_spread >= 1e-12 else float(off >= 1e-12)
        scale = abs(math.log(total) - math.log(right)) / math.log(self.factor)
        evidence = {"shape_distance": shape, "yield": total, "reference_yield": right}
        reason = f"shape off by {shape:.3f} of an even spread, yield {total / right:.3f} of the reference"
        if slip:
            reason += f"; {slip}"
        full = math.log(self.full) / math.log(self.factor)
        return Outcome(slope(shape, 0.0, 1.0) * slope(scale, full, 1.0), reason, evidence, slip)


def _spread_over(edges: Sequence[float], histogram: HistogramReference) -> list[float] | None:
    """Contents in other bins, each bin spread evenly; None if the histogram does not cover them."""
    rising = all(low < high for low, high in pairwise(histogram.edges))
    matching = len(histogram.edges) == len(histogram.values) + 1 > 1
    if not rising or not matching or not _is_bounded(histogram):
        return None
    if histogram.edges[0] > edges[0] or histogram.edges[-1] < edges[-1]:
        return None
    below = np.interp(edges, histogram.edges, [0.0, *accumulate(histogram.values)])
    return [float(content) for content in np.diff(below)]


def _is_bounded(histogram: HistogramReference) -> bool:
    return all(abs(number) < _LARGEST for number in (*histogram.edges, *histogram.values))


def _in_bins_of(edges: Sequence[float], histogram: HistogramReference) -> list[float] | None:
    """Contents merged into coarser bins; None if an edge of these is not an edge of the histogram."""
    if len(histogram.values) < len(edges) - 1 or not _is_bounded(histogram):
        return None
    near = _SAME_EDGE * (edges[1] - edges[0])
    values, position = [], 0
    for edge in edges:
        start = position
        while position < len(histogram.edges) and histogram.edges[position] < edge - near:
            position += 1
        if position == len(histogram.edges) or histogram.edges[position] > edge + near:
            return None
        values.append(math.fsum(histogram.values[start:position]))
    return values[1:]


@dataclass(frozen=True)
class Word:
    """All points if the word equals that of the reference exactly, else none; there are no synonyms.

    A guess is correct with a probability of one over the number of choices. If that is high, scale the check by one
    that cannot be guessed.

    Attributes:
        word: name of the answer under ``words``.
        choices: the possible words, at least two. In YAML, quote yes and no.
    """

    word: str
    choices: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.choices)) < 2:
            raise ConfigError(f"word: got choices = {list(self.choices)}, expected at least two different ones")

    def __call__(self, case: Case) -> Outcome:
        """1 or 0."""
        right = case.expected(f"instance.words.{self.word}")
        if right not in self.choices:
            raise UnknownNameError(f"word {self.word} of the reference", str(right), self.choices)
        word = case.submission.section("words").get(self.word)
        evidence = {"said": word if isinstance(word, str) else None, "reference": right}
        if word not in self.choices:
            slip = f"words.{self.word} is none of {', '.join(self.choices)}"
            return Outcome(0.0, slip, evidence, f"{slip}; give one of them")
        return Outcome(float(word == right), f"{word}, {'right' if word == right else 'wrong'}", evidence)


_FAKES = 0.1, 0.5
"""Shares of fake tracks up to which nothing is lost, and from which on everything is."""


@dataclass(frozen=True)
class Tracks:
    """``min(1, efficiency / goal)`` with the efficiency by double majority; fakes cost points.

    A track matches a particle if more than half of the track's hits come from it, and more than half of the particle's
    hits are on the track. One track of all hits, or one per hit, matches nothing. The points fall as a cosine with the
    share of tracks that match nothing, from all at 0.1 to none at 0.5.

    Attributes:
        artifact: name of the answer under ``artifacts``; the host supplies its labels, one per hit.
        goal: efficiency that earns all points, unless the reference of the instance has a quantity ``efficiency``.
        number: name of an answer with the number of tracks. Another number than that of the labels earns nothing.
    """

    artifact: str
    goal: float = 0.9
    number: str = ""

    def __post_init__(self) -> None:
        if not 0.0 < self.goal <= 1.0:
            raise ConfigError(f"tracks: got goal = {self.goal}, expected more than 0 and at most 1")

    def __call__(self, case: Case) -> Outcome:
        """The fraction; 0 without one label per hit."""
        truth, wanted = case.evidence.particle_id, case.evidence.reconstructable
        if not len(truth) or not len(wanted):
            raise ConfigError("evidence: got no particle_id or no reconstructable particles, expected both")
        labels = case.evidence.labels.get(self.artifact)
        if not isinstance(case.submission.section("artifacts").get(self.artifact), str) or labels is None:
            slip = f"artifacts.{self.artifact} names no labels that the tools exported"
            return Outcome(0.0, slip, slip=f"{slip}; answer with the handle of export_tool")
        if len(labels) != len(truth):
            return Outcome(0.0, f"{len(labels)} labels, expected one for each of {len(truth)} hits")
        n_tracks = len({label for label in labels if label >= 0})
        if self.number and case.submission.answer(self.number)[0] != n_tracks:
            slip = f"answers.{self.number} is not the number of tracks in {self.artifact}, {n_tracks}"
            return Outcome(0.0, slip, slip=f"{slip}; answer with both from one call")
        found_particles, fakes = double_majority(labels, truth)
        efficiency = len(found_particles & set(wanted)) / len(set(wanted))
        best = case.reference.get("instance", {}).get("quantities", {}).get("efficiency")
        goal = float(best["value"]) if best else self.goal
        evidence = {"efficiency": efficiency, "goal": goal, "fakes": fakes, "tracks": n_tracks}
        fraction = min(1.0, efficiency / goal) * slope(fakes / max(n_tracks, 1), *_FAKES)
        return Outcome(fraction, f"efficiency {efficiency:.3f}, {fakes} of {n_tracks} tracks are fakes", evidence)


def double_majority(labels: Sequence[int], particle_id: Sequence[int]) -> tuple[set[int], int]:
    """Particles matched by double majority, and the number of tracks that match none.

    Args:
        labels: track of each hit, negative for none.
        particle_id: particle of each hit, negative for none.
    """
    on_track = Counter(label for label in labels if label >= 0)
    of_particle = Counter(particle for particle in particle_id if particle >= 0)
    shared = Counter(pair for pair in zip(labels, particle_id, strict=True) if pair[0] >= 0 and pair[1] >= 0)
    good = {
        (label, particle)
        for (label, particle), n in shared.items()
        if 2 * n > on_track[label] and 2 * n > of_particle[particle]
    }
    return {particle for _, particle in good}, len(on_track) - len({label for label, _ in good})


_SAME_FIT: Final = 0.02
"""Relative uncertainties of one fit agree within this ratio: submitted ones may be rounded."""


@dataclass(frozen=True)
class WorkspaceFits:
    """One half for a workspace with enough regions and parameters, and all if its fit gives the answer.

    The host fits the workspace, as the ledger holds it, again: the relative uncertainty of the parameter that it
    measures is that of the answer.

    Attributes:
        artifact: name of the answer under ``artifacts``, the handle of a workspace.
        answer: name of the number that the fit gives, a multiple of the parameter that the workspace measures.
        regions: smallest number of its channels.
        free: smallest number of parameters that float.
        constrained: smallest number of constrained parameters, beside the statistics of samples.
    """

    artifact: str
    answer: str
    regions: int = 2
    free: int = 1
    constrained: int = 0

    def __call__(self, case: Case) -> Outcome:
        """0, a half or 1."""
        handle = exported_handle(case.submission.section("artifacts").get(self.artifact), case.entries)
        built = [
            entry.result["workspace"]
            for entry in case.entries
            if entry.result and entry.sources and "workspace" in entry.result and entry.result.get("handle") == handle
        ]
        if not built:
            slip = f"artifacts.{self.artifact} is no handle of a workspace that was built from data"
            return Outcome(0.0, slip, slip=f"{slip}; answer with the handle of build_workspace_tool")
        workspace = built[0]
        modifiers = {
            (modifier["name"], modifier["type"])
            for channel in workspace["channels"]
            for sample in channel["samples"]
            for modifier in sample["modifiers"]
        }
        numbers = {
            "regions": (len({channel["name"] for channel in workspace["channels"]}), self.regions),
            "free": (sum(kind == "normfactor" for _, kind in modifiers), self.free),
            "constrained": (sum(kind == "normsys" for _, kind in modifiers), self.constrained),
        }
        evidence: dict[str, Any] = {name: number for name, (number, _) in numbers.items()}
        lacking = [f"{number} {name}, expected {least}" for name, (number, least) in numbers.items() if number < least]
        if lacking:
            return Outcome(0.0, f"workspace: {'; '.join(lacking)}", evidence)
        value, uncertainty = case.submission.answer(self.answer)
        try:
            fit = fit_workspace(workspace)
        except ToolRefusedError as error:
            return Outcome(0.5, str(error), evidence)
        measured = workspace["measurements"][0]["config"]["poi"]
        relative = fit.errors[measured] / abs(fit.values[measured]) if fit.values[measured] else math.inf
        stated = uncertainty / abs(value) if value and uncertainty else 0.0
        evidence |= {"relative_uncertainty": relative, "stated": stated}
        if abs(stated - relative) > _SAME_FIT * relative:
            return Outcome(0.5, f"its fit does not give {self.answer} with its uncertainty", evidence)
        return Outcome(1.0, f"its fit gives {self.answer}", evidence)


@dataclass(frozen=True)
class MethodFields:
    """Fraction of the fields of ``method`` with a text of several words that is not part of the prompt.

    It does not distinguish good texts from bad ones: give it few points, and scale it by a check of a number.

    Attributes:
        fields: names of the fields.
        words: number of different words that a text needs.
    """

    fields: tuple[str, ...]
    words: int = 3

    def __post_init__(self) -> None:
        if not self.fields or self.words < 1:
            raise ConfigError(f"method_fields: got {self.fields}, words = {self.words}, expected fields and at least 1")

    def __call__(self, case: Case) -> Outcome:
        """The fraction."""
        method = case.submission.section("method")
        prompt = " ".join(case.prompt.split())
        lacking = [name for name in self.fields if not self._is_told(method.get(name), prompt)]
        fraction = 1.0 - len(lacking) / len(self.fields)
        return Outcome(fraction, f"not stated: {', '.join(lacking) or 'nothing'}", {"lacking": lacking})

    def _is_told(self, text: object, prompt: str) -> bool:
        return isinstance(text, str) and len(set(text.split())) >= self.words and " ".join(text.split()) not in prompt


def _check_either(check: str, name: str, value: float | None, path: str | None) -> None:
    if (value is None) == (path is None):
        raise ConfigError(f"{check}: expected either {name} or {name}_path")


def _number(case: Case, value: float | None, path: str | None) -> float:
    """A setting: the number itself, or the number at a dotted path of the reference."""
    return float(value or 0.0) if path is None else case.expected_number(path)


def _unless_missing(missing: list[str], complete: str) -> Outcome:
    if missing:
        return Outcome(0.0, f"missing: {', '.join(missing)}", {"missing": missing})
    return Outcome(1.0, complete)


@dataclass(frozen=True)
class RequiredFields:
    """1 if all fields exist at the top level of the trace and are not null, else 0.

    Attributes:
        required_fields: their names.
    """

    required_fields: tuple[str, ...]

    def __call__(self, case: Case) -> Outcome:
        """1 or 0."""
        missing = [name for name in self.required_fields if case.submission.content.get(name) is None]
        return _unless_missing(missing, "all fields are there")


@dataclass(frozen=True)
class RequiredKeysInDict:
    """``max(0, 1 - missing_penalty_per_key * n_missing / points)``; 0 if the object is not there or has none of them.

    Attributes:
        dict_path: dotted path of the object in the trace.
        required_keys: names of its keys.
        required_keys_path: dotted path of the list of names in the reference; replaces `required_keys`.
        missing_penalty_per_key: points that each missing key costs.
        treat_empty_as_missing: whether an empty text, list or object counts as missing; null always does.
        points: all points.
    """

    dict_path: str
    required_keys: tuple[str, ...] = ()
    required_keys_path: str | None = None
    missing_penalty_per_key: float = 5.0
    treat_empty_as_missing: bool = True
    points: float = 0.0

    def __post_init__(self) -> None:
        if bool(self.required_keys) == (self.required_keys_path is not None):
            raise ConfigError("required_keys_in_dict: expected either required_keys or required_keys_path")
        if not self.missing_penalty_per_key > 0.0:
            raise ConfigError(
                f"required_keys_in_dict: got missing_penalty_per_key = {self.missing_penalty_per_key}, expected more"
                " than 0"
            )

    def __call__(self, case: Case) -> Outcome:
        """The fraction."""
        keys = self.required_keys
        if self.required_keys_path is not None:
            keys = tuple(case.expected(self.required_keys_path))
        submitted = value_at(case.submission.content, self.dict_path)
        if not isinstance(submitted, dict):
            return Outcome(0.0, f"{self.dict_path} is no object")
        missing = [key for key in keys if self._is_missing(submitted.get(key))]
        if len(missing) == len(keys):
            return Outcome(0.0, f"{self.dict_path} has none of {', '.join(keys)}", {"missing": missing})
        lost = self.missing_penalty_per_key * len(missing) / self.points if self.points else float(bool(missing))
        return Outcome(max(0.0, 1.0 - lost), f"missing: {', '.join(missing) or 'nothing'}", {"missing": missing})

    def _is_missing(self, value: object) -> bool:
        if isinstance(value, str):
            value = value.strip()
        return value is None or (self.treat_empty_as_missing and value in ("", [], {}))


@dataclass(frozen=True)
class CheckCutIds:
    """1 if every id is the ``cut_id`` of some object in the list ``cuts``, else 0.

    It does not evaluate the cuts: it checks what an agent claims, not what it did.

    Attributes:
        required_cut_ids: the ids.
    """

    required_cut_ids: tuple[str, ...]

    def __call__(self, case: Case) -> Outcome:
        """1 or 0."""
        cuts = case.submission.content.get("cuts")
        listed = cuts if isinstance(cuts, list) else []
        ids = {cut["cut_id"] for cut in listed if isinstance(cut, dict) and isinstance(cut.get("cut_id"), str)}
        missing = [name for name in self.required_cut_ids if name not in ids]
        return _unless_missing(missing, "all cuts are listed")


@dataclass(frozen=True)
class NumericInRange:
    """1 in the closed range, ``out_of_range_points / points`` outside it, 0 for anything but a finite number.

    Attributes:
        value_path: dotted path of the number in the trace.
        lo: lower end of the range.
        hi: upper end of the range.
        range_path: dotted path of ``[lo, hi]`` in the reference; replaces `lo` and `hi`.
        out_of_range_points: points for a number outside; not more than `points`.
        points: all points.
    """

    value_path: str
    lo: float | None = None
    hi: float | None = None
    range_path: str | None = None
    out_of_range_points: float = 0.0
    points: float = 0.0

    def __post_init__(self) -> None:
        if (self.range_path is None) == (self.lo is None or self.hi is None):
            raise ConfigError("numeric_in_range: expected either lo and hi, or range_path")
        if self.out_of_range_points and not 0.0 <= self.out_of_range_points <= self.points:
            raise ConfigError(
                f"numeric_in_range: got out_of_range_points = {self.out_of_range_points}, expected 0 to {self.points}"
            )

    def __call__(self, case: Case) -> Outcome:
        """The fraction."""
        given = (self.lo, self.hi) if self.range_path is None else case.expected(self.range_path)
        ends = list(map(number_of, given)) if isinstance(given, list | tuple) else []
        if len(ends) != 2 or ends[0] is None or ends[1] is None:
            raise ConfigError(f"reference: got {given!r} for {self.range_path}, expected two numbers")
        low, high, value = ends[0], ends[1], case.number(self.value_path)
        if value is None:
            return Outcome(0.0, f"{self.value_path} is no finite number")
        evidence = {"value": value, "lo": low, "hi": high}
        if low <= value <= high:
            return Outcome(1.0, f"{value:g} is in [{low:g}, {high:g}]", evidence)
        fraction = self.out_of_range_points / self.points if self.points else 0.0
        return Outcome(fraction, f"{value:g} is outside [{low:g}, {high:g}]", evidence)


@dataclass(frozen=True)
class ThresholdGe:
    """1 for a finite number of at least the threshold, else 0.

    Attributes:
        value_path: dotted path of the number in the trace.
        threshold: minimum of the number.
        threshold_path: dotted path of the threshold in the reference; replaces `threshold`.
        missing_points: accepted and ignored: a missing number must not earn more than one below the threshold.
    """

    value_path: str
    threshold: float | None = None
    threshold_path: str | None = None
    missing_points: float = 0.0

    def __post_init__(self) -> None:
        _check_either("threshold_ge", "threshold", self.threshold, self.threshold_path)

    def __call__(self, case: Case) -> Outcome:
        """1 or 0."""
        threshold = _number(case, self.threshold, self.threshold_path)
        value = case.number(self.value_path)
        if value is None:
            return Outcome(0.0, f"{self.value_path} is no finite number")
        evidence = {"value": value, "threshold": threshold}
        return Outcome(float(value >= threshold), f"{value:g}, expected at least {threshold:g}", evidence)


@dataclass(frozen=True)
class TargetSoft:
    """1 within the tolerance, then a straight line that reaches 0 at ``soft_factor * tolerance``.

    The public benchmark's line starts at the target, so that its points drop by a third just outside the tolerance;
    here it starts at the tolerance.

    Attributes:
        value_path: dotted path of the number in the trace.
        target: expected number.
        target_path: dotted path of the target in the reference; replaces `target`.
        tolerance: distance up to which all points are earned, more than 0.
        tolerance_path: dotted path of the tolerance in the reference; replaces `tolerance`.
        soft_factor: multiple of the tolerance from which no points are earned, more than 1.
    """

    value_path: str
    target: float | None = None
    target_path: str | None = None
    tolerance: float | None = None
    tolerance_path: str | None = None
    soft_factor: float = 3.0

    def __post_init__(self) -> None:
        _check_either("target_soft", "target", self.target, self.target_path)
        _check_either("target_soft", "tolerance", self.tolerance, self.tolerance_path)
        if not self.soft_factor > 1.0:
            raise ConfigError(f"target_soft: got soft_factor = {self.soft_factor}, expected more than 1")

    def __call__(self, case: Case) -> Outcome:
        """The fraction; 0 for anything but a finite number."""
        target = _number(case, self.target, self.target_path)
        tolerance = _number(case, self.tolerance, self.tolerance_path)
        if not tolerance > 0.0:
            raise ConfigError(f"target_soft: got a tolerance of {tolerance}, expected more than 0")
        value = case.number(self.value_path)
        if value is None:
            return Outcome(0.0, f"{self.value_path} is no finite number")
        distance = abs(value - target)
        evidence = {"value": value, "target": target, "tolerance": tolerance}
        fraction = ramp(distance, tolerance, self.soft_factor * tolerance)
        return Outcome(fraction, f"{distance:g} from {target:g}, tolerance {tolerance:g}", evidence)


@dataclass(frozen=True)
class LlmReasoning:
    """``(clamped - low) / (high - low)`` of the number in a judge's reply; it counts only in the judge's column.

    The public benchmark divides by 100, independent of the clamp, so that 40 of 40 points earn 16, and multiplies by
    the confidence that the judge claims. Here the clamp defines the scale, and the confidence is only reported.

    Attributes:
        output_key: dotted path of the number in the judge's reply.
        clamp: lowest and highest number of the scale in the judge's prompt.
        confidence_key: dotted path of the judge's confidence, 0 to 1.
    """

    output_key: str
    clamp: tuple[float, ...] = (0.0, 100.0)
    confidence_key: str = "confidence"

    def __post_init__(self) -> None:
        if len(self.clamp) != 2 or not self.clamp[0] < self.clamp[1]:
            raise ConfigError(f"llm_reasoning: got clamp = {list(self.clamp)}, expected two numbers, the lower first")

    def fraction(self, reply: Mapping[str, Any]) -> float | None:
        """The fraction of the points that a reply gives, None if it holds no finite number there."""
        raw = number_of(value_at(reply, self.output_key))
        if raw is None:
            return None
        low, high = self.clamp
        return (min(max(raw, low), high) - low) / (high - low)


_TRACE: Final[dict[str, type[Any]]] = {
    "required_fields": RequiredFields,
    "numeric_in_range": NumericInRange,
    "threshold_ge": ThresholdGe,
    "target_soft": TargetSoft,
    "required_keys_in_dict": RequiredKeysInDict,
    "check_cut_ids": CheckCutIds,
}

RULES: Final[Mapping[str, type[Any]]] = {
    **_TRACE,
    "pull": Pull,
    "uncertainty": Uncertainty,
    "histogram_l2": HistogramL2,
    "word": Word,
    "tracks": Tracks,
    "workspace": WorkspaceFits,
    "method_fields": MethodFields,
}
"""Checks that earn points."""

GATES: Final[Mapping[str, type[Any]]] = {
    **_TRACE,
    "status_ok": StatusOk,
    "traceable": Traceable,
    "calls_made": CallsMade,
}
"""Checks that must pass; checks of a trace may be gates or rules."""

JUDGED: Final[Mapping[str, type[Any]]] = {"llm_reasoning": LlmReasoning}
"""Checks of a judge."""
