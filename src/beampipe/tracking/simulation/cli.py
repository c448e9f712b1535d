"""The command `beampipe tracking simulate`: parse, call, print.

Whatever takes time to import is imported inside the command, so that `beampipe --help` is quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.files import check_output
from beampipe.terminal import bar, say
from beampipe.tracking.simulation.parameters import Detector, EventGenerator, Gun

__all__ = ["BEAM_SPOT_HELP", "LayoutFile", "Seed", "simulate"]

BEAM_SPOT_HELP: Final = "Where the beam line runs: x,y at z = 0 in mm, or x,y,dxdz,dydz."


Seed = Annotated[int, typer.Option(help="Seed of every random choice; the same seed gives the same events.", min=0)]
LayoutFile = Annotated[
    Path | None,
    typer.Option(
        "--detector", help="TOML file of the detector that the events are of.", show_default="the ACTS GenericDetector"
    ),
]

_GUN: Final = Gun()
_SPECIES: Final = {"muon": 13, "pion": 211, "electron": 11, "kaon": 321, "proton": 2212}
_OF_GUN: Final = "Gun: particles of your choice, with --hard gun"

_Multiplicity = Annotated[int, typer.Option(help="Number of particles per event.", min=1, rich_help_panel=_OF_GUN)]
_Species = Annotated[
    str,
    typer.Option(help=f"What the particles are, of either charge: {', '.join(_SPECIES)}.", rich_help_panel=_OF_GUN),
]
_Pt = Annotated[
    tuple[float, float],
    typer.Option(metavar="LOW HIGH", help="Lowest and highest pT of a particle, in GeV.", rich_help_panel=_OF_GUN),
]
_Eta = Annotated[
    tuple[float, float],
    typer.Option(metavar="LOW HIGH", help="Smallest and largest |eta| of a particle.", rich_help_panel=_OF_GUN),
]
_Origin = Annotated[
    tuple[float, float],
    typer.Option(
        metavar="LOW HIGH",
        help="Smallest and largest distance from the beam line at which a particle starts, in mm; 0 0 starts all from"
        " one vertex, others are isolated, each by a vertex of its own.",
        rich_help_panel=_OF_GUN,
    ),
]
_Spread = Annotated[
    float,
    typer.Option(
        help="Largest angle across the beam between a particle with an --origin and the line from the beam line to"
        " it, in rad: 0 for those that point to the beam line, pi for any direction.",
        show_default="pi",
        rich_help_panel=_OF_GUN,
    ),
]


def simulate(
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file to write the events to.")],
    events: Annotated[int, typer.Option("--events", "-n", help="Number of events to simulate.", min=0)] = 10,
    mu: Annotated[float, typer.Option(help="Mean number of pile-up collisions per event.", min=0)] = 200.0,
    hard: Annotated[
        str | None,
        typer.Option(
            help="What is added to the pile-up: ttbar (one top pair), jets (above 1 TeV), gun (see below) or none.",
            show_default="ttbar; none if mu is 0",
        ),
    ] = None,
    vertex_z_max: Annotated[
        float | None,
        typer.Option(
            help="Spread the vertices evenly over |z| below this, in mm.", show_default="normally, by 50 mm", min=1
        ),
    ] = None,
    beam_spot: Annotated[str, typer.Option(help=BEAM_SPOT_HELP)] = "0,0",
    seed: Seed = 1,
    first_event: Annotated[int, typer.Option(help="Number that the first event gets.", min=0)] = 0,
    workers: Annotated[int, typer.Option("--workers", "-j", help="Number of processes that simulate.", min=1)] = 1,
    detector: LayoutFile = None,
    multiplicity: _Multiplicity = _GUN.n_particles,
    species: _Species = "muon",
    pt: _Pt = _GUN.pt,
    eta: _Eta = (_GUN.eta_min, _GUN.eta_max),
    origin: _Origin = _GUN.origin,
    spread: _Spread = _GUN.spread,
) -> None:
    """Simulate events with Pythia 8 and ACTS Fatras. No hit is lost and no noise added: `evaluate` does that."""
    from beampipe.tracking.beam_spot import BeamSpot
    from beampipe.tracking.simulation.detectors import read_layout
    from beampipe.tracking.simulation.run import simulate_events, write_simulated

    check_output(output, inputs=[] if detector is None else [detector])
    layout = None if detector is None else read_layout(detector)
    gun = Gun(multiplicity, _pdg(species), pt, *eta, origin, spread)
    if gun != _GUN and hard != "gun":
        raise ConfigError(f"simulate: got options of the gun with --hard {hard or 'left out'}, expected --hard gun")
    generator = EventGenerator(
        pileup=mu,
        hard=hard or ("ttbar" if mu else "none"),
        gun=gun,
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
            apart=True,
            progress=lambda done: step(),
        )
        counts = write_simulated(output, simulated)
    summary = ", ".join(f"{value} {name}" for name, value in counts.items())
    say(f"{output}: {events} events{', ' if summary else ''}{summary}")


def _pdg(species: str) -> int:
    if species not in _SPECIES:
        raise UnknownNameError("species", species, _SPECIES)
    return _SPECIES[species]
