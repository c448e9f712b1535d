"""The commands `beampipe tracking ...` and the work of `beampipe track`: parse, call, print.

Slow imports are inside the commands that need them, so that `beampipe --help` is quick.
"""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from beampipe import tracking
from beampipe.errors import BeampipeError, ConfigError, look_up
from beampipe.events import BeamSpot, Event, Events, Tracks
from beampipe.files import check_command_output, check_folder_outputs, make_folder, require_ours
from beampipe.simulation.degradation import degrader, run_degraded
from beampipe.simulation.detector import Detector, detector_modules, read_layout
from beampipe.simulation.primaries import EventGenerator, Gun
from beampipe.simulation.stereo import measured_on
from beampipe.terminal import bar, console, say
from beampipe.terminal.commands import (
    STANDARD_OUTPUT,
    Commands,
    Json,
    Replace,
    options_of,
    print_json,
    with_options,
)
from beampipe.tracking import formats
from beampipe.tracking.acts.settings import COMPARED_SETTINGS, acts_names
from beampipe.tracking.catalogue import (
    DEFAULT_MODEL,
    DEFAULT_PIPELINE,
    MODEL_HELP,
    complete_model,
    complete_pipeline,
    pipeline_names,
)
from beampipe.tracking.formats.options import InputPaths, reads_events
from beampipe.tracking.formats.read_options import ReadOptions
from beampipe.tracking.training.task import BUDGETS, Task

app = Commands("Track finding: simulate events, find tracks, score them, draw them, train.")


# beampipe tracking simulate


BEAM_SPOT_HELP: Final = "Where the beam line runs: x,y at z = 0 in mm, or x,y,dxdz,dydz."


DegradationName = Annotated[
    str, typer.Option(help="Lost hits, dead modules and noise that are applied: none, default or stress.")
]

DegradeAgain = Annotated[
    bool, typer.Option("--degrade-again", help="Accept events that have lost hits and got noise before.")
]

Seed = Annotated[int, typer.Option(help="Seed of every random choice; the same seed gives the same events.", min=0)]


def _detector_option(show_default: str) -> Any:
    """The option for a detector; `show_default` says what is used without it."""
    text = "TOML file of the detector that the events are of; odd is the Open Data Detector."
    return typer.Option("--detector", help=text, show_default=show_default)


DetectorFile = Annotated[Path | None, _detector_option("the ACTS GenericDetector")]

_DEFAULT_GUN: Final = Gun()

_SPECIES: Final = {"muon": 13, "pion": 211, "electron": 11, "kaon": 321, "proton": 2212}

_GUN_PANEL: Final = "Gun: particles of your choice, with --hard gun"


def _of_gun(*, low_and_high: bool = False, **options: Any) -> Any:
    """An option of the gun."""
    return typer.Option(rich_help_panel=_GUN_PANEL, metavar="LOW HIGH" if low_and_high else None, **options)


