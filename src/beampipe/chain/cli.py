"""`beampipe chain ...`: parse, call, print.

Whatever takes time to import is imported inside the command that needs it, so that `beampipe --help` is quick.
"""

from __future__ import annotations

import hashlib
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beampipe.errors import BeampipeError
from beampipe.terminal import console, make_table, say
from beampipe.terminal.commands import Commands, Json, Replace, print_json, with_options
from beampipe.terminal.task_options import Executor, Workers, number_of_workers, slurm_options, task_progress
from beampipe.tracking.catalogue import DEFAULT_MODEL, DEFAULT_PIPELINE

if TYPE_CHECKING:
    from beampipe.chain.run import ChainResult, InputResult
    from beampipe.chain.settings import ChainSettings
    from beampipe.workflow import SlurmOptions

app = Commands("From collisions to a measurement: simulate, find tracks, calibrate, fit, in one run.")


@app.command("run")
@with_options(slurm=slurm_options)
def run_command(
    config: Annotated[Path, typer.Argument()],
    slurm: SlurmOptions,
    output: Path | None = None,
    workers: Workers = 0,
    executor: Executor = "processes",
    force: Replace = False,
    as_json: Json = False,
) -> None:
    """Run everything that is not yet done, from collisions to the report.

    Args:
        config: TOML file that describes the chain.
        output: Folder for results. [default: the one in CONFIG]
    """
    from beampipe.chain.settings import load_settings

    _run(load_settings(config, output), executor, workers, slurm, force=force, as_json=as_json)


@app.command()
def demo(
    output: Path = Path("demo/chain"),
    workers: Workers = 0,
    force: Replace = False,
    as_json: Json = False,
) -> None:
    """Run all stages on a few hundred collisions that are simulated here; shipped ntuples add thousands.

    Args:
        output: Folder for store, results and report.
    """
    from beampipe.chain.settings import demo_settings

    say("takes about a minute on two idle cores", err=True)
    _run(demo_settings(output), "processes", workers, None, force=force, as_json=as_json)


@app.command()
def init(
    config: Annotated[Path, typer.Argument()] = Path("chain.toml"),
    force: Replace = False,
) -> None:
    """Write a commented description of a chain, to start from.

    Args:
        config: TOML file to write.
    """
    from beampipe.chain.settings import EXAMPLE
    from beampipe.files import check_command_output, write_whole

    check_command_output(config, parents=True, force=force)  # the file has no mark, as its user will edit it
    text = EXAMPLE.read_text(encoding="utf-8").partition("\n")[2]
    start = f"# From collisions to a measurement: beampipe chain run {config.name}. Paths are relative to this file.\n"
    write_whole(config, lambda part: part.write_text(start + text, encoding="utf-8"))
    say(f"{config}: next: beampipe chain run {config}")


@app.command("verify")
def verify_command(
    store: Annotated[Path, typer.Argument()],
    share: float = 0.01,
    as_json: Json = False,
) -> None:
    """Make some artifacts of a store again on this machine, and compare their bytes.

    Args:
        store: Folder of a run, or of its store.
        share: Share of the artifacts of each stage, one at least.
    """
    from beampipe.chain.verify import verify

    result = verify(store, share)
    if as_json:
        print_json(result)
    else:
        say(f"{result.compared} artifacts made again: {len(result.differing)} differ; {result.absent} are not there")
    if result.differing:
        raise BeampipeError(f"{store}: other bytes here than in the store: {', '.join(result.differing[:5])}")


@app.command("stages")
def stages_command(
    config: Annotated[Path | None, typer.Argument()] = None,
    as_json: Json = False,
) -> None:
    """List the stages of chunks of events: what each reads and writes.

    Args:
        config: TOML file of a chain, for its own stages. [default: shipped stages]
    """
    from rich.markup import escape

    from beampipe.chain.own_stages import columns_of
    from beampipe.chain.settings import EXAMPLE, load_settings
    from beampipe.chain.stages import STAGES, replaced

    stages = replaced(dict(STAGES), load_settings(config or EXAMPLE).stage)
    rows = [
        {"stage": name, "code": each.module, "reads": each.inputs, "writes": columns_of(each.output)}
        for name, each in stages.items()
    ]
    if as_json:
        print_json({"stages": rows})
        return
    table = make_table("stages of chunks", ("stage", "code", "reads", "writes"), ())
    for row in rows:
        table.add_row(str(row["stage"]), str(row["code"]), ", ".join(row["reads"]), escape(str(row["writes"])))
    console().print(table)


