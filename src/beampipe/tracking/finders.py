"""Finders by name, as the command line asks for them: our pipelines and ACTS side by side."""

from __future__ import annotations

from collections.abc import Sequence

from beampipe.errors import UnknownNameError
from beampipe.tracking.acts import ACTS_SETTINGS, ActsCandidateFinder, ActsTrackFinder
from beampipe.tracking.evaluation.evaluate import Finder

__all__ = ["named_finders"]


def named_finders(
    pipelines: Sequence[str], acts: Sequence[str] = (), device: str = "cpu", threads: int = 1
) -> dict[str, Finder]:
    """The finders asked for, by name.

    ACTS is scored by its own hit lists: as one label per hit, the hits that its tracks share would count against it.

    Args:
        pipelines: names that `load_pipeline` knows.
        acts: names of `ACTS_SETTINGS`; they appear as ``acts-NAME``.
        device: ``"cpu"`` or ``"cuda"``, for the pipelines.
        threads: for the pipelines; ACTS works on one event with one thread.

    Raises:
        UnknownNameError: no pipeline or setting of that name.
        MissingExtraError: ACTS is asked for and not installed.
    """
    finders: dict[str, Finder] = {}
    if pipelines:
        from beampipe.tracking.pipeline import load_pipeline

        finders |= {name: load_pipeline(name, device=device, threads=threads) for name in pipelines}
    for name in acts:
        if name not in ACTS_SETTINGS:
            raise UnknownNameError("ACTS setting", name, ACTS_SETTINGS)
        finders[f"acts-{name}"] = ActsCandidateFinder(ActsTrackFinder(ACTS_SETTINGS[name]))
    return finders