@app.command()
def simulate(
    output: Path,
    events: Annotated[int, typer.Option(min=0)] = 10,
    mu: Annotated[float, typer.Option(min=0)] = 200.0,
    hard: str | None = None,
    vertex_z_max: Annotated[float | None, typer.Option(min=1)] = None,
    beam_spot: Annotated[str, typer.Option(help=BEAM_SPOT_HELP)] = "0,0",
    seed: Seed = 1,
    first_event: Annotated[int, typer.Option(min=0)] = 0,
    workers: Annotated[int, typer.Option(min=1)] = 1,
    detector: DetectorFile = None,
    clusters: bool = False,
    degradation: DegradationName = "none",
    multiplicity: Annotated[int, _of_gun(min=1)] = _DEFAULT_GUN.n_particles,
    species: Annotated[str, _of_gun()] = "muon",
    pt: Annotated[tuple[float, float], _of_gun(low_and_high=True)] = _DEFAULT_GUN.pt,
    eta: Annotated[tuple[float, float], _of_gun(low_and_high=True)] = (_DEFAULT_GUN.eta_min, _DEFAULT_GUN.eta_max),
    origin: Annotated[tuple[float, float], _of_gun(low_and_high=True)] = _DEFAULT_GUN.origin,
    spread: Annotated[float, _of_gun()] = _DEFAULT_GUN.spread,
    force: Replace = False,
) -> None:
    """Simulate events with Pythia 8 and ACTS Fatras, by default clean: `evaluate` loses hits and adds noise, too.

    Args:
        output: Parquet file to write the events to.
        events: Number of events to simulate.
        mu: Mean number of pile-up collisions per event.
        hard: What is added to the pile-up: ttbar (one top pair), jets (above 1 TeV), gun (see below) or none. [default:
            ttbar; none if mu is 0]
        vertex_z_max: Spread the vertices evenly over |z| below this, in mm. [default: normally, by 50 mm or as in the
            file of --detector]
        first_event: Number that the first event gets.
        workers: Number of processes that simulate.
        clusters: Let particles share charge among channels, and clusters among particles; the file of --detector must
            have sensor_mm, as odd has.
        multiplicity: Number of particles per event.
        species: What the particles are, of either charge: muon, pion, electron, kaon, proton.
        pt: Lowest and highest pT of a particle, in GeV.
        eta: Smallest and largest |eta| of a particle.
        origin: Smallest and largest distance from the beam line at which a particle starts, in mm; 0 0 starts all from
            one vertex, others are isolated, each by a vertex of its own.
        spread: Largest angle across the beam between a particle with an --origin and the line from the beam line to
            it, in rad: 0 for those that point to the beam line, pi for any direction. [default: pi]
    """
    from beampipe.simulation.run import simulate_events
    from beampipe.tracking.formats.parquet import write_simulated

    check_command_output(output, inputs=[] if detector is None else [detector], force=force)
    layout = None if detector is None else read_layout(detector)
    gun = Gun(multiplicity, look_up("species", species, _SPECIES), pt, *eta, origin, spread)
    if gun != _DEFAULT_GUN and hard != "gun":
        raise ConfigError(f"simulate: got options of the gun with --hard {hard or 'left out'}, expected --hard gun")
    generator = EventGenerator(
        pileup=mu,
        hard=hard or ("ttbar" if mu else "none"),
        gun=gun,
        vertex_z_max=vertex_z_max,
        beam_spot=BeamSpot.parse(beam_spot),
    )
    built = Detector() if layout is None else Detector.of(layout)
    spoilt = degrader(degradation, seed, layout)
    with bar("events", events) as step:
        simulated = simulate_events(
            events,
            generator if layout is None else generator.at(layout.vertex),
            replace(built, clusters=clusters),
            seed=seed,
            first_event=first_event,
            workers=workers,
            apart=True,
            progress=lambda done: step(),
        )
        counts = write_simulated(output, ((spoilt(event), counted) for event, counted in simulated))
    summary = ", ".join(f"{value} {name}" for name, value in counts.items())
    say(f"{output}: {events} events{', ' if summary else ''}{summary}")


# beampipe tracking train, validate


_BeamSpot = Annotated[str, typer.Option(help=BEAM_SPOT_HELP)]

MinLayers = Annotated[
    int | None,
    typer.Option(
        help="Fewest layers that a particle must cross to count as reconstructable.",
        show_default="that of the model",
        min=1,
    ),
]

MinHits = Annotated[
    int | None, typer.Option(help="Fewest hits of a track that is scored.", show_default="as --min-layers", min=1)
]

_Jets = Annotated[
    list[Path] | None,
    typer.Option(
        help="File of events of the same detector with hard jets, to measure the efficiency in their cores;"
        " may be given several times."
    ),
]