@app.command("export")
def export_command(
    what: Annotated[str, typer.Argument()],
    config: Annotated[Path, typer.Argument()] = Path("chain.toml"),
    form: Annotated[str, typer.Option("--as")] = "parquet",
    output: Annotated[Path | None, typer.Option("--output", "-o")] = None,
    sample: str = "",
    force: Replace = False,
    as_json: Json = False,
) -> None:
    """Write hits, tracks, particles or jets that a chain made, for other programs.

    Args:
        what: One of hits, tracks, particles, jets.
        config: TOML file of the chain, or folder of a run.
        form: Format: parquet or root with lists for each event, or edm4hep for hits and tracks.
        output: File to write. [default: WHAT with the ending of the format]
        sample: Name of the sample. [default: the nominal one]
    """
    from beampipe.chain.export import ENDINGS, export
    from beampipe.chain.settings import load_settings
    from beampipe.chain.verify import read_settings
    from beampipe.errors import look_up
    from beampipe.files import check_command_output

    output = output or Path(f"{what}{look_up('format', form, ENDINGS)}")
    settings = read_settings(config) if config.is_dir() else load_settings(config)
    check_command_output(output, force=force)
    n_events = export(settings, what, form, output, sample)
    if as_json:
        print_json({"output": output, "events": n_events})
        return
    say(f"{output}: {what} of {n_events} events")


@app.command("stream")
def stream_command(
    files: Annotated[list[Path] | None, typer.Argument()] = None,
    rate: list[float] | None = None,
    deadline: str = "500ms",
    url: list[str] | None = None,
    pipeline: str = DEFAULT_PIPELINE,
    tracker_model: str = DEFAULT_MODEL,
    no_fallback: bool = False,
    queue: Annotated[int, typer.Option(min=1)] = 64,
    seconds: Annotated[float, typer.Option(min=0.1)] = 10.0,
    mu: int = 0,
    events: Annotated[int, typer.Option(min=1)] = 100,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    output: Path | None = None,
    force: Replace = False,
    as_json: Json = False,
) -> None:
    """Send events at random times to servers or to a pipeline here, and count what is in time, late and lost.

    Args:
        files: Files of events that are sent in a cycle. [default: shipped events]
        rate: Mean number of events that arrive per second; may be given several times. [default: 50, 80 and 95 percent
            of the largest throughput]
        deadline: Time from the arrival of an event to its tracks, such as 500ms or 2s.
        url: Address of a server, or of several, separated by commas, with a NAME= in front if wanted; each is measured
            apart; may be given several times. [default: the pipeline in this process]
        pipeline: Name of the pipeline here, and of the model on the servers.
        tracker_model: Tracker model of the pipeline here.
        no_fallback: Leave all events to the servers, also those that they answer late.
        queue: Largest number of events under way; with as many the source is held back.
        seconds: Length of the stream, in seconds.
        mu: Pile-up of the shipped events: 0, 60 or 200.
        events: Largest number of events of each file.
        seed: Seed of the times of arrival.
        output: Picture of the latency against the rate: png, pdf or svg.
    """
    from beampipe.chain import stream
    from beampipe.files import check_command_output
    from beampipe.tracking.data import shipped_events
    from beampipe.tracking.formats import open_events

    if output is not None:
        check_command_output(output, parents=True, force=force)
    settings = stream.StreamSettings(
        pipeline,
        stream.parse_duration(deadline, "--deadline"),
        seconds,
        queue,
        fallback=not no_fallback,
        tracker_model=tracker_model,
        seed=seed,
    )
    ways = [stream.Way.parse(text) for text in url or ()] or [stream.Way(stream.DIRECT)]
    sources = [islice(open_events(path), events) for path in files] if files else [shipped_events(mu)]
    hits = [event.hits for source in sources for event in source]
    points = []
    with stream.open_stream(hits, settings) as source:
        for way in ways:
            rates = rate
            if not rates:
                largest = source.capacity(way)
                say(f"{way.name}: at most {largest:.4g} events/s", err=True)
                rates = [share * largest for share in stream.CAPACITY_SHARES]
            points += [source.measure(way, value)[0] for value in rates]
    if as_json:
        print_json({"streams": points})
    else:
        console().print(stream.stream_table(points, pipeline))
    if output is not None:
        stream.draw_stream(points, pipeline, output)
        say(output)
    reasons = [f"{point.way}: {reason}" for point in points for reason in point.reasons]
    if reasons:
        raise BeampipeError(f"{sum(point.lost for point in points)} events lost: {reasons[0]}")


