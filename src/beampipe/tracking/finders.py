"""Finders by name, as the command line asks for them: our pipelines and ACTS side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Int64
from numpy import ndarray

from beampipe.errors import UnknownNameError
from beampipe.tracking.acts import ACTS_SETTINGS, ActsTrackFinder
from beampipe.tracking.evaluation.evaluate import Finder
from beampipe.tracking.events import Hits, Tracks

__all__ = ["named_finders"]


@dataclass(frozen=True, eq=False)
class _ActsFound:
    """Labels for display, hit lists for scoring: tracks of ACTS may share hits."""

    tracks: Tracks
    candidates: Sequence[Int64[ndarray, " _"]]


@dataclass(frozen=True)
class _ActsWithLists:
    """ACTS scored by its own hit lists; as one label per hit its shared hits would count against it."""

    finder: ActsTrackFinder

    def find(self, hits: Hits, /) -> _ActsFound:
        found = self.finder.find_batch([hits])[0]
        return _ActsFound(found.tracks(self.finder.settings.measurements_min), found.hit_lists)


def named_finders(
    pipelines: Sequence[str], acts: Sequence[str] = (), device: str = "cpu", threads: int = 1
) -> dict[str, Finder]:
    """The finders asked for, by name.

    Args:
        pipelines: names that `load_pipeline` knows.
        acts: names of `ACTS_SETTINGS`; they appear as ``acts-NAME``.
        device: ``"cpu"`` or ``"cuda"``, for the pipelines.
        threads: for the pipelines; ACTS works on one event with one thread.

    Raises:
        UnknownNameError: no pipeline or setting of that name.
        MissingExtraError: ACTS is asked for and not installed.
    """
    from beampipe.tracking.pipeline import load_pipeline

    finders: dict[str, Finder] = {name: load_pipeline(name, device=device, threads=threads) for name in pipelines}
    for name in acts:
        if name not in ACTS_SETTINGS:
            raise UnknownNameError("ACTS setting", name, ACTS_SETTINGS)
        finders[f"acts-{name}"] = _ActsWithLists(ActsTrackFinder(ACTS_SETTINGS[name]))
    return finders
