"""How good track finders are: tracks against truth, efficiency, fakes, duplicates, times.

from beampipe.tracking.evaluation import compare, evaluate

compare(tracks, event)                    # one event
result = evaluate(finder, events)         # many, also with several finders
result.plot("pt", "eta", "vertex_z")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.tracking.evaluation.matching import MIN_TRACK_HITS, Candidates, Matches, match
    from beampipe.tracking.evaluation.report import plot_stages, print_evaluation
    from beampipe.tracking.evaluation.results import Evaluation, read_evaluation, write_evaluation
    from beampipe.tracking.evaluation.scoring import compare, evaluate
    from beampipe.tracking.truth import DISPLACED, HEADLINE, Selection, contributions, select_particles

__all__ = [
    "DISPLACED",
    "HEADLINE",
    "MIN_TRACK_HITS",
    "Candidates",
    "Evaluation",
    "Matches",
    "Selection",
    "compare",
    "contributions",
    "evaluate",
    "match",
    "plot_stages",
    "print_evaluation",
    "read_evaluation",
    "select_particles",
    "write_evaluation",
]

__getattr__, __dir__ = loader(
    __name__,
    {
        "beampipe.tracking.truth": ["DISPLACED", "HEADLINE", "Selection", "contributions", "select_particles"],
        "matching": ["Candidates", "MIN_TRACK_HITS", "Matches", "match"],
        "report": ["plot_stages", "print_evaluation"],
        "results": ["Evaluation", "read_evaluation", "write_evaluation"],
        "scoring": ["compare", "evaluate"],
    },
)
