"""Where the time of a chunk goes: unpacking its baskets, which is the limit, and everything else.

    python benchmarks/calibration/decompression.py [--repeats 7]

Files of toy events with one weight in use and with 101, one after the other in one process. "unpacking" is the same
library and the same memory as in the pass, for the whole baskets that the pass needs and nothing else; the pass itself
leaves out where lists begin in all columns but one. "chunk" is the pass over the file, from its path to histograms;
"commit" writes them; "inspection" and "digest" are what the first run over a file does before. All in processor time
per event, medians of the repeats; files are in the disk cache.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share
from recording import Figure, begin, write_result
from toys import Toy, make_toys

from beampipe.calibration.config import Bootstrap, Configuration, DijetSelection, Energy, Regions, Tagger
from beampipe.calibration.events.dijets import WeightUnits
from beampipe.calibration.events.fill import FillSettings, fill_file
from beampipe.calibration.events.histograms import write_filled
from beampipe.calibration.events.select import SelectSettings
from beampipe.calibration.layout import BEAMPIPE
from beampipe.calibration.ntuple.branches import unpack_basket
from beampipe.calibration.ntuple.columns import open_source
from beampipe.calibration.ntuple.inspection import inspect_file
from beampipe.calibration.ntuple.plain_root import Buffer
from beampipe.workflow import content_digest

NEEDED: Final = ("run", "event", "trigger", "jet_pt", "jet_eta", "jet_clean", "jet_n_trk", "jet_label", "weight")
SAMPLES: Final = (
    ("1 weight", Toy("nominal", 6_480_000, 36, n_weights=5), 1),
    ("101 weights", Toy("weighted", 1_200_000, 12, n_weights=101, seed=3), 101),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--files", type=int, default=4, help="number of files of each sample")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/calibration_decompression.json"))
    options = parser.parse_args()
    begun = begin("unpacking and the rest")
    figures = []
    for name, toy, n_weights in SAMPLES:
        times = _times(make_toys(toy)[0][: options.files], n_weights, options.repeats)
        unpacking = times.pop("unpacking")
        figures += [
            Figure(f"{name}: unpacking", unpacking, "ns an event"),
            Figure(f"{name}: chunk over unpacking", times["chunk"] / unpacking),
            Figure(f"{name}: all over unpacking", sum(times.values()) / unpacking),
        ]
    write_result(options.output, begun, figures)


def _times(paths: list[Path], n_weights: int, repeats: int) -> dict[str, float]:
    """Nanoseconds per event of each step."""
    edges = Configuration.__dataclass_fields__["pt_edges"].default
    names = inspect_file(paths[0]).weight_names[:n_weights]
    n_events = {path: inspect_file(path).n_events for path in paths}
    units = WeightUnits()
    select = SelectSettings(DijetSelection(), Regions(), units, True, True, tuple(range(n_weights)))
    fill = FillSettings(
        pt_edges=edges,
        taggers=(Tagger(),),
        selection=DijetSelection(),
        energy=Energy(0, 0),
        units=units,
        labelled=True,
        weight_names=names,
        kinematics=(),
        bootstrap=Bootstrap(0, 0),
        dataset="nominal",
    )
    rooms = {name: Buffer() for name in NEEDED}
    made: list[Any] = []

    def chunk(path: Path) -> None:
        made[:] = [fill_file(path, 0, n_events[path], select, fill)]
        if made[0] is None:
            raise SystemExit(f"{path}: was not read in one pass")

    with TemporaryDirectory() as folder:
        steps: dict[str, Callable[[Path], object]] = {
            "unpacking": lambda path: _unpack(path, n_events[path], rooms),
            "chunk": chunk,
            "commit": lambda path: write_filled(made[0].filled, Path(folder) / "filled.npz"),
            "inspection": inspect_file,
            "digest": content_digest,
        }
        taken: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(repeats + 1):
            spent = dict.fromkeys(steps, 0.0)
            for path in paths:
                for name, step in steps.items():
                    if name == "unpacking":
                        spent[name] += float(step(path))  # type: ignore[arg-type]
                        continue
                    began = process_time()
                    step(path)
                    spent[name] += process_time() - began
            for name, seconds in spent.items():
                taken[name].append(seconds / sum(n_events.values()) * 1e9)
    return {name: median(values[1:]) for name, values in taken.items()}


def _unpack(path: Path, n_events: int, rooms: dict[str, Buffer]) -> float:
    """Seconds that it takes to unpack what a pass needs of an open file."""
    with open_source(path, BEAMPIPE, 0, n_events) as source:
        branches = {name: source.tree[name] for name in NEEDED}
        counts = {name: branch.num_baskets for name, branch in branches.items()}
        began = process_time()
        for name, branch in branches.items():
            for number in range(counts[name]):
                unpack_basket(branch, number, rooms[name])
        return process_time() - began


if __name__ == "__main__":
    main()