@app.command()
@with_options(
    task=options_of(Task, without=("for_what", "effort", "command", "inputs", "beam_spot")),
    options=options_of(ReadOptions),
)
def train(
    files: InputPaths,
    output: Path,
    quick: bool = False,
    full: bool = False,
    soft_events: list[Path] | None = None,
    jets: _Jets = None,
    for_what: Annotated[str, typer.Option("--for", show_default=False)] = "",
    beam_spot: _BeamSpot = "0,0",
    degrade_again: DegradeAgain = False,
    as_json: Json = False,
    *,
    task: Task,
    options: ReadOptions,
) -> None:
    """Learn a tracker model for any detector from clean simulated events: windows, networks, cuts, and a report.

    Hits need particle ids; particles need momenta in GeV and vertices in mm. Layers are recognised by identifiers
    of any kind, or by r and z of the hits. Of six events in a row one is for cuts, one for scores, four to learn from.

    The file of --detector is kept with the model, with the map of its field. If it has double-sided strips, their
    measurements are compared with the tracks.

    The last line says whether the model is usable; if it is not, the exit code is 1.

    Args:
        output: Folder of the new tracker model.
        quick: Learn in one to three minutes, for a first look.
        full: Learn as long as the shipped models did.
        soft_events: File of events to learn the soft ones from, with --soft; may be given several times.
        for_what: Detector and events that the model is for, in a line.
    """
    from beampipe.tracking.models import digest_of
    from beampipe.tracking.models.card import model_facts, verdict
    from beampipe.tracking.training.tracker_model import learn_model

    if quick and full:
        raise ConfigError("got --quick and --full, expected one of them")
    if soft_events and not task.soft:
        raise ConfigError("got --soft-events without --soft, expected both")
    inputs = [path for path in (*files, *(soft_events or ()), *(jets or ())) if path.is_file()]
    words = ["beampipe"]  # the command as it was typed, with the names of files only: folders are left out
    for word in sys.argv[1:]:
        option, equals, value = word.rpartition("=")
        name = Path(value).name if Path(value).parent.is_dir() else ""
        words.append(f"{option}{equals}{name or value}")
    task = replace(
        task,
        name=task.name or output.resolve().name,
        for_what=for_what,
        effort=BUDGETS["quick" if quick else "full" if full else "normal"],
        command=shlex.join(words),
        inputs={path.name: digest_of(path) for path in inputs},
        beam_spot=BeamSpot.parse(beam_spot),
    )
    events_of = partial(_read_events, options=options, degrade_again=degrade_again)
    soft_sample = events_of(soft_events) if soft_events else None
    jet_sample = chain.from_iterable(events_of(jets).values()) if jets else None
    model = learn_model(events_of(files), output, task, soft_events=soft_sample, jets=jet_sample, say=say)
    judged = verdict(model)
    if as_json:
        print_json({**model_facts(model), **judged._asdict()})
    else:
        _print_model(model, as_json=False)
        typer.echo(judged.text)
    command = f"beampipe track FILES -o OUT --tracker-model {output} -p {model.default_pipeline}"
    say(f"{output}/validation.html; find tracks with it: {command}")
    if not judged.usable:
        raise typer.Exit(1)


def _print_model(model: tracking.TrackerModel, *, as_json: bool) -> None:
    """Print the overview of a model."""
    from beampipe.tracking.models.card import model_facts, model_overview

    if as_json:
        print_json(model_facts(model))
    else:
        typer.echo("\n".join(model_overview(model)))


def open_noted(path: Path, options: ReadOptions) -> Events:
    """The events of a file or folder; prints what a user should know of how it is read."""
    events = formats.open_with(path, options)
    if events.note:
        say(f"{path}: {events.note}", err=True)
    return events


def _read_events(files: list[Path], options: ReadOptions, *, degrade_again: bool) -> dict[str, Iterable[Event]]:
    """The events of each file, which are read when they are used, in the order of the files' names."""
    opened: dict[str, Iterable[Event]] = {str(path): open_noted(path, options) for path in sorted(files)}
    if not degrade_again:
        return opened
    return {name: (replace(event, provenance=None) for event in events) for name, events in opened.items()}


