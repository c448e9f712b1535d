"""The commands `beampipe tracking ...` and the work of `beampipe track`: parse, call, print.

Whatever takes time to import is imported inside the command that needs it, so that `beampipe --help` is quick.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from beampipe.errors import BeampipeError, ConfigError
from beampipe.files import check_output
from beampipe.terminal import bar, console, say
from beampipe.terminal.commands import STANDARD_OUTPUT, Commands, Json, print_json
from beampipe.tracking.acts.settings import acts_names
from beampipe.tracking.formats.options import EventFiles, reads_events
from beampipe.tracking.models.shipped import DEFAULT_MODEL, MODEL_HELP, complete_model, complete_pipeline
from beampipe.tracking.pipelines.specs import DEFAULT_PIPELINE, pipeline_names
from beampipe.tracking.simulation.cli import BEAM_SPOT_HELP, LayoutFile, Seed, simulate
from beampipe.tracking.training.tracker.cli import MinHits, MinLayers, train, train_part, validate

if TYPE_CHECKING:
    from beampipe.tracking.batch import FileResult
    from beampipe.tracking.beam_spot import BeamSpot
    from beampipe.tracking.evaluation.results import Evaluation
    from beampipe.tracking.events import Event, Tracks
    from beampipe.tracking.finder import TrackFinder
    from beampipe.tracking.formats import Told

__all__ = ["DEMO_PIPELINES", "PIPELINE_HELP", "app", "complete_finder", "parsed_beam_spot", "track"]

app = Commands("Track finding: simulate events, find tracks, score them, draw them, train.")
app.command()(simulate)
app.command()(train)
app.command()(validate)
app.command()(train_part)

FINDER_NAMES: Final = (
    f"{pipeline_names()}; or ACTS, for hits with modules of its Generic detector: {', '.join(acts_names())}"
)
PIPELINE_HELP: Final = f"Name of the pipeline that finds the tracks: {FINDER_NAMES}."


def complete_finder(incomplete: str) -> list[str]:
    """What a shell may complete to the name of a pipeline, or of ACTS."""
    return complete_pipeline(incomplete) + [name for name in acts_names() if name.startswith(incomplete)]


Pipeline = Annotated[str, typer.Option("--pipeline", "-p", help=PIPELINE_HELP, autocompletion=complete_finder)]
TrackerModel = Annotated[str, typer.Option(help=MODEL_HELP, autocompletion=complete_model)]
Device = Annotated[str, typer.Option(help="Device that the pipeline runs on: cpu, cuda or cuda:N.")]
BeamSpotText = Annotated[
    str | None,
    typer.Option("--beam-spot", metavar="X,Y", help=BEAM_SPOT_HELP, show_default="that of the model, and followed"),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force", help="Go on where hits are of another detector, in other units or too many for the pipeline."
    ),
]
Threads = Annotated[int, typer.Option(help="Number of CPU threads that the pipeline uses.", min=1)]
Parameters = Annotated[
    bool,
    typer.Option(
        "--parameters",
        help="Fit a helix to each track: d0, z0, phi, theta, q/p; `track` writes them to NAME.parameters.parquet.",
    ),
]

DEMO_PIPELINES: Final = (DEFAULT_PIPELINE, "exatrkx_walk", "exatrkx")
"""Names of the pipelines that the demo compares: by windows, by networks with best paths, and by networks alone."""


def parsed_beam_spot(text: str | None) -> BeamSpot | None:
    """The beam line that an option tells, None where it is not given; a text that tells none is a `ConfigError`."""
    from beampipe.tracking.beam_spot import BeamSpot

    return None if text is None else BeamSpot.parse(text)


def track(
    files: list[Path],
    output: Path,
    finder: Callable[[], AbstractContextManager[TrackFinder]],
    told: Told,
    form: str = "labels",
    in_flight: int = 1,
    *,
    parameters: bool = False,
) -> list[dict[str, Any]]:
    """Find the tracks of the events in `files` and write their labels; fails at the end if a file could not be used.

    Args:
        files: files or folders of events, in any format that `open_events` reads.
        output: file to write the labels to; a folder if there are several `files`.
        finder: called once to make the track finder, after all arguments are checked.
        told: what the user tells about the files.
        form: name of the form in which the tracks are written, a key of `beampipe.tracking.formats.FORMS`.
        in_flight: number of events that are handed to the finder before the first answer is waited for.
        parameters: whether to write the parameters of the tracks, too, which the finder then fits.

    Returns:
        What came of each file, as JSON knows it: the fields of `FileResult`, and the number of fitted tracks.

    Raises:
        BeampipeError: one or more files could not be used; the tracks of the others are written.
    """
    from beampipe.tracking.batch import check_outputs, track_files
    from beampipe.tracking.formats import check_told, open_told

    # What a typing error can spoil is checked before anything is loaded.
    check_told(told)
    also_read = [] if told.particles is None else [Path(told.particles)]
    check_outputs(files, output, form, also_read, parameters=parameters)
    read = partial(open_told, told=told)
    failed, fitted, results = 0, Counter[Path](), list[dict[str, Any]]()
    with finder() as found_by, bar("events") as step:

        def done(path: Path, _: Event, tracks: Tracks) -> None:
            step()
            if tracks.parameters is not None:
                fitted[path] += int(tracks.parameters.fitted.sum())

        for result in track_files(
            files, found_by, output, done, in_flight, read=read, form=form, parameters=parameters
        ):
            if result.error is not None:
                failed += 1
                typer.secho(f"beampipe: {result.error}", err=True, fg="red")
            else:
                results.append(asdict(result) | ({"n_fitted": fitted[result.path]} if parameters else {}))
                say(_summary(result, fitted[result.path] if parameters else None))
    if failed:
        raise BeampipeError(f"{failed} of {len(files)} inputs could not be used, see above; the others are done")
    return results


def _fitted(finder: TrackFinder, model: str) -> TrackFinder:
    from beampipe.tracking.fitting.finder import FittedFinder
    from beampipe.tracking.loading import load_track_fitter

    return FittedFinder(finder, load_track_fitter(model))


def _summary(result: FileResult, fitted: int | None) -> str:
    """What came of a file, in one line."""
    share = f" ({result.n_on_tracks / result.n_hits:.1%} on tracks)" if result.n_hits else ""
    outside = f", {result.n_outside} of them on no layer" if result.n_outside else ""
    return (
        f"{result.path}: {result.n_events} events, {result.n_hits} hits{share}{outside},"
        f" {result.n_tracks} tracks{'' if fitted is None else f' ({fitted} fitted)'} -> {result.output}"
    )


@app.command()
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write the pictures and the figures to.")
    ] = Path("demo"),
    pipeline: Annotated[
        list[str] | None,
        typer.Option(
            "--pipeline",
            "-p",
            help=f"Name of a pipeline to run, of {pipeline_names()}; may be given several times.",
            show_default=", ".join(DEMO_PIPELINES),
            autocompletion=complete_finder,
        ),
    ] = None,
    tracker_model: TrackerModel = DEFAULT_MODEL,
    mu: Annotated[
        int, typer.Option(help="Mean number of pile-up collisions of the shipped events: 0, 60 or 200.")
    ] = 200,
    threads: Threads = 1,
    as_json: Json = False,
) -> None:
    """Find the tracks of the shipped events, print efficiency and time, and draw one event."""
    from beampipe.tracking.demo import run_tracking_demo

    with bar("events") as step:
        names = pipeline or list(DEMO_PIPELINES)
        result = run_tracking_demo(output, names, mu=mu, threads=threads, model=tracker_model, progress=step)
    _tell_evaluation(result, None, (), as_json=as_json)
    say(f"pictures and figures: {output}/event.png, {output}/event.html, {output}/evaluation.json")


@app.command()
def example(
    file: Annotated[Path, typer.Argument(help="Parquet file to write the events to.")] = Path("events.parquet"),
    mu: Annotated[int, typer.Option(help="Mean number of pile-up collisions of the shipped events: 0, 60 or 200.")] = 0,
) -> None:
    """Write shipped events with truth to a file, to try the other commands on."""
    from beampipe.tracking.data import write_example

    check_output(file)
    write_example(file, mu)
    say(f"{file}: events with mu = {mu}; next: beampipe track {file} -o tracks.parquet")


@app.command()
def ship(
    clean: Annotated[Path, typer.Argument(help="File of clean simulated events to take the first ones from.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file to write the shipped sample to.")],
    events: Annotated[int, typer.Option("--events", "-n", help="Number of events to take.", min=1)] = 1,
    seed: Seed = 1,
) -> None:
    """Make a sample to ship with the package: hits lost and noise added, coordinates rounded to about 1 um."""
    from beampipe.tracking.data.shipping import ship as make

    check_output(output, inputs=[clean])
    size = make(clean, output, events, seed)
    say(f"{output}: {size / 1e6:.2f} MB")


@app.command()
def models(
    model: Annotated[
        list[str] | None,
        typer.Argument(
            help="Tracker models to tell about: names of shipped ones, or folders.",
            show_default="all shipped ones",
            autocompletion=complete_model,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List tracker models: what each pipeline of them is for, what was measured of it, and what it cannot do."""
    from beampipe.tracking.models.opening import load_model
    from beampipe.tracking.models.overview import model_facts, model_overview
    from beampipe.tracking.models.shipped import shipped_models

    found = [load_model(name) for name in model or shipped_models()]
    if as_json:
        print_json([model_facts(one) for one in found])
    else:
        typer.echo("\n".join(line for one in found for line in model_overview(one)))


