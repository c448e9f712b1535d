"""The commands `beampipe tracking ...` and the work of `beampipe track`: parse, call, print.

Whatever takes time to import is imported inside the command that needs it, so that `beampipe --help` is quick.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from beampipe.errors import BeampipeError, ConfigError
from beampipe.terminal import bar, console
from beampipe.tracking.pipelines.specs import DEFAULT_PIPELINE, pipeline_names

if TYPE_CHECKING:
    from beampipe.tracking.events import Event
    from beampipe.tracking.finder import TrackFinder

__all__ = ["DEMO_PIPELINES", "PIPELINE_HELP", "SCALE_HELP", "app", "track"]

app = typer.Typer(
    help="Track finding: simulate events, find tracks, score them, draw them, train.", no_args_is_help=True
)

PIPELINE_HELP: Final = f"Name of the pipeline that finds the tracks: {pipeline_names()}."
SCALE_HELP: Final = "Units of r, phi and z in files of three columns: mm, exatrkx or acts."

BEAM_SPOT_HELP: Final = "Where the beam line runs: x,y at z = 0 [mm], or x,y,dxdz,dydz."

Pipeline = Annotated[str, typer.Option("--pipeline", "-p", help=PIPELINE_HELP)]
Device = Annotated[str, typer.Option(help="Device that the pipeline runs on: cpu, cuda or cuda:N.")]
Threads = Annotated[int, typer.Option(help="Number of CPU threads that the pipeline uses.", min=1)]
Seed = Annotated[int, typer.Option(help="Seed of every random choice; the same seed gives the same events.", min=0)]
Files = Annotated[list[Path], typer.Argument(help="Files of simulated events: Parquet, or CSV of ACTS or TrackML.")]

DEMO_PIPELINES: Final = (DEFAULT_PIPELINE, "exatrkx", "exatrkx_walk")
"""Names of the pipelines that the demo compares: by windows, by networks, and by networks with best paths."""


def track(
    files: list[Path],
    output: Path,
    finder: Callable[[], AbstractContextManager[TrackFinder]],
    scale: str,
    in_flight: int = 1,
) -> None:
    """Find the tracks of the events in `files` and write their labels; fails at the end if a file could not be used.

    Args:
        files: files or folders of events, in any format that `open_events` reads.
        output: file to write the labels to; a folder if there are several `files`.
        finder: called once to make the track finder, after all arguments are checked.
        scale: name of the units of r, phi and z in files of three columns.
        in_flight: number of events that are handed to the finder before the first answer is waited for.

    Raises:
        BeampipeError: one or more files could not be used; the labels of the others are written.
    """
    from beampipe.tracking.batch import output_paths, track_files
    from beampipe.tracking.formats import scale_named

    # What a typing error can spoil is checked before anything is loaded.
    scale_named(scale)
    output_paths(files, output)
    failed = 0
    with finder() as found_by, bar("events") as step:
        for result in track_files(files, found_by, output, scale, lambda *_: step(), in_flight):
            if result.error is not None:
                failed += 1
                typer.secho(f"beampipe: {result.error}", err=True, fg="red")
            else:
                typer.echo(
                    f"{result.path}: {result.n_events} events, {result.n_hits} hits,"
                    f" {result.n_tracks} tracks -> {result.output}"
                )
    if failed:
        raise BeampipeError(f"{failed} of {len(files)} inputs could not be used, see above; the others are done")


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder to write the pictures and the figures to.")] = Path("demo"),
    pipeline: Annotated[
        list[str] | None,
        typer.Option(
            "--pipeline",
            "-p",
            help=f"Name of a pipeline to run, of {pipeline_names()}; may be given several times.",
            show_default=", ".join(DEMO_PIPELINES),
        ),
    ] = None,
    mu: Annotated[
        int, typer.Option(help="Mean number of pile-up collisions of the shipped events: 0, 60 or 200.")
    ] = 200,
    threads: Threads = 1,
) -> None:
    """Find the tracks of the shipped events, print efficiency and time, and draw one event."""
    from beampipe.tracking.demo import run_tracking_demo
    from beampipe.tracking.evaluation.report import print_evaluation

    with bar("events") as step:
        result = run_tracking_demo(folder, pipeline or list(DEMO_PIPELINES), mu=mu, threads=threads, progress=step)
    print_evaluation(result, console())
    typer.echo(f"pictures and figures: {folder}/event.png, {folder}/event.html, {folder}/evaluation.json")


@app.command()
def simulate(
    output: Annotated[Path, typer.Argument(help="Parquet file to write the events to.")],
    events: Annotated[int, typer.Option("--events", "-n", help="Number of events to simulate.", min=0)] = 10,
    mu: Annotated[float, typer.Option(help="Mean number of pile-up collisions per event.", min=0)] = 200.0,
    hard: Annotated[
        str | None,
        typer.Option(
            help="What is added to the pile-up: ttbar (one top pair), gun (ten muons) or none.",
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
) -> None:
    """Simulate events with Pythia 8 and ACTS Fatras. No hit is lost and no noise added: `evaluate` does that."""
    from beampipe.tracking.beam_spot import BeamSpot
    from beampipe.tracking.simulation.parameters import EventGenerator
    from beampipe.tracking.simulation.run import simulate_events, write_simulated

    generator = EventGenerator(
        pileup=mu,
        hard=hard or ("ttbar" if mu else "none"),
        vertex_z_max=vertex_z_max,
        beam_spot=BeamSpot.parse(beam_spot),
    )
    with bar("events", events) as step:
        simulated = simulate_events(
            events,
            generator,
            seed=seed,
            first_event=first_event,
            workers=workers,
            progress=lambda done: step(),
        )
        counts = write_simulated(output, simulated)
    summary = ", ".join(f"{value} {name}" for name, value in counts.items())
    typer.echo(f"{output}: {events} events{', ' if summary else ''}{summary}")


@app.command()
def ship(
    clean: Annotated[Path, typer.Argument(help="File of clean simulated events to take the first ones from.")],
    output: Annotated[Path, typer.Argument(help="Parquet file to write the shipped sample to.")],
    events: Annotated[int, typer.Option("--events", "-n", help="Number of events to take.", min=1)] = 1,
    seed: Seed = 1,
) -> None:
    """Make a sample to ship with the package: hits lost and noise added, coordinates rounded to about 1 um."""
    from beampipe.tracking.data.shipping import ship as make

    size = make(clean, output, events, seed)
    typer.echo(f"{output}: {size / 1e6:.2f} MB")


@app.command()
def train(
    name: Annotated[
        str,
        typer.Argument(
            help="What to train: module_map, module_map_soft, exatrkx, exatrkx_soft or an ablation (ablation_full)."
        ),
    ],
    files: Files,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Safetensors file to write; a card in JSON is written beside it.")
    ],
    validation: Annotated[
        Path | None, typer.Option(help="For networks: file of clean events on which radius and cuts are chosen.")
    ] = None,
    windows: Annotated[
        Path | None,
        typer.Option(help="For networks: file of learned windows (module_map), for the features of pairs of edges."),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(help="For networks: weight file whose embedding and filter are kept; only the rest is trained."),
    ] = None,
    log: Annotated[
        Path | None, typer.Option(help="File to append the metrics of the training to, one JSON object a line.")
    ] = None,
) -> None:
    """Train windows (module_map) or networks (exatrkx) from clean simulated events."""
    from beampipe.tracking.formats import open_events
    from beampipe.tracking.training.windows import WINDOW_RECIPES, train_windows

    files = sorted(files)
    events = chain.from_iterable(map(open_events, files))
    options = {"--validation": validation, "--windows": windows, "--start": start}
    given = "".join(f" {key} {value.name}" for key, value in options.items() if value is not None)
    names = [path.name for path in files]
    about = {"command": f"beampipe tracking train {name} {' '.join(names)}{given} -o {output.name}", "data": names}
    if name in WINDOW_RECIPES:
        train_windows(name, events, output, about)
    elif validation is None or windows is None:
        raise ConfigError(f"train {name}: got no --validation or no --windows, expected both")
    else:
        from beampipe.tracking.training.recipe import recipe
        from beampipe.tracking.training.recipe import train as train_networks
        from beampipe.tracking.windows import load_windows

        train_networks(
            recipe(name),
            events,
            open_events(validation),
            load_windows(windows),
            output,
            log=log,
            echo=True,
            start=start,
            about=about,
        )
    typer.echo(f"{output}: {name}")


@app.command()
def evaluate(
    files: Files,
    pipeline: Annotated[
        list[str] | None,
        typer.Option(
            "--pipeline",
            "-p",
            help=f"Name of a pipeline to score, of {pipeline_names()}; may be given several times.",
            show_default=f"{DEFAULT_PIPELINE}; none if --acts is given",
        ),
    ] = None,
    acts: Annotated[
        list[str] | None,
        typer.Option(help="Setting of ACTS to score too: efficient, fast or soft; may be given several times."),
    ] = None,
    degradation: Annotated[
        str, typer.Option(help="Lost hits, dead modules and noise that are applied: none, default or stress.")
    ] = "none",
    events: Annotated[
        int | None, typer.Option("--events", "-n", help="Largest number of events to score.", min=1, show_default="all")
    ] = None,
    min_pt: Annotated[float, typer.Option(help="Lowest pT of a particle that counts [GeV].", min=0)] = 1.0,
    device: Device = "cpu",
    threads: Threads = 1,
    seed: Seed = 1,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file to write the result to.")] = None,
) -> None:
    """Measure efficiency, fakes and time of track finders on simulated events."""
    from beampipe.tracking.evaluation.evaluate import evaluate as score
    from beampipe.tracking.evaluation.report import print_evaluation
    from beampipe.tracking.evaluation.results import write_evaluation
    from beampipe.tracking.finders import named_finders
    from beampipe.tracking.truth import Selection

    chosen = _degraded(files, degradation, seed)
    finders = named_finders(pipeline or ([] if acts else [DEFAULT_PIPELINE]), acts or (), device, threads)
    names = ", ".join(str(path) for path in files)
    with bar("events", events) as step:
        result = score(
            finders,
            islice(chosen, events),
            sample=f"{names} (degradation: {degradation}, seed {seed})",
            selection=Selection(min_pt=min_pt),
            threads=threads,
            progress=step,
        )
    print_evaluation(result, console())
    if output is not None:
        write_evaluation(output, result)


@app.command()
def display(
    file: Annotated[Path, typer.Argument(help="File or folder of events.")],
    output: Annotated[Path, typer.Argument(help="Picture to write: .png, .html (interactive) or .json (for Phoenix).")],
    event: Annotated[int, typer.Option(help="Place of the event in the file, counted from 0.", min=0)] = 0,
    pipeline: Pipeline = DEFAULT_PIPELINE,
    scale: Annotated[str, typer.Option(help=SCALE_HELP)] = "mm",
    device: Device = "cpu",
    threads: Threads = 1,
    min_pt: Annotated[float, typer.Option(help="Lowest pT of a track that is drawn [GeV].", min=0)] = 1.0,
) -> None:
    """Draw one event and the tracks found in it."""
    from beampipe.tracking.formats import open_events

    chosen = next(islice(open_events(file, scale), event, None), None)
    if chosen is None:
        raise ConfigError(f"{file}: got event {event}, expected one that is there; count from 0")
    from beampipe.tracking.loading import load_pipeline
    from beampipe.tracking.showing import show_event

    finder = load_pipeline(pipeline, device=device, threads=threads)
    show_event(chosen, finder.find(chosen.hits), output, min_pt)
    typer.echo(f"{output}: event {chosen.event_id}")


def _degraded(files: list[Path], name: str, seed: int) -> Iterator[Event]:
    from beampipe.errors import UnknownNameError
    from beampipe.tracking.formats import open_events
    from beampipe.tracking.simulation.degradation import degrade
    from beampipe.tracking.simulation.parameters import DEFAULT, NONE, STRESS

    levels = {"none": NONE, "default": DEFAULT, "stress": STRESS}
    if name not in levels:
        raise UnknownNameError("degradation", name, levels)
    clean = chain.from_iterable(map(open_events, files))
    # Dead modules are a run's: all files here are of one run.
    return clean if name == "none" else (degrade(event, levels[name], seed, run_seed=seed) for event in clean)