@app.command()
@reads_events
def validate(
    files: InputPaths,
    tracker_model: Annotated[str, typer.Option(help=MODEL_HELP, autocompletion=complete_model)] = DEFAULT_MODEL,
    output: Path | None = None,
    events: Annotated[int, typer.Option(min=1)] = 24,
    jets: _Jets = None,
    min_layers: MinLayers = None,
    min_hits: MinHits = None,
    card: bool = False,
    detector: Annotated[Path | None, _detector_option("no ACTS")] = None,
    degrade_again: DegradeAgain = False,
    force: Replace = False,
    as_json: Json = False,
    *,
    options: ReadOptions,
) -> None:
    """Measure what each pipeline of a tracker model can and cannot do, on clean events that it was not learned from.

    With --detector, ACTS is measured beside them.

    Args:
        output: Folder for validation.json and the page. [default: none is written]
        events: Largest number of events.
        card: Write the numbers into the card of the model.
    """
    from beampipe.tracking.acts.layouts import acts_detector
    from beampipe.tracking.evaluation.results import EVALUATION_MARK
    from beampipe.tracking.finder_names import named_finder
    from beampipe.tracking.models import digest_of
    from beampipe.tracking.models.card import write_model
    from beampipe.tracking.training.detector import inspect_events, require_field
    from beampipe.tracking.training.validation import PAGE, REPORT, write_report
    from beampipe.tracking.training.validation import validate as measure

    if output is not None:
        check_folder_outputs(output, (REPORT, PAGE), inputs=files, force=force, marks=[EVALUATION_MARK])
    model = tracking.load_model(tracker_model)
    if card and not jets and not force and any("jets" in each.curves for each in model.performance.values()):
        raise ConfigError(
            f"--card: the card of {model.name} has efficiencies in jets, which would be lost; give events with --jets,"
            " or drop these with --force"
        )
    if any(path.is_file() and digest_of(path) in model.origin.inputs.values() for path in files):
        raise ConfigError(f"got events that {model.name} was learned from, expected others, as with another --seed")
    layout = model.detector_layout if detector is None else read_layout(detector)
    events_of = partial(_read_events, options=options, degrade_again=degrade_again)
    read_of_files: dict[str, list[Event]] = {}
    for name, each in events_of(files).items():
        read_of_files[name] = list(islice(each, events - sum(map(len, read_of_files.values()))))
    read = list(chain.from_iterable(read_of_files.values()))
    sample = inspect_events(read_of_files, model.layout.beam_spot)
    require_field(sample.field, model.layout.field, f"{model.name} has")
    # With a detector file the modules keep their identifiers, which training numbers anew.
    scored: Sequence[Event] = sample.layers.events if layout is None else read
    jet_events: Sequence[Event] = list(chain.from_iterable(events_of(jets or []).values()))
    if jets and layout is None:
        jet_events = inspect_events(jet_events, model.layout.beam_spot).layers.events
    modules = None if layout is None else detector_modules(layout)
    where = None if detector is None or layout is None else acts_detector(layout)
    acts = {} if where is None else {name: named_finder(name, where, model=model) for name in COMPARED_SETTINGS}
    validation = measure(
        model,
        scored,
        ", ".join(path.name for path in sorted(files)),
        jets=jet_events,
        min_layers=min_layers,
        min_hits=min_hits,
        has_modules=sample.layers.has_modules,
        modules=modules,
        acts=acts,
    )
    model = validation.written_to(model)
    if output is not None:
        make_folder(output)
        write_report(model, validation, output)
        say(f"{output}/validation.html")
    if card:
        write_model(model)
        say(f"{model.path}/model.json")
    _print_model(model, as_json=as_json)


# beampipe track, and the other commands of beampipe tracking


FINDER_NAMES: Final = (
    f"{pipeline_names()}; or ACTS, for hits with modules of its Generic detector: {', '.join(acts_names())}"
)

PIPELINE_HELP: Final = f"Name of the pipeline that finds the tracks: {FINDER_NAMES}."