_Scored = Annotated[
    list[str] | None,
    typer.Option(
        "--pipeline",
        "-p",
        help=f"Name of a finder to score, of {FINDER_NAMES}; may be given several times.",
        show_default=DEFAULT_PIPELINE,
        autocompletion=complete_finder,
    ),
]
_Degradation = Annotated[
    str, typer.Option(help="Lost hits, dead modules and noise that are applied: none, default or stress.")
]
_AtMost = Annotated[
    int | None, typer.Option("--events", "-n", help="Largest number of events to score.", min=1, show_default="all")
]
_By = Annotated[
    list[str] | None,
    typer.Option(
        help="Variable to print efficiencies by: pt, eta, vertex_z, distance (to the nearest track) or origin;"
        " may be given several times."
    ),
]


@app.command()
@reads_events
def evaluate(
    files: EventFiles,
    pipeline: _Scored = None,
    tracker_model: TrackerModel = DEFAULT_MODEL,
    beam_spot: BeamSpotText = None,
    force: Force = False,
    by: _By = None,
    degradation: _Degradation = "none",
    events: _AtMost = None,
    min_pt: Annotated[float, typer.Option(help="Lowest pT of a particle that counts [GeV].", min=0)] = 1.0,
    min_layers: MinLayers = None,
    min_hits: MinHits = None,
    device: Device = "cpu",
    threads: Threads = 1,
    seed: Seed = 1,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="JSON file to write the result to; - for standard output.")
    ] = None,
    detector: LayoutFile = None,
    as_json: Json = False,
    *,
    told: Told,
) -> None:
    """Measure efficiency, fakes and time of track finders on simulated events."""
    from beampipe.tracking.evaluation.scoring import evaluate as score
    from beampipe.tracking.evaluation.variables import require_variables
    from beampipe.tracking.finders import named_finders
    from beampipe.tracking.formats import input_files, open_told
    from beampipe.tracking.models import load_model
    from beampipe.tracking.simulation.degradation import run_degraded
    from beampipe.tracking.simulation.detectors import read_layout
    from beampipe.tracking.truth import Selection

    if output is not None and output != STANDARD_OUTPUT:
        inputs = [read for path in files for read in input_files(path, told.particles)]
        check_output(output, inputs=inputs, parents=True)
    layout = None if detector is None else read_layout(detector)
    chosen = run_degraded(chain.from_iterable(open_told(path, told) for path in files), degradation, seed, layout)
    require_variables(by or ())
    expected = parsed_beam_spot(beam_spot)
    finders = named_finders(
        pipeline or [DEFAULT_PIPELINE], device, threads, model=tracker_model, beam_spot=expected, check=not force
    )
    fewest = load_model(tracker_model).crossing.min_layers if min_layers is None else min_layers
    names = ", ".join(str(path) for path in files)
    with bar("events", events) as step:
        result = score(
            finders,
            islice(chosen, events),
            sample=f"{names} (degradation: {degradation}, seed {seed})",
            selection=Selection(min_pt=min_pt, min_layers=fewest),
            min_track_hits=fewest if min_hits is None else min_hits,
            threads=threads,
            progress=step,
        )
    _tell_evaluation(result, output, by or (), as_json=as_json)


