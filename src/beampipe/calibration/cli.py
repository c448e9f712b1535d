"""`beampipe calibration ...`: parse, call, print.

Whatever takes time to import is imported inside the command that needs it, so that `beampipe --help` is quick.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beampipe.terminal import bars, console, say
from beampipe.terminal.commands import Commands, Json, Replace, print_json, with_options
from beampipe.terminal.task_options import Executor, Workers, number_of_workers, slurm_options, task_progress

if TYPE_CHECKING:
    from beampipe.calibration.tasks.plan import Plan
    from beampipe.workflow import SlurmOptions


app = Commands("Quark/gluon tagging: scale factors from ROOT files.")

Config = Annotated[Path, typer.Argument(help="TOML file that configures the calibration.")]
Results = Annotated[Path | None, typer.Option(help="Folder of the results.", show_default="the one in CONFIG")]
Seed = Annotated[int, typer.Option(help="Seed of every random choice.", min=0)]


def _require_our_results(folder: Path, *, force: bool) -> None:
    """Refuse a folder of results whose files beampipe did not write."""
    if not folder.exists():  # a first run forks its workers before slow imports
        return
    from beampipe.calibration.exports.write import EXPORT_MARKS, EXPORTS
    from beampipe.calibration.method.factors import FACTORS_MARK
    from beampipe.calibration.report.write import PAGE
    from beampipe.calibration.tasks.runtime import FACTORS, REPORT
    from beampipe.files import check_folder_outputs

    check_folder_outputs(folder, [FACTORS], force=force, marks=[FACTORS_MARK])
    check_folder_outputs(folder / REPORT, [PAGE, *EXPORTS], force=force, marks=EXPORT_MARKS)


@app.command()
def demo(
    output: Path = Path("demo/calibration"),
    workers: Workers = 0,
    force: Replace = False,
    as_json: Json = False,
) -> None:
    """Run all stages on the shipped sample, and draw the scale factors.

    Args:
        output: Folder for store, results and report.
    """
    from beampipe.calibration.run import run_demo

    _require_our_results(output, force=force)
    say("takes about 20 s on two idle cores", err=True)
    with task_progress() as progress:
        plan = run_demo(output, number_of_workers(workers), progress)
    _summary(plan, as_json=as_json)


@app.command()
def init(
    config: Annotated[Path, typer.Argument()] = Path("dijets.toml"),
    force: Replace = False,
) -> None:
    """Write a commented configuration and the small sample that it reads, to start from.

    Args:
        config: TOML file to write; its sample goes into a folder beside it.
    """
    from beampipe.calibration.run import start_calibration

    folder = start_calibration(config, force=force)
    say(f"{config}: reads {folder}; next: beampipe calibration run {config}")


@app.command()
def simulate(
    sample: Annotated[str, typer.Argument()] = "nominal",
    output: Path = Path("samples"),
    events: Annotated[int, typer.Option(min=1)] = 10_000,
    files: Annotated[int, typer.Option(min=1)] = 1,
    seed: Seed = 1,
    constituents: bool = False,
    workers: Workers = 0,
    list_samples: Annotated[bool, typer.Option("--list")] = False,
    force: Replace = False,
    as_json: Json = False,
) -> None:
    """Generate events by Pythia 8 with a toy detector, as ROOT files.

    Args:
        sample: Name of a sample; --list prints them.
        output: Folder in which the sample gets a folder of its own.
        events: Number of events to generate.
        files: Number of files per slice of hard pT.
        constituents: Write the constituents of jets, too.
        list_samples: Print the samples, and stop.
    """
    from beampipe.files import check_command_output
    from beampipe.simulation.ntuples import SAMPLES, simulate_dijets
    from beampipe.simulation.ntuples.dijets import file_specs, is_made

    if list_samples:
        if as_json:
            print_json([{"sample": spec.name, "role": spec.role, "note": spec.note} for spec in SAMPLES.values()])
        else:
            typer.echo("\n".join(f"{spec.name:20} {spec.role:20} {spec.note}" for spec in SAMPLES.values()))
        return
    for wanted in file_specs(sample, output / sample, events, seed, files, constituents):
        if not is_made(wanted):
            check_command_output(wanted.path, parents=True, force=force)
    with bars() as progress, progress("files", 3 * files) as step:
        paths = simulate_dijets(
            sample,
            output / sample,
            events,
            seed=seed,
            files=files,
            workers=number_of_workers(workers),
            constituents=constituents,
            progress=lambda _: step(),
        )
    say(f"{output / sample}: {len(paths)} files")
    if as_json:
        print_json({"sample": sample, "files": paths})


@app.command()
def toy(
    output: Path,
    events: Annotated[int, typer.Option(min=1)] = 100_000,
    files: Annotated[int, typer.Option(min=1)] = 3,
    event_weights: Annotated[int, typer.Option(min=1)] = 8,
    data: bool = False,
    quark_tracks: float = 1.0,
    gluon_tracks: float = 1.0,
    seed: Seed = 1,
    force: Replace = False,
) -> None:
    """Draw events from shapes fitted to the simulation: any number, fast.

    Args:
        output: Folder for the ROOT files.
        events: Number of events to draw.
        files: Number of files to write.
        event_weights: Number of weights of each event.
        data: Write data: neither labels nor weights.
        quark_tracks: Factor on the number of tracks of quark jets.
        gluon_tracks: Factor on the number of tracks of gluon jets.
    """
    from beampipe.files import check_command_output
    from beampipe.simulation.ntuples import TOY_SLICES, ToyModel, simulate_toy
    from beampipe.simulation.ntuples.toy import toy_paths

    dataset = "toy_data" if data else "toy"
    for paths in toy_paths(output, files, slices=1 if data else len(TOY_SLICES), dataset=dataset):
        for path in paths:
            check_command_output(path, parents=True, force=force)
    with bars() as progress, progress("files", files) as step:
        simulate_toy(
            output,
            events,
            files=files,
            n_weights=event_weights,
            seed=seed,
            kind="data" if data else "simulation",
            model=ToyModel(quark_tracks=quark_tracks, gluon_tracks=gluon_tracks),
            dataset=dataset,
            progress=lambda _: step(),
        )
    say(f"{output}: {files} files")


@app.command()
def inject(
    files: Annotated[list[Path], typer.Argument()],
    output: Path,
    injection: str = "fewer_tracks",
    seed: Seed = 1,
    force: Replace = False,
) -> None:
    """Make pseudo-data with a known scale factor from simulated files.

    Args:
        files: Files of one simulated sample.
        output: Folder for the pseudo-data.
        injection: Name of the change: fewer_tracks, quark_fewer, gluon_fewer, ...
    """
    from beampipe.files import check_command_output
    from beampipe.simulation.ntuples import inject as alter
    from beampipe.simulation.ntuples.injection import injected_paths

    for path in injected_paths(files, output, injection):
        check_command_output(path, inputs=files, parents=True, force=force)
    with bars() as progress, progress("files", len(files)) as step:
        paths = alter(files, output, injection, seed=seed, progress=lambda _: step())
    say(f"{output}: {len(paths)} files")


@app.command("train-tagger")
def train_tagger(
    config: Config,
    output: Path = Path("gbdt.txt"),
    results: Results = None,
    seed: Seed = 1,
    workers: Workers = 0,
    executor: Executor = "processes",
    force: Replace = False,
    as_json: Json = False,
) -> None:
    """Train a tagger on the nominal sample: boosted trees, or a network of the constituents of jets.

    Args:
        output: File to write: text of LightGBM, or NAME.safetensors for a tagger of constituents.
    """
    from beampipe.calibration.config import load_configuration
    from beampipe.calibration.training import train_from_configuration
    from beampipe.files import check_command_output
    from beampipe.jets.substructure import JET_FEATURES

    marks = [f"feature_names={' '.join(JET_FEATURES)}"]
    check_command_output(output, inputs=[config], parents=True, force=force, marks=marks)
    configuration = load_configuration(config, output=results)
    with bars() as progress:
        result = train_from_configuration(configuration, output, seed, executor, number_of_workers(workers), progress)
    if as_json:
        print_json(result)
        return
    typer.echo(f"{output}: {result}")


@app.command("inspect")
def inspect_command(
    files: Annotated[list[str], typer.Argument()],
    preset: str = "",
    tree: str = "",
    output: Path | None = None,
    force: Replace = False,
    as_json: Json = False,
) -> None:
    """List trees, recognised branches and missing branches in ROOT files.

    Args:
        files: ROOT files or addresses.
        preset: Layout to look with. [default: the one that fits best]
        tree: Tree of events, with its folders. [default: the one that fits best]
        output: TOML file to write, a configuration to start from.
    """
    from beampipe.calibration.recognition import inspect_ntuples
    from beampipe.files import check_command_output

    if output is not None:
        check_command_output(output, force=force)  # the file has no mark, as its user will edit it
    inspections = inspect_ntuples(files, preset, tree, Path() if output is None else output.parent)
    if as_json:
        print_json(inspections[0] if len(inspections) == 1 else inspections)
    else:
        typer.echo("\n\n".join("\n".join(inspection.lines) for inspection in inspections))
    if output is not None:
        output.write_text(inspections[0].configuration, encoding="utf-8")
        say(f"configuration: {output}")
    if not all(inspection.good for inspection in inspections):
        raise typer.Exit(1)


def _stage(name: str, until: str, text: str) -> None:
    """Add the command that runs all stages up to `until`."""

    @app.command(name, help=text)
    @with_options(slurm=slurm_options)
    def stage(
        config: Config,
        slurm: SlurmOptions,
        output: Path | None = None,
        workers: Workers = 0,
        executor: Executor = "processes",
        force: Replace = False,
        as_json: Json = False,
    ) -> None:
        """Run all stages up to `until`.

        Args:
            output: Folder for results. [default: the one in CONFIG]
        """
        from beampipe.calibration.config import load_configuration
        from beampipe.calibration.run import run_calibration
        from beampipe.calibration.tasks.runtime import RunSettings, fork_workers

        configuration = load_configuration(config, output=output)
        _require_our_results(configuration.output, force=force)
        settings = RunSettings(executor, number_of_workers(workers), slurm)
        if not configuration.output.exists():
            fork_workers(settings)
        with task_progress() as progress:
            plan = run_calibration(configuration, settings, until=until, progress=progress)
        _summary(plan, until, as_json=as_json)


for _name, _until, _text in (
    ("run", "report", "Run everything that is not yet done, from ROOT files to the report."),
    ("select", "select", "Stage 1: tables of dijet events from ROOT files."),
    ("predict", "predict", "Stage 2: scores of the boosted taggers."),
    ("fill", "fill", "Stage 3: histograms of all variations, merged."),
    ("reweight", "reweight", "Stage 4: factors that make central jets look like forward jets."),
    ("extract", "extract", "Stage 5: efficiencies of quark and gluon jets."),
    ("factors", "factors", "Stage 6: scale factors with uncertainties."),
    ("report", "report", "Stage 7: plots, tables, correctionlib, ROOT, one HTML page."),
):
    _stage(_name, _until, _text)


@app.command()
def explain(
    config: Config,
    scale_factor: Annotated[str, typer.Argument()] = "SF_q",
    tagger: str = "n_trk",
    working_point: float = 0.5,
    pt: float = 700.0,
    eta: float = 0.0,
    results: Results = None,
    every: Annotated[bool, typer.Option("--all")] = False,
    as_json: Json = False,
) -> None:
    """Say where a scale factor came from, down to files and cuts.

    Args:
        scale_factor: Scale factor: SF_q (quark efficiency) or SF_g (gluon rejection).
        tagger: Name of the tagger.
        working_point: Working point: quark efficiency aimed at.
        pt: Transverse momentum of the jet [GeV].
        eta: Pseudorapidity of the jet, if there are bins of it.
        every: Name every file and chunk, not only how many there are.
    """
    from beampipe.calibration.config import load_configuration
    from beampipe.calibration.explanation import explain as explanation_of
    from beampipe.calibration.run import plan_calibration

    plan = plan_calibration(load_configuration(config, output=results))
    explained = explanation_of(plan, scale_factor, tagger=tagger, working_point=working_point, pt=pt, eta=eta)
    if as_json:
        print_json(explained.plain())
    else:
        typer.echo("\n".join(explained.lines(full=every)))


@app.command()
def combine(
    sets: Annotated[list[str], typer.Argument(metavar="NAME=FILE")],
    output: Path = Path("combined"),
    separate: list[str] | None = None,
    force: Replace = False,
    as_json: Json = False,
) -> None:
    """Combine calibrations by two or more pairs of regions: best linear unbiased estimate, with all correlations.

    Args:
        sets: Two or more sets: joint.json of their reports, by name.
        output: Folder for the combined scale factors.
        separate: Source of uncertainty that moves each set on its own; may be given several times.
    """
    from beampipe.calibration.exports import write_joint
    from beampipe.calibration.exports.write import EXPORT_MARKS, JOINT_EXPORTS
    from beampipe.calibration.method.joint import combine_sets, read_sets
    from beampipe.calibration.report.tables import print_estimate
    from beampipe.files import check_folder_outputs

    check_folder_outputs(output, JOINT_EXPORTS, force=force, marks=EXPORT_MARKS)
    combination = combine_sets(read_sets(sets), separate=separate or ())
    paths = write_joint(combination.joint, output, combination.write)
    if as_json:
        print_json(combination.plain())
    else:
        print_estimate(combination, console())
    say("\n".join(map(str, paths)))


def _summary(plan: Plan, until: str = "report", *, as_json: bool = False) -> None:
    """Print what was done, and the scale factors if they were made; raise an error if none is valid."""
    from beampipe.calibration.tasks.runtime import FACTORS, REPORT, reaches

    configuration = plan.configuration
    chunks = sum(len(sample.chunks) for sample in plan.samples.values())
    files = sum(len(sample.sample.files) for sample in plan.samples.values())
    say(f"{until}: done for {len(plan.samples)} samples, {files} files, {chunks} chunks -> {configuration.output}")
    if as_json:
        done = {"stage": until, "samples": len(plan.samples), "files": files, "chunks": chunks}
        factors = json.loads((configuration.output / FACTORS).read_bytes()) if reaches(until, "factors") else None
        print_json({**done, "output": configuration.output, "factors": factors})
    elif reaches(until, "factors"):
        from beampipe.calibration.report.tables import print_factors

        print_factors(configuration, console())
    if until == "report":
        say(f"report: {configuration.output / REPORT / 'index.html'}")
    if reaches(until, "factors"):
        from beampipe.calibration.method.factors import Factors

        Factors.read(configuration.output / FACTORS).require_valid()