def complete_finder(incomplete: str) -> list[str]:
    """Shell completions of the name of a pipeline or of ACTS."""
    return complete_pipeline(incomplete) + [name for name in acts_names() if name.startswith(incomplete)]


def pipeline_option(
    help: str, show_default: bool | str = True, complete: Callable[[str], list[str]] = complete_finder
) -> Any:
    """The option for a pipeline or another finder."""
    return typer.Option("--pipeline", "-p", help=help, show_default=show_default, autocompletion=complete)


DEFAULT_OF_MODEL: Final = f"that of the tracker model, {DEFAULT_PIPELINE} for the shipped ones"

PipelineName = Annotated[str | None, pipeline_option(PIPELINE_HELP, DEFAULT_OF_MODEL)]

ModelName = Annotated[str, typer.Option(help=MODEL_HELP, autocompletion=complete_model)]

Device = Annotated[str, typer.Option(help="Device that the pipeline runs on: cpu, cuda or cuda:N.")]

BeamSpotText = Annotated[
    str | None,
    typer.Option("--beam-spot", metavar="X,Y", help=BEAM_SPOT_HELP, show_default="that of the model, and followed"),
]

Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Go on where hits are of another detector, in other units or too many for the pipeline; replace files that"
        " beampipe did not write.",
    ),
]

Threads = Annotated[int, typer.Option(help="Number of CPU threads that the pipeline uses.", min=1, max=256)]

Parameters = Annotated[
    bool,
    typer.Option(
        "--parameters",
        help="Fit a helix to each track: d0, z0, phi, theta, q/p; `track` writes them to NAME.parameters.parquet.",
    ),
]

DEMO_PIPELINES: Final = (DEFAULT_PIPELINE, "exatrkx_walk", "exatrkx")
"""Names of the pipelines that the demo compares: by windows, by networks with best paths, and by networks alone."""

DEMO_FILES: Final = ("event.png", "event.html", "evaluation.json")
"""Names of the files that the demo writes."""


def parsed_beam_spot(text: str | None) -> BeamSpot | None:
    """The beam line of an option, None where it is not given; `ConfigError` if the text is not a beam line."""
    return None if text is None else BeamSpot.parse(text)


def track(
    files: list[Path],
    output: Path,
    finder: Callable[[], AbstractContextManager[tracking.TrackFinder]],
    options: ReadOptions,
    form: str = "labels",
    in_flight: int = 1,
    *,
    parameters: bool = False,
    force: bool = False,
) -> list[dict[str, Any]]:
    """Find the tracks of the events in `files` and write their labels; fails at the end if a file could not be used.

    Args:
        files: files or folders of events, in any format that `open_events` reads.
        output: file to write the labels to; a folder if there are several `files`.
        finder: called once to make the track finder, after all arguments are checked.
        options: how the files are read.
        form: name of the form in which the tracks are written, a key of `beampipe.tracking.formats.TRACK_FORMATS`.
        in_flight: number of events that are submitted before the first result is awaited.
        parameters: whether to write the parameters of the tracks, too, which the finder then fits.
        force: replace files that beampipe did not write, and accept hits of another detector.

    Returns:
        The result of each file, for JSON: the fields of `FileResult`, and the number of fitted tracks.

    Raises:
        BeampipeError: one or more files could not be used, and the tracks of the others are written; or there are
            no tracks at all, and most hits lie on no layer.
    """
    from beampipe.tracking.batch import check_outputs, track_files
    from beampipe.tracking.formats.writing import PARAMETER_MARK, parameters_path

    # Options are checked before anything slow is loaded.
    formats.check_options(options)
    also_read = [] if options.particles is None else [Path(options.particles)]
    for path in check_outputs(files, output, form, also_read, parameters=parameters):
        require_ours(path, force=force, marks=formats.track_format(form).marks(path))
        if parameters:
            require_ours(parameters_path(path), force=force, marks=[PARAMETER_MARK])
    read = partial(open_noted, options=options)
    failed, fitted, results = 0, Counter[Path](), list[dict[str, Any]]()
    with finder() as opened, bar("events") as step:

        def done(path: Path, _: Event, tracks: Tracks) -> None:
            step()
            if tracks.parameters is not None:
                fitted[path] += int(tracks.parameters.fitted.sum())

        for result in track_files(files, opened, output, done, in_flight, read=read, form=form, parameters=parameters):
            if result.error is not None:
                failed += 1
                typer.secho(f"beampipe: {result.error}", err=True, fg="red")
            else:
                results.append(asdict(result) | ({"n_fitted": fitted[result.path]} if parameters else {}))
                share = f" ({result.n_on_tracks / result.n_hits:.1%} on tracks)" if result.n_hits else ""
                outside = f", {result.n_outside} of them on no layer" if result.n_outside else ""
                of_these = f" ({fitted[result.path]} fitted)" if parameters else ""
                say(
                    f"{result.path}: {result.n_events} events, {result.n_hits} hits{share}{outside},"
                    f" {result.n_tracks} tracks{of_these} -> {result.output}"
                )
    if failed:
        raise BeampipeError(f"{failed} of {len(files)} inputs could not be used, see above")
    hits, outside, tracks = (sum(result[name] for result in results) for name in ("n_hits", "n_outside", "n_tracks"))
    if not (tracks or force) and outside > hits / 2:  # events of a few hits are not checked before
        raise BeampipeError(
            f"no tracks, and {outside} of {hits} hits lie on no layer; the labels are written. Are positions in mm and"
            " rad (--scale), and is it the detector of the tracker model (--tracker-model)? --force accepts that"
        )
    return results


