"""Checks a line of stages when it is built, so that none misses an array when it runs."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from beampipe.errors import ConfigError
from beampipe.tracking.pipelines.stages import OF_HITS, STAGE_KINDS, Stage

__all__ = ["GIVEN", "RESULT", "Step", "checked_steps"]

GIVEN: Final = ("position", "offsets")
"""The arrays that a pipeline hands to its first stage."""

RESULT: Final = ("edge_index", "track_id")
"""The arrays that a pipeline reads at the end."""

COUNTED: Final = ("triplets",)
"""The arrays that a pipeline counts at the end where they are there."""


@dataclass(frozen=True, eq=False)
class Step:
    """A stage at its place in a line.

    Attributes:
        name: name under which the time of the stage is added up.
        stage: the stage.
        needs: names of the arrays that the stage is called with.
        makes: names of the arrays that the stage returns.
        forgets: names of the arrays that nobody reads after the stage.
    """

    name: str
    stage: Stage
    needs: tuple[str, ...]
    makes: tuple[str, ...]
    forgets: tuple[str, ...]


def checked_steps(pipeline: str, line: Sequence[tuple[str, Stage]]) -> tuple[Step, ...]:
    """The steps of a line in which each stage finds what it needs.

    Args:
        pipeline: name of the pipeline, for messages.
        line: name and stage of each step.

    Raises:
        ConfigError: a stage does not say what it needs and makes, needs what no earlier stage makes or what belongs
            to edges that have changed since; or no stage makes the tracks.
    """
    for _, stage in line:
        _check_declaration(pipeline, stage)
    read = [{*RESULT, *COUNTED}]  # what is read after each stage, from the last one back
    for _, stage in reversed(line):
        read.append(read[-1] - set(stage.makes) | set(stage.needs))
    there, steps = set(GIVEN), []
    for place, (label, stage) in enumerate(line):
        for name in stage.needs:
            if name not in there:
                raise ConfigError(_missing(pipeline, line, place, name))
        made = set(stage.makes)
        valid = (there & OF_HITS if "edge_index" in made else there) | made
        kept = valid & read[len(line) - 1 - place]
        forgets = tuple(sorted((there | made) - kept))
        steps.append(Step(label, stage, tuple(stage.needs), tuple(stage.makes), forgets))
        there = kept
    for name in RESULT:
        if name not in there:
            stages = ", ".join(type(stage).__name__ for _, stage in line) or "no stages"
            raise ConfigError(f"pipeline {pipeline}: got {stages}, expected `{name}` at the end; add {_makers(name)}")
    return tuple(steps)


def _check_declaration(pipeline: str, stage: Stage) -> None:
    """Refuse a stage that does not say what it needs and makes, or says it wrongly."""
    kind = type(stage).__name__
    if not isinstance(stage, Stage):
        raise ConfigError(
            f"pipeline {pipeline}: got a stage {kind} without `needs` and `makes`, expected the names of its arrays"
        )
    parameters = inspect.signature(stage).parameters.values()
    takes = {parameter.name for parameter in parameters}
    if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters) and takes != set(stage.needs):
        raise ConfigError(
            f"pipeline {pipeline}: got stage {kind}, which needs {', '.join(stage.needs)} and is called with"
            f" {', '.join(sorted(takes))}; name its parameters as in `needs`"
        )


def _missing(pipeline: str, line: Sequence[tuple[str, Stage]], place: int, name: str) -> str:
    """Why the stage at that place cannot have the array of that name, and what to do."""
    kind = type(line[place][1]).__name__
    where = f"after {type(line[place - 1][1]).__name__}" if place else "first"
    got = f"pipeline {pipeline}: got stage {kind} {where}, it needs `{name}`, which"
    earlier = [type(stage).__name__ for _, stage in line[:place] if name in stage.makes]
    if earlier:
        changed = next(type(s).__name__ for _, s in reversed(line[:place]) if "edge_index" in s.makes)
        return f"{got} {earlier[-1]} made for edges that {changed} has changed since; put it before {changed}"
    return f"{got} no earlier stage makes; put {_makers(name)} before it"


def _makers(name: str) -> str:
    """The stages of ours that make an array, in words."""
    return " or ".join(kind.__name__ for kind in STAGE_KINDS if name in kind.makes) or "one that makes it"
