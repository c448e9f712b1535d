"""The same bytes for any number of workers, size of chunks, order of files and executor:
`python benchmarks/calibration/identity.py`
"""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from typing import NamedTuple

import beampipe.terminal.scripts  # noqa: F401

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share
from recording import CONSOLE, Figure, begin, parser_of, write_result
from toys import KEPT, Toy, make_toys

from beampipe.calibration.config import Configuration, InputSample, Systematic
from beampipe.calibration.run import run_calibration
from beampipe.calibration.taggers import Tagger
from beampipe.calibration.tasks.runtime import RunSettings


class Way(NamedTuple):
    """A way to divide the work.

    Attributes:
        executor: where tasks run; see `RunSettings`.
        workers: number of tasks that run at once.
        chunk: number of events of a chunk.
    """

    executor: str
    workers: int
    chunk: int


WAYS = (
    Way("processes", 1, 100_000),
    Way("processes", 2, 100_000),
    Way("processes", 3, 100_000),
    Way("processes", 8, 100_000),
    Way("processes", 2, 7_000),
    Way("processes", 2, 33_333),
    Way("inline", 1, 250_000),
    Way("dask", 2, 100_000),
    Way("dask", 3, 20_000),
)


def renamed(files: tuple[Path, ...], folder: Path, seed: int) -> tuple[Path, ...]:
    """The same files under other names, which put them in another order."""
    rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    order = list(range(len(files)))
    random.Random(seed).shuffle(order)
    out = []
    for place, path in zip(order, files, strict=True):
        link = folder / f"{place:03d}.root"
        link.symlink_to(path.absolute())
        out.append(link)
    return tuple(sorted(out))


def main() -> None:
    parser = parser_of(__doc__, "calibration_identity")
    parser.add_argument("--events", type=int, default=300_000)
    options = parser.parse_args()
    begun = begin("the same bytes in any way")
    nominal, data = make_toys(
        Toy("identity", options.events, 9, n_weights=20),
        Toy("identity_data", options.events // 2, 4, kind="data", seed=2),
    )
    samples = {"nominal": InputSample("nominal", tuple(nominal)), "data": InputSample("data", tuple(data), "data")}
    configuration = Configuration(
        KEPT / "identity",
        samples,
        taggers=(Tagger(), Tagger("gbdt", 50, 0.0, 1.0, "shipped")),
        systematics=(
            Systematic("pdf", "envelope", weights=("pdf_*",)),
            Systematic("tracking", "quadrature", kinematics=("trk_*",), experimental=True),
            Systematic("jet_energy", "up_down", kinematics=("jes_*", "jer_*"), experimental=True),
            Systematic("gluon_reweight", method="gluon_reweight"),
        ),
    )
    hashes = {}
    for number, (executor, workers, chunk) in enumerate(WAYS):
        output = KEPT / "identity" / str(number)
        rmtree(output, ignore_errors=True)
        shuffled = {
            name: replace(sample, files=renamed(sample.files, KEPT / "identity" / f"files-{number}-{name}", number))
            for name, sample in samples.items()
        }
        run_calibration(
            replace(configuration, output=output, samples=shuffled, chunk_events=chunk), RunSettings(executor, workers)
        )
        digest = sha256((output / "factors.json").read_bytes()).hexdigest()
        hashes[f"{executor}, {workers} workers, chunks of {chunk}"] = digest
        CONSOLE.print(f"{executor:10} {workers} workers, chunks of {chunk:7}: {digest[:16]}")
    distinct = len(set(hashes.values()))
    figures = [Figure("different results", distinct, "", "equal"), Figure("runs", len(hashes), "", "equal")]
    write_result(options.output, begun, figures, hashes=hashes)
    assert distinct == 1


if __name__ == "__main__":
    main()