@app.command()
def demo(
    output: Path = Path("demo/tracking"),
    pipeline: Annotated[
        list[str] | None,
        pipeline_option(
            f"Name of a pipeline to run, of {pipeline_names()}; may be given several times.", ", ".join(DEMO_PIPELINES)
        ),
    ] = None,
    tracker_model: ModelName = DEFAULT_MODEL,
    mu: int = 200,
    threads: Threads = 1,
    force: Replace = False,
    as_json: Json = False,
) -> None:
    """Find the tracks of the shipped events, print efficiency and time, and draw one event.

    Args:
        output: Folder to write the pictures and the figures to.
        mu: Mean number of pile-up collisions of the shipped events: 0, 60 or 200.
    """
    from beampipe.tracking.display import show_event
    from beampipe.tracking.evaluation.results import EVALUATION_MARK, write_evaluation
    from beampipe.tracking.evaluation.scoring import tracks_of

    check_folder_outputs(output, DEMO_FILES, force=force, marks=[EVALUATION_MARK])
    events, names = tracking.shipped_events(mu), pipeline or list(DEMO_PIPELINES)
    finders = tracking.named_finders(names, threads=threads, model=tracker_model)
    say("takes about 10 s on two idle cores", err=True)
    content = f"ttbar with mu = {mu}" if mu else "one soft collision each"
    sample = f"shipped events, {content}"
    with bar("events") as step:
        result = tracking.evaluate(finders, events, sample=sample, threads=threads, progress=step)
    write_evaluation(output / "evaluation.json", result)
    event = tracking.shipped_events(mu)[0]
    tracks = tracks_of(finders[names[0]], event.hits)
    endings = "png", "html"
    with bar("drawing", len(endings)) as step:
        for ending in endings:
            show_event(event, tracks, output / f"event.{ending}", detector=tracker_model, name=f"{content}, {names[0]}")
            step()
    _print_evaluation(result, None, (), as_json=as_json)
    say(f"pictures and figures: {', '.join(str(output / name) for name in DEMO_FILES)}")


