"""What each part of the network chain adds: the same events, parts left out in turn.

    python benchmarks/ablation.py [FILES] [--weights-folder FOLDER] [--max-events 2]

====================  ===================================================================================
windows, chi2         learned windows and best paths by chi2: no network at all (`module_map`)
no interaction net    embedding, neighbours and filter, then best paths by chi2 alone
no filter             the same without the filter network
no message passing    the interaction network without steps: each edge is judged by itself
one step              one step of message passing
no pair features      the interaction network sees no triplets
full, short           the full network, trained as long as the two variants above
full                  the shipped weights
====================  ===================================================================================

The variants need weights of their own (`python tools/train_part.py ablation_no_message_passing ...` and so on); what is
not there is left out with a line. Networks are followed by components and by best paths.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

from diagnostics import TruthFinder
from harness import (
    CONSOLE,
    FAST_ACTS,
    Finders,
    StoredActs,
    existing,
    figures,
    figures_table,
    options_of,
    print_header,
    report,
    selection_of,
)
from samples import DEGRADATIONS, degraded, sample_name, take

from beampipe.errors import FileError
from beampipe.tracking import load_pipeline, stages
from beampipe.tracking.acts import ACTS_FAST
from beampipe.tracking.evaluation.results import evaluation_body
from beampipe.tracking.evaluation.scoring import evaluate
from beampipe.tracking.finder import TrackFinder
from beampipe.tracking.kernels.weights import Networks, load_networks
from beampipe.tracking.loading import DEFAULT_MODEL_FOLDER
from beampipe.tracking.pipeline import Pipeline

VARIANTS: Final = {
    "no message passing": "ablation_no_message_passing",
    "no pair features": "ablation_no_pair_features",
    "one step": "ablation_one_step",
    "full, short": "ablation_full",
}
FOLDERS: Final = (DEFAULT_MODEL_FOLDER / "ablation", Path("runs/training"))


def main() -> None:
    parser = options_of("ablation", __doc__, samples=["test200"], pipelines=[], max_events=6)
    parser.add_argument("--degradation", nargs="+", choices=DEGRADATIONS, default=["default", "none"])
    parser.add_argument("--weights-folder", type=Path, nargs="+", default=FOLDERS, help="where weights of variants are")
    options = parser.parse_args()
    begun = print_header("ablation", options)
    finders = Finders(variants(options), TruthFinder())
    samples = []
    for path in existing(options):
        for degradation in options.degradation:
            levels = DEGRADATIONS[degradation]
            evaluation = evaluate(
                finders.by_name,
                degraded(take(path, options.max_events), levels, options.seed),
                sample=sample_name(path, levels, options.seed),
                selection=selection_of(options),
                threads=options.threads,
            )
            rows = figures(evaluation)
            title = f"{evaluation.sample}: {evaluation.n_events} events, median {rows[0]['hits']:.0f} hits"
            CONSOLE.print(figures_table(title, rows, evaluation.definition))
            samples.append(
                {
                    "file": path,
                    "degradation": degradation,
                    "definition": evaluation.definition,
                    "figures": rows,
                    "evaluation": evaluation_body(evaluation),
                }
            )
            report(options, begun, {"samples": samples})


def variants(options: argparse.Namespace) -> dict[str, TrackFinder]:
    """All that can be built from the weights that are there."""
    threads = options.threads
    by_chi2 = load_pipeline("module_map", threads=threads)
    out: dict[str, TrackFinder] = {"windows, chi2": by_chi2}
    try:
        full = {
            "full": load_pipeline("exatrkx", threads=threads),
            "full, walk": load_pipeline("exatrkx_walk", threads=threads),
        }
    except FileError as error:
        CONSOLE.print(f"skipped: all variants with networks: {error}", markup=False)
        return out
    path_by_chi2 = next(stage for _, stage in by_chi2.stages if isinstance(stage, stages.WalkByChi2))
    no_net = without(full["full, walk"], stages.ScoreEdges)
    no_net = no_net.with_stages((*no_net.stages[:-1], (no_net.stages[-1][0], path_by_chi2)))
    out["no filter"] = without(no_net, stages.FilterEdges)
    out["no interaction net"] = no_net
    for name, stem in VARIANTS.items():
        paths = [folder / f"{stem}.safetensors" for folder in options.weights_folder]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            folders = ", ".join(str(path.parent) for path in paths)
            CONSOLE.print(f"skipped: {name}: {stem}.safetensors is in none of {folders}", markup=False)
            continue
        networks = load_networks(path)
        out |= {whole.replace("full", name, 1): with_weights(full[whole], networks) for whole in full}
    out |= full
    out[FAST_ACTS] = StoredActs(ACTS_FAST, options.cache, options.fresh)
    return out


def without(pipeline: Pipeline, kind: type) -> Pipeline:
    """The pipeline without its stages of one kind."""
    left = tuple((name, stage) for name, stage in pipeline.stages if not isinstance(stage, kind))
    assert len(left) < len(pipeline.stages), f"{pipeline.name} has no {kind.__name__}"
    return pipeline.with_stages(left)


def with_weights(pipeline: Pipeline, networks: Networks) -> Pipeline:
    """The pipeline with other networks and the cuts that belong to them."""
    return pipeline.with_stages(tuple((name, _with_weights(stage, networks)) for name, stage in pipeline.stages))


def _with_weights(stage: Any, networks: Networks) -> Any:
    cuts = networks.config
    if isinstance(stage, stages.EmbedHits):
        return replace(stage, network=networks.embedding)
    if isinstance(stage, stages.FindNeighbours):
        return replace(
            stage,
            radius=cuts.radius,
            max_neighbours=cuts.max_neighbours,
            kappa_max=cuts.kappa_max,
            z0_max=cuts.z0_max,
        )
    if isinstance(stage, stages.FilterEdges):
        return replace(stage, network=networks.filter, cut=cuts.filter_cut)
    if isinstance(stage, stages.ScoreEdges):
        return replace(stage, network=networks.gnn)
    if isinstance(stage, stages.ConnectComponents | stages.WalkByScore):
        return replace(stage, score_cut=cuts.score_cut)
    return stage


if __name__ == "__main__":
    main()