def _tell_evaluation(result: Evaluation, output: Path | None, by: Sequence[str], *, as_json: bool) -> None:
    """Print an evaluation, as tables or as JSON, and write it."""
    from beampipe.tracking.evaluation.report import print_evaluation
    from beampipe.tracking.evaluation.results import evaluation_body, write_evaluation

    if as_json or output == STANDARD_OUTPUT:
        print_json(evaluation_body(result))
    else:
        print_evaluation(result, console(), by)
    if output is not None and output != STANDARD_OUTPUT:
        write_evaluation(output, result)


@app.command()
@reads_events
def display(
    file: Annotated[Path, typer.Argument(help="File or folder of events.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Picture to write: .png, .html (interactive) or .json (for Phoenix)."),
    ],
    event: Annotated[int, typer.Option(help="Place of the event in the file, counted from 0.", min=0)] = 0,
    pipeline: Pipeline = DEFAULT_PIPELINE,
    tracker_model: TrackerModel = DEFAULT_MODEL,
    device: Device = "cpu",
    threads: Threads = 1,
    min_pt: Annotated[float, typer.Option(help="Lowest pT of a track that is drawn [GeV].", min=0)] = 1.0,
    beam_spot: BeamSpotText = None,
    force: Force = False,
    parameters: Parameters = False,
    *,
    told: Told,
) -> None:
    """Draw one event and the tracks found in it."""
    from beampipe.tracking.formats import input_files, open_told

    check_output(output, inputs=input_files(file, told.particles), parents=True)
    chosen = next(islice(open_told(file, told), event, None), None)
    if chosen is None:
        raise ConfigError(f"{file}: got event {event}, expected one that is there; count from 0")
    from beampipe.tracking.display.showing import show_event
    from beampipe.tracking.finders import named_finder

    finder = named_finder(
        pipeline, device, threads, model=tracker_model, beam_spot=parsed_beam_spot(beam_spot), check=not force
    )
    if parameters:
        finder = _fitted(finder, tracker_model)
    show_event(chosen, finder.find(chosen.hits), output, min_pt)
    say(f"{output}: event {chosen.event_id}")
