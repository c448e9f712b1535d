"""Checks of answers against the reference of the same instance; the score is smooth in every number."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Final

import numpy as np

from beampipe.analysisops.contract import HistogramReference, ToolRefusedError
from beampipe.analysisops.grading.submission import Case, Outcome, bell, exported_handle, histogram_of, slope
from beampipe.analysisops.tools.workspaces import fit_workspace
from beampipe.errors import ConfigError, UnknownNameError


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

_SLIP = 0.9
"""Share of the points for a histogram in other bins, or under another name, than those that were asked for."""

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
    their contents are spread evenly within each bin, which costs a tenth, as does the only histogram under another
    name. If the reference itself is flat, or has one
    bin, only an equal shape has a distance of 0.

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
        name = names[0] if len(names) == 1 else self.histogram
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
        shape = _distance(values, total, reference.values, right)
        scale = abs(math.log(total) - math.log(right)) / math.log(self.factor)
        evidence = {"shape_distance": shape, "yield": total, "reference_yield": right}
        reason = f"shape off by {shape:.3f} of an even spread, yield {total / right:.3f} of the reference"
        if slip:
            reason += f"; {slip}"
        full = math.log(self.full) / math.log(self.factor)
        most = _SLIP if slip else 1.0
        return Outcome(most * slope(shape, 0.0, 1.0) * slope(scale, full, 1.0), reason, evidence, slip)


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


def _distance(values: Sequence[float], total: float, reference: Sequence[float], right: float) -> float:
    """Distance of the shapes, in units of that of an even spread."""
    even = 1.0 / len(reference)
    off = math.hypot(*(value / total - other / right for value, other in zip(values, reference, strict=True)))
    of_even_spread = math.hypot(*(even - other / right for other in reference))
    if of_even_spread < 1e-12:
        return 0.0 if off < 1e-12 else 1.0
    return off / of_even_spread


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
