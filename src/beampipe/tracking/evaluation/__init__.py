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
    from beampipe.tracking.evaluation.matching import MIN_TRACK_HITS as MIN_TRACK_HITS
    from beampipe.tracking.evaluation.matching import Candidates as Candidates
    from beampipe.tracking.evaluation.matching import Matches as Matches
    from beampipe.tracking.evaluation.matching import match as match
    from beampipe.tracking.evaluation.report import plot_stages as plot_stages
    from beampipe.tracking.evaluation.report import print_evaluation as print_evaluation
    from beampipe.tracking.evaluation.results import Evaluation as Evaluation
    from beampipe.tracking.evaluation.results import read_evaluation as read_evaluation
    from beampipe.tracking.evaluation.results import write_evaluation as write_evaluation
    from beampipe.tracking.evaluation.scoring import compare as compare
    from beampipe.tracking.evaluation.scoring import evaluate as evaluate
    from beampipe.tracking.truth import DISPLACED as DISPLACED
    from beampipe.tracking.truth import HEADLINE as HEADLINE
    from beampipe.tracking.truth import Selection as Selection
    from beampipe.tracking.truth import contributions as contributions
    from beampipe.tracking.truth import select_particles as select_particles

__getattr__, __dir__, __all__ = loader(__name__)
