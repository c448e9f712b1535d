"""The commands `beampipe tracking train`, `validate` and `train-part`: parse, call, print.

Whatever takes time to import is imported inside the command that needs it, so that `beampipe --help` is quick.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from beampipe.errors import ConfigError
from beampipe.terminal import say
from beampipe.terminal.commands import Json, print_json
from beampipe.tracking.formats.options import EventFiles, reads_events
from beampipe.tracking.models.shipped import DEFAULT_MODEL, MODEL_HELP, complete_model

if TYPE_CHECKING:
    from beampipe.tracking.events import Event
    from beampipe.tracking.formats import Told
    from beampipe.tracking.models.model import TrackerModel

__all__ = ["MinHits", "MinLayers", "train", "train_part", "validate"]

_Quick = Annotated[bool, typer.Option("--quick", help="Learn in minutes, for a first look.")]
_Full = Annotated[bool, typer.Option("--full", help="Learn as long as the shipped models did.")]
_Displaced = Annotated[bool, typer.Option("--displaced", help="Learn windows for `track --displaced`, too.")]
_Soft = Annotated[bool, typer.Option("--soft", help="Learn windows and networks for soft tracks (pT > 0.3 GeV), too.")]
_SoftEvents = Annotated[
    list[Path] | None,
    typer.Option(help="File of events to learn the soft ones from, with --soft; may be given several times."),
]
_Only = Annotated[
    list[str] | None, typer.Option(help="Learn this part only, such as module_map; may be given several times.")
]
_Name = Annotated[str | None, typer.Option(help="Name of the model.", show_default="name of the folder")]
_ForWhat = Annotated[
    str, typer.Option("--for", help="Detector and events that the model is for, in a line.", show_default=False)
]
_Field = Annotated[
    float | None,
    typer.Option(help="Magnetic field along z, in T.", show_default="measured from the curvature of tracks"),
]
_BeamSpot = Annotated[str, typer.Option(help="Where the beam line runs: x,y at z = 0 in mm, or x,y,dxdz,dydz.")]
_MIN_LAYERS: Final = "Fewest layers that a particle must cross to count as reconstructable."
_TOLD: Final = "three quarters of what the events' particles cross, at most 7"
_FewestLayers = Annotated[
    int | None, typer.Option(help=f"{_MIN_LAYERS} No longer tracks are asked for.", show_default=_TOLD, min=3)
]
MinLayers = Annotated[int | None, typer.Option(help=_MIN_LAYERS, show_default="that of the model", min=1)]
MinHits = Annotated[
    int | None, typer.Option(help="Fewest hits of a track that is scored.", show_default="as --min-layers", min=1)
]
_Log = Annotated[
    Path | None, typer.Option(help="File to append the metrics of the training to, one JSON object a line.")
]


@reads_events
def train(
    files: EventFiles,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new tracker model.")],
    quick: _Quick = False,
    full: _Full = False,
    soft: _Soft = False,
    soft_events: _SoftEvents = None,
    displaced: _Displaced = False,
    only: _Only = None,
    name: _Name = None,
    for_what: _ForWhat = "",
    field: _Field = None,
    beam_spot: _BeamSpot = "0,0",
    min_layers: _FewestLayers = None,
    min_hits: MinHits = None,
    log: _Log = None,
    as_json: Json = False,
    *,
    told: Told,
) -> None:
    """Learn a tracker model for any detector from clean simulated events: windows, networks, cuts, and a report.

    Hits need particle ids; particles need momenta in GeV and vertices in mm. Layers are told by identifiers of any
    kind, or by r and z of the hits. Of six events in a row one chooses cuts, one is scored, four are learned from.
    """
    from beampipe.tracking.beam_spot import BeamSpot
    from beampipe.tracking.models.model import digest_of
    from beampipe.tracking.training.tracker.effort import EFFORTS
    from beampipe.tracking.training.tracker.learn import Task, learn_model

    if quick and full:
        raise ConfigError("got --quick and --full, expected one of them")
    if soft_events and not soft:
        raise ConfigError("got --soft-events without --soft, expected both")
    inputs = [path for path in (*files, *(soft_events or ())) if path.is_file()]
    flags = {"quick": quick, "full": full, "soft": soft, "displaced": displaced}
    limits = {"min-layers": min_layers, "min-hits": min_hits}
    task = Task(
        name or output.resolve().name,
        for_what,
        EFFORTS["quick" if quick else "full" if full else "normal"],
        soft=soft,
        displaced=displaced,
        only=tuple(only or ()),
        command=_command(files, soft_events, output, only, flags, limits, told),
        inputs={path.name: digest_of(path) for path in inputs},
        beam_spot=BeamSpot.parse(beam_spot),
        field=field,
        log=log,
        min_layers=min_layers,
        min_hits=min_hits,
    )
    taught, softer = _events(files, told), _events(soft_events, told) if soft_events else None
    model = learn_model(taught, output, task, soft_events=softer, say=say)
    _tell(model, as_json=as_json)
    say(f"{output}/validation.html; find tracks with it: beampipe track FILES -o OUT --tracker-model {output}")


def _tell(model: TrackerModel, *, as_json: bool) -> None:
    """Print what a model can and cannot do."""
    from beampipe.tracking.models.overview import model_facts, model_overview

    if as_json:
        print_json(model_facts(model))
    else:
        typer.echo("\n".join(model_overview(model)))


def _events(files: list[Path], told: Told) -> Iterator[Event]:
    """The events of all files, in the order of the files' names."""
    from beampipe.tracking.formats import open_told

    return chain.from_iterable(open_told(path, told) for path in sorted(files))


