"""A rerun with nothing to do: how long does it take to see that?

    python benchmarks/calibration/noop.py [--files 1000] [--events 100] [--repeats 5]

Toy files with 127 weights, 106 variations of the jet energy, two of the tracking and three systematics of method:
about 240 variations, run once to the report. Then the command of a user is timed, as a process of its own, from start
to end.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Final

import beampipe.terminal.scripts  # noqa: F401

from measuring import CONSOLE, conditions, measured, report
from toys import KEPT, Toy, make_toys

FOLDER: Final = KEPT / "noop"
WANTED_SECONDS: Final = 2.0
CONFIGURATION: Final = """
output = "{output}"

[samples.nominal]
files = "{nominal}"

[samples.data]
files = "{data}"
kind = "data"

[systematics]
pdf = {{ weights = "pdf_*", rule = "envelope" }}
shower = {{ weights = ["fsr_*", "isr_*"], rule = "envelope" }}
jet_scale = {{ kinematics = "jes_*", rule = "up_down" }}
jet_resolution = {{ kinematics = "jer_*", rule = "up_down" }}
tracking = {{ kinematics = "trk_*", rule = "quadrature" }}
gluon_reweight = {{ method = "gluon_reweight" }}
nonclosure = {{ method = "nonclosure" }}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--events", type=int, default=200, help="per file")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--keep", action="store_true", help="take what an earlier call left, instead of running anew")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/calibration_noop.json"))
    options = parser.parse_args()
    begun = conditions("rerun with nothing to do")
    data = max(1, options.files // 10)
    simulated = options.files - data
    nominal = Toy("noop_nominal", simulated * options.events, simulated, 127, seed=11)
    measured_data = Toy("noop_data", data * options.events, data, kind="data", seed=12)
    make_toys(nominal, measured_data)
    if not options.keep:
        shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "noop.toml"
    texts = {"output": FOLDER.absolute(), "nominal": nominal.pattern, "data": measured_data.pattern}
    path.write_text(CONFIGURATION.format(**texts))
    command = [sys.executable, "-m", "beampipe", "calibration", "run", str(path), "--workers", "2"]
    first, _ = measured(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
    CONSOLE.print(f"first run: {first.wall:.1f} s wall, {first.cpu:.1f} s cpu", markup=False)
    costs = [
        measured(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))[0]
        for _ in range(options.repeats)
    ]
    empty, _ = measured(lambda: subprocess.run([*command[:5], "--help"], check=True, stdout=subprocess.DEVNULL))
    wall, cpu = median(cost.wall for cost in costs), median(cost.cpu for cost in costs)
    met = wall <= WANTED_SECONDS
    words = f"rerun: {wall:.2f} s wall, {cpu:.2f} s cpu (median of {options.repeats}; --help alone: {empty.wall:.2f} s)"
    CONSOLE.print(f"{'met' if met else 'NOT met'}: {words}, wanted {WANTED_SECONDS:g} s wall", markup=False)
    rows = {"first": first.wall, "wall": [cost.wall for cost in costs], "cpu": [cost.cpu for cost in costs]}
    report(options.output, begun, {**rows, "help": empty.wall, "met": met})


if __name__ == "__main__":
    main()
