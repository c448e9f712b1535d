"""What each part of the network chain adds: the same events, parts left out in turn.

    python benchmarks/ablation.py [FILES] [--weights-folder FOLDER] [--max-events 2]

====================  ===================================================================================
windows, chi2         learned windows and best paths by chi2: no network at all (`module_map`)
no interaction net    embedding, neighbours and filter, then best paths by chi2 alone
no filter             the same without the filter network
no message passing    the interaction network without steps: each edge is judged by itself
no pair features      the interaction network sees no triplets
full, short           the full network, trained as long as the two variants above
full                  the shipped weights
====================  ===================================================================================

The variants need weights of their own (`beampipe tracking train --recipe no_message_passing` and so on); what is not
there is left out with a line. Networks are followed by components and by best paths.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from harness import (
    CONSOLE,
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
from beampipe.tracking import pipeline as shipped
from beampipe.tracking import stages
from beampipe.tracking.evaluation.checks import TruthFinder
from beampipe.tracking.evaluation.evaluate import Finder, evaluate
from beampipe.tracking.evaluation.results import evaluation_body
from beampipe.tracking.networks import Networks, load_networks
from beampipe.tracking.pipeline import MIN_HITS, Pipeline, load_pipeline, weight_file
from beampipe.tracking.windows import Windows, load_windows

VARIANTS: Final = {
    "no message passing": "no_message_passing",
    "no pair features": "no_pair_features",
    "full, short": "full_short",
}
FOLDERS: Final = (Path(shipped.__file__).parent / "weights" / "ablation", Path("runs/training"))
CHI2_PENALTY: Final = 0.5
NETWORK_PENALTY: Final = 1.0


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


def variants(options: argparse.Namespace) -> dict[str, Finder]:
    """All that can be built from the weights that are there."""
    threads = options.threads
    out: dict[str, Finder] = {"windows, chi2": load_pipeline("module_map", threads=threads)}
    windows = load_windows(weight_file("exatrkx", "module_map"))
    try:
        networks = load_networks(weight_file("exatrkx", "exatrkx"))
    except FileError as error:
        CONSOLE.print(f"skipped: all variants with networks: {error}", markup=False)
        return out
    out["no filter"] = chi2_only(networks, windows, threads, use_filter=False)
    out["no interaction net"] = chi2_only(networks, windows, threads, use_filter=True)
    for name, stem in VARIANTS.items():
        paths = [folder / f"{stem}.safetensors" for folder in options.weights_folder]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            CONSOLE.print(f"skipped: {name}: {stem}.safetensors is in none of {[str(p.parent) for p in paths]}")
            continue
        out |= with_network(name, load_networks(path), windows, threads)
    out |= with_network("full", networks, windows, threads)
    out["acts:fast"] = StoredActs("fast", options.cache, options.fresh)
    return out


def chi2_only(networks: Networks, windows: Windows, threads: int, *, use_filter: bool) -> Pipeline:
    """Learned neighbours, then best paths by chi2: no edge has a score."""
    line = first_stages(networks, threads, networks.config.filter_cut if use_filter else None)
    line += [
        ("filtering", stages.PairEdges(windows, features=True, threads=threads)),
        ("labelling", stages.WalkThrough(windows, CHI2_PENALTY, MIN_HITS, 0.5, threads)),
    ]
    return Pipeline("chi2 only", tuple(line), bytes_per_hit=2000, bytes_per_hit2=0.02)


def with_network(name: str, networks: Networks, windows: Windows, threads: int) -> dict[str, Finder]:
    """The chain with its interaction network, by components and by best paths."""
    assert networks.gnn is not None
    cut = networks.config.score_cut
    line = first_stages(networks, threads, networks.config.filter_cut)
    line += [
        ("filtering", stages.PairEdges(windows, features=True, threads=threads)),
        ("gnn", stages.ScoreEdges(networks.gnn, threads)),
    ]
    labels: dict[str, stages.Stage] = {
        name: stages.ConnectComponents(cut, MIN_HITS),
        f"{name}, walk": stages.WalkThrough(windows, NETWORK_PENALTY, MIN_HITS, cut, threads),
    }
    return {
        what: Pipeline(what, (*line, ("labelling", label)), bytes_per_hit=2000, bytes_per_hit2=0.02)
        for what, label in labels.items()
    }


def first_stages(networks: Networks, threads: int, filter_cut: float | None) -> list[tuple[str, stages.Stage]]:
    """Embedding, neighbours and, with a cut, the filter."""
    assert networks.embedding is not None
    assert networks.filter is not None
    cuts = networks.config
    neighbours = stages.FindNeighbours(cuts.radius, cuts.max_neighbours, cuts.kappa_max, cuts.z0_max, threads)
    line: list[tuple[str, stages.Stage]] = [
        ("embedding", stages.EmbedHits(networks.embedding, threads)),
        ("building", neighbours),
    ]
    if filter_cut is not None:
        line.append(("filtering", stages.FilterEdges(networks.filter, filter_cut, threads)))
    return line


if __name__ == "__main__":
    main()