def _command(
    files: list[Path],
    soft_events: list[Path] | None,
    output: Path,
    only: list[str] | None,
    flags: dict[str, bool],
    limits: dict[str, int | None],
    told: Told,
) -> str:
    """The command with the names of the files only: where they lay is nobody's business."""
    words = ["beampipe tracking train", *(path.name for path in sorted(files)), f"-o {output.name}"]
    words += [f"--{flag}" for flag, given in flags.items() if given]
    words += [f"--{limit} {value}" for limit, value in limits.items() if value is not None]
    words += told.words()
    words += [f"--soft-events {path.name}" for path in soft_events or ()]
    return " ".join([*words, *(f"--only {stem}" for stem in only or ())])


@reads_events
def validate(
    files: EventFiles,
    tracker_model: Annotated[str, typer.Option(help=MODEL_HELP, autocompletion=complete_model)] = DEFAULT_MODEL,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for validation.json and the page.", show_default="none is written"),
    ] = None,
    events: Annotated[int, typer.Option("--events", "-n", help="Largest number of events.", min=1)] = 24,
    min_layers: MinLayers = None,
    min_hits: MinHits = None,
    card: Annotated[bool, typer.Option("--card", help="Write the numbers into the card of the model.")] = False,
    as_json: Json = False,
    *,
    told: Told,
) -> None:
    """Measure what each pipeline of a tracker model can and cannot do, on clean events that it was not learned from."""
    from beampipe.tracking.models.opening import load_model
    from beampipe.tracking.models.writing import write_model
    from beampipe.tracking.training.tracker.page import write_report
    from beampipe.tracking.training.tracker.sample import look_at
    from beampipe.tracking.training.tracker.validation import validate as measure

    known = load_model(tracker_model)
    seen = look_at(islice(_events(files, told), events), known.layout.beam_spot)
    names = ", ".join(path.name for path in sorted(files))
    validation = measure(
        known,
        seen.layers.events,
        names,
        min_layers=min_layers,
        min_hits=min_hits,
        has_modules=seen.layers.has_modules,
    )
    known = replace(known, performance=validation.performance())
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_report(known, validation, output)
        say(f"{output}/validation.html")
    if card:
        write_model(known)
        say(f"{known.path}/model.json")
    _tell(known, as_json=as_json)


def train_part(
    name: Annotated[
        str,
        typer.Argument(
            help="What to train: module_map, module_map_soft, exatrkx, exatrkx_soft or an ablation (ablation_full)."
        ),
    ],
    files: EventFiles,
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
    log: _Log = None,
) -> None:
    """Train one weight file for the Generic detector: windows, networks, or a variant of the ablation."""
    from beampipe.tracking.formats import open_events
    from beampipe.tracking.training.windows import WINDOW_RECIPES, train_windows

    files = sorted(files)
    events = chain.from_iterable(map(open_events, files))
    options = {"--validation": validation, "--windows": windows, "--start": start}
    given = "".join(f" {key} {value.name}" for key, value in options.items() if value is not None)
    names = [path.name for path in files]
    about = {"command": f"beampipe tracking train-part {name} {' '.join(names)}{given} -o {output.name}", "data": names}
    if name in WINDOW_RECIPES:
        train_windows(name, events, output, about)
    elif validation is None or windows is None:
        raise ConfigError(f"train-part {name}: got no --validation or no --windows, expected both")
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
    say(f"{output}: {name}")