@app.command()
def example(
    file: Annotated[Path, typer.Argument()] = Path("events.parquet"),
    mu: int = 0,
    for_training: bool = False,
    force: Replace = False,
) -> None:
    """Write shipped events with truth to a file, to try the other commands on.

    Args:
        file: Parquet file to write the events to.
        mu: Mean number of pile-up collisions of the shipped events: 0, 60 or 200.
        for_training: Write 30 events with mu = 20 in which no hit is lost, enough to train on; no --mu.
    """
    from beampipe.tracking.data import write_example

    if for_training and mu:
        raise ConfigError("got --mu and --for-training, expected one of them; events for training have mu = 20")
    check_command_output(file, force=force)
    write_example(file, mu, for_training=for_training)
    if for_training:
        say(f"{file}: 30 events with mu = 20; next: beampipe tracking train {file} -o my_detector/ --quick")
    else:
        say(f"{file}: events with mu = {mu}; next: beampipe track {file} -o tracks.parquet")


@app.command()
def models(
    model: Annotated[list[str] | None, typer.Argument(autocompletion=complete_model)] = None, as_json: Json = False
) -> None:
    """List tracker models: what each pipeline of them is for, what was measured of it, and what it cannot do.

    Args:
        model: Tracker models to describe: names of shipped ones, or folders. [default: all shipped ones]
    """
    from beampipe.tracking.models.card import model_facts, model_overview

    chosen = [tracking.load_model(name) for name in model or tracking.shipped_models()]
    if as_json:
        print_json([model_facts(each) for each in chosen])
    else:
        typer.echo("\n".join(line for each in chosen for line in model_overview(each)))


@app.command()
def export(
    output: Path,
    pipeline: Annotated[
        str,
        pipeline_option(
            "Name of the pipeline whose networks are written: exatrkx, exatrkx_walk or a soft one.",
            complete=complete_pipeline,
        ),
    ] = "exatrkx",
    tracker_model: ModelName = DEFAULT_MODEL,
    force: Replace = False,
) -> None:
    """Write embedding, filter and interaction network as ONNX for other programs, such as the Gnn plug-in of ACTS.

    Args:
        output: Folder to write the networks and their card to.
    """
    from beampipe.tracking.network_export import export_networks, file_names, networks_of

    model = tracking.load_model(tracker_model)
    stem, _ = networks_of(model, pipeline)
    check_folder_outputs(output, file_names(stem), force=force)
    for path in export_networks(model, pipeline, output):
        say(str(path))


_Scored = Annotated[
    list[str] | None,
    pipeline_option(f"Name of a finder to score, of {FINDER_NAMES}; may be given several times.", DEFAULT_OF_MODEL),
]


@app.command()
@reads_events
def evaluate(
    files: InputPaths,
    pipeline: _Scored = None,
    tracker_model: ModelName = DEFAULT_MODEL,
    beam_spot: BeamSpotText = None,
    force: Force = False,
    by: list[str] | None = None,
    metric: str | None = None,
    degradation: DegradationName = "none",
    degrade_again: DegradeAgain = False,
    events: Annotated[int | None, typer.Option(min=1)] = None,
    min_pt: Annotated[float, typer.Option(min=0)] = 1.0,
    min_layers: MinLayers = None,
    min_hits: MinHits = None,
    device: Device = "cpu",
    threads: Threads = 1,
    seed: Seed = 1,
    output: Path | None = None,
    detector: DetectorFile = None,
    as_json: Json = False,
    *,
    options: ReadOptions,
) -> None:
    """Measure efficiency, fakes and time of track finders on simulated events.

    With --detector, hits of which only positions are known are put on the modules that they lie on, and pairs of strips
    become space points.

    Args:
        by: Variable to print efficiencies by: pt, eta, vertex_z, distance (to the nearest track) or origin; may be
            given several times.
        metric: Further metric to print: colliderml, that of its tracking task.
        events: Largest number of events to score. [default: all]
        min_pt: Lowest pT of a particle that counts [GeV].
        output: JSON file to write the result to; - for standard output.
    """
    from beampipe.tracking.acts.layouts import detector_for_acts
    from beampipe.tracking.evaluation.report import require_metric
    from beampipe.tracking.evaluation.results import EVALUATION_MARK
    from beampipe.tracking.evaluation.scoring import require_variables

    if output is not None and output != STANDARD_OUTPUT:
        inputs = [read for path in files for read in formats.input_files(path, options.particles)]
        check_command_output(output, inputs=inputs, parents=True, force=force, marks=[EVALUATION_MARK])
    layout = None if detector is None else read_layout(detector)
    modules = detector_modules(layout)
    read: Iterator[Event] = chain.from_iterable(open_noted(path, options) for path in files)
    if layout is not None:
        read = (measured_on(event, modules, layout.field_T) for event in read)
    chosen = run_degraded(read, degradation, seed, layout, again=degrade_again)
    require_variables(by or ())
    require_metric(metric)
    expected = parsed_beam_spot(beam_spot)
    model = tracking.load_model(tracker_model)
    finders = tracking.named_finders(
        pipeline or [model.default_pipeline],
        device=device,
        threads=threads,
        model=tracker_model,
        beam_spot=expected,
        check=not force,
        detector=detector_for_acts(layout, pipeline or ()),
    )
    fewest = model.crossing.min_layers if min_layers is None else min_layers
    names = ", ".join(str(path) for path in files)
    with bar("events", events) as step:
        result = tracking.evaluate(
            finders,
            islice(chosen, events),
            sample=f"{names} (degradation: {degradation}, seed {seed})",
            selection=tracking.Selection(min_pt=min_pt, min_layers=fewest),
            min_track_hits=fewest if min_hits is None else min_hits,
            beam_spot=model.layout.beam_spot if expected is None else expected,
            threads=threads,
            progress=step,
        )
    _print_evaluation(result, output, by or (), metric, as_json=as_json)