def _run(
    settings: ChainSettings,
    executor: str,
    workers: int,
    slurm: SlurmOptions | None,
    *,
    force: bool,
    as_json: bool,
) -> None:
    from beampipe.calibration import RunSettings
    from beampipe.chain.report import PAGE, write_input_report, write_report
    from beampipe.chain.run import RESULT, run_chain, run_inputs
    from beampipe.chain.telemetry import TRACE
    from beampipe.files import check_command_output

    check_command_output(settings.output / PAGE, parents=True, force=force)
    check_command_output(settings.output / RESULT, parents=True, force=force, marks=['"gluon_fraction"'])
    if settings.telemetry is not None:
        check_command_output(settings.output / TRACE, parents=True, force=force, marks=['"resourceSpans"'])
    where = RunSettings(executor, number_of_workers(workers), slurm)
    if not settings.measures:
        with task_progress() as progress:
            found = run_inputs(settings, where, progress)
            page = write_input_report(found)
        _print_input(found, as_json=as_json)
        say(f"report: {page}")
        return
    with task_progress() as progress:
        result = run_chain(settings, where, progress)
        page = write_report(result)
    _print(result, as_json=as_json)
    say(f"report: {page}")


def _print_input(result: InputResult, *, as_json: bool) -> None:
    events = result.events
    numbers = {"events": len(events.events), "tracks": len(events.tracks.pt), "jets": len(events.jets)}
    left_out = dict(result.left_out)
    if as_json:
        print_json({**numbers, "left_out": left_out, "output": result.settings.output})
        return
    say(", ".join(f"{number} {what}" for what, number in numbers.items()))
    for stage, why in left_out.items():
        say(f"left out: {stage}: {why}")


def _print(result: ChainResult, *, as_json: bool) -> None:
    from beampipe.chain.report import closure
    from beampipe.chain.run import RESULT

    path = result.settings.output / RESULT
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if as_json:
        print_json({"measurements": result.measurements, "sha256": digest, "output": result.settings.output})
        return
    table = make_table("fraction of gluon jets", ("shares of", "jets of"), ("fitted", "by label", "difference / error"))
    for each in result.measurements:
        for one in each.bins:
            pull = (one.fraction - one.true) / one.error
            name = f"{one.pt_low:g}-{one.pt_high:g} GeV"
            table.add_row(each.shares, name, f"{one.fraction:.3f} ± {one.error:.3f}", f"{one.true:.3f}", f"{pull:+.2f}")
        name = f"all but {', '.join(each.left_out)}" if each.left_out else "all bins"
        table.add_row(
            each.shares, name, f"{each.fraction:.3f} ± {each.error:.3f}", f"{each.true:.3f}", f"{each.pull:+.2f}"
        )
    if len(result.measurements) == 1:
        table.add_row("calibrated", "no bin", "no valid scale factors", "", "")
    console().print(table)
    say(closure(result.measurements))
    say(f"{path}: sha256 {digest[:16]}")
