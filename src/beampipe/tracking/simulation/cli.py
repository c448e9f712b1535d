"""The command `beampipe tracking simulate`: parse, call, print.

Whatever takes time to import is imported inside the command, so that `beampipe --help` is quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from beampipe.files import check_output
from beampipe.terminal import bar

__all__ = ["BEAM_SPOT_HELP", "LayoutFile", "Seed", "simulate"]

BEAM_SPOT_HELP: Final = "Where the beam line runs: x,y at z = 0 [mm], or x,y,dxdz,dydz."


Seed = Annotated[int, typer.Option(help="Seed of every random choice; the same seed gives the same events.", min=0)]
LayoutFile = Annotated[
    Path | None,
    typer.Option(
        "--detector", help="TOML file of the detector that the events are of.", show_default="the ACTS GenericDetector"
    ),
]


def simulate(
    output: Annotated[Path, typer.Argument(help="Parquet file to write the events to.")],
    events: Annotated[int, typer.Option("--events", "-n", help="Number of events to simulate.", min=0)] = 10,
    mu: Annotated[float, typer.Option(help="Mean number of pile-up collisions per event.", min=0)] = 200.0,
    hard: Annotated[
        str | None,
        typer.Option(
            help="What is added to the pile-up: ttbar (one top pair), jets (above 1 TeV), gun (ten muons) or none.",
            show_default="ttbar; none if mu is 0",
        ),
    ] = None,
    vertex_z_max: Annotated[
        float | None,
        typer.Option(
            help="Spread the vertices evenly over |z| below this [mm].", show_default="normally, by 50 mm", min=1
        ),
    ] = None,
    beam_spot: Annotated[str, typer.Option(help=BEAM_SPOT_HELP)] = "0,0",
    seed: Seed = 1,
    first_event: Annotated[int, typer.Option(help="Number that the first event gets.", min=0)] = 0,
    workers: Annotated[int, typer.Option(help="Number of processes that simulate.", min=1)] = 1,
    detector: LayoutFile = None,
) -> None:
    """Simulate events with Pythia 8 and ACTS Fatras. No hit is lost and no noise added: `evaluate` does that."""
    from beampipe.tracking.beam_spot import BeamSpot
    from beampipe.tracking.simulation.detectors import read_layout
    from beampipe.tracking.simulation.parameters import Detector, EventGenerator
    from beampipe.tracking.simulation.run import simulate_events, write_simulated

    check_output(output, inputs=[] if detector is None else [detector])
    layout = None if detector is None else read_layout(detector)
    generator = EventGenerator(
        pileup=mu,
        hard=hard or ("ttbar" if mu else "none"),
        vertex_z_max=vertex_z_max,
        beam_spot=BeamSpot.parse(beam_spot),
    )
    with bar("events", events) as step:
        simulated = simulate_events(
            events,
            generator if layout is None else generator.at(layout.vertex),
            None if layout is None else Detector.of(layout),
            seed=seed,
            first_event=first_event,
            workers=workers,
            progress=lambda done: step(),
        )
        counts = write_simulated(output, simulated)
    summary = ", ".join(f"{value} {name}" for name, value in counts.items())
    typer.echo(f"{output}: {events} events{', ' if summary else ''}{summary}")