def _print_evaluation(
    result: tracking.Evaluation, output: Path | None, by: Sequence[str], metric: str | None = None, *, as_json: bool
) -> None:
    """Print an evaluation, as tables or as JSON, and write it."""
    from beampipe.tracking.evaluation.report import print_evaluation
    from beampipe.tracking.evaluation.results import evaluation_body, write_evaluation

    if as_json or output == STANDARD_OUTPUT:
        print_json(evaluation_body(result))
    else:
        print_evaluation(result, console(), by, metric)
    if output is not None and output != STANDARD_OUTPUT:
        write_evaluation(output, result)


@app.command()
@reads_events
def display(
    file: Annotated[Path, typer.Argument()],
    output: Path,
    event: Annotated[int, typer.Option(min=0)] = 0,
    pipeline: PipelineName = None,
    tracker_model: ModelName = DEFAULT_MODEL,
    device: Device = "cpu",
    threads: Threads = 1,
    min_pt: Annotated[float, typer.Option(min=0)] = 1.0,
    beam_spot: BeamSpotText = None,
    force: Force = False,
    parameters: Parameters = False,
    detector: Annotated[Path | None, _detector_option("the layers of the tracker model")] = None,
    *,
    options: ReadOptions,
) -> None:
    """Draw one event, the tracks found in it, and the layers of its detector.

    Args:
        file: File or folder of events.
        output: Picture to write: .png, .pdf, .svg, .html (interactive) or .json (for Phoenix).
        event: Place of the event in the file, counted from 0.
        min_pt: Lowest pT of a track that is drawn [GeV].
    """
    check_command_output(output, inputs=formats.input_files(file, options.particles), parents=True, force=force)
    chosen = next(islice(open_noted(file, options), event, None), None)
    if chosen is None:
        raise ConfigError(f"{file}: got event {event}, expected one that is there; count from 0")
    from beampipe.tracking.display import show_event
    from beampipe.tracking.finder_names import named_finder

    finder = named_finder(
        pipeline,
        device=device,
        threads=threads,
        model=tracker_model,
        beam_spot=parsed_beam_spot(beam_spot),
        check=not force,
    )
    if parameters:
        finder = tracking.FittedFinder(finder, tracking.load_track_fitter(tracker_model))
    show_event(chosen, finder.find(chosen.hits), output, min_pt, tracker_model if detector is None else detector)
    say(f"{output}: event {chosen.event_id}")
