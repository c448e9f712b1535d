"""`beampipe analysisops ...`: parse, call, print.

Slow imports are inside the commands that need them, so that `beampipe --help` is fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, cast

import typer

from beampipe.terminal import bars, console, make_table, say
from beampipe.terminal.commands import Commands, Json, Replace, print_json

if TYPE_CHECKING:
    from beampipe.analysisops.contract import Level

app = Commands("Can an agent do the analysis? Tasks with known truth, tools, grades.")

Tasks = Annotated[
    list[str] | None,
    typer.Option("--task", "-t", help="Name of a shipped task, or folder of another; may be given several times."),
]
Levels = Annotated[
    list[int] | None,
    typer.Option(
        "--level",
        "-l",
        help="How much prompts tell: 1 how, 2 what, 3 only the question; may be given several times.",
        min=1,
        max=3,
        show_default="all three",
    ),
]
Instances = Annotated[int, typer.Option(help="Number of instances of each task.", min=1)]
Secret = Annotated[
    Path | None,
    typer.Option(
        "--secret-file",
        help="File with the secret that evaluation seeds are made of.",
        show_default="development seeds",
    ),
]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(help="Port to listen on; 0 for a free one.", min=0, max=65535)]
CardUrl = Annotated[str, typer.Option(help="Address under which clients reach the server, if it is another.")]
JudgeName = Annotated[
    str, typer.Option("--judge", help="Judge of the words: offline, none, or a TOML file with a model.")
]
ToolsHost = Annotated[
    str, typer.Option(help="Name or address of this machine at which agents elsewhere reach their tools.")
]
Seed = Annotated[int, typer.Option(help="Seed of the instance.", min=0)]
Folder = Annotated[Path, typer.Argument()]
Name = Annotated[str, typer.Argument()]
Least = Annotated[int, typer.Option(min=1)]
_HIDDEN_MARK: Final = '{\n "family": "'
"""How the JSON file of the hidden truth begins."""

Pages = Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")]


@app.command("demo")
def demo_command(output: Path = Path("demo/analysisops"), force: Replace = False, as_json: Json = False) -> None:
    """Have the scripted agent solve one instance of every task over real sockets, and write the page.

    Args:
        output: Folder for the run and its page.
    """
    from beampipe.analysisops.demo import PAGE, run_demo
    from beampipe.analysisops.runs.engine import RUN_FILES, RUN_MARKS
    from beampipe.files import check_folder_outputs

    check_folder_outputs(output, [PAGE], force=force)
    check_folder_outputs(output / "run", RUN_FILES, force=force, marks=RUN_MARKS)
    say("takes about a minute on two idle cores", err=True)
    with bars() as progress:
        result = run_demo(output, progress)
    if as_json:
        print_json(result)
    else:
        typer.echo("\n".join(result.lines()))
    say(f"page: {result.page}")


@app.command("tasks")
def tasks_command(as_json: Json = False) -> None:
    """List the shipped tasks."""
    from beampipe.analysisops.tasks.load import all_tasks, load_task

    table, rows = make_table("tasks", ["task", "levels", "answers", "what"], []), []
    for name, folder in all_tasks().items():
        task = load_task(folder)
        spec = task.spec
        answers = [*spec.answers, *spec.words, *spec.histograms, *spec.artifacts]
        answers, levels = list(dict.fromkeys(answers)), list(task.levels)
        rows.append({"task": name, "levels": levels, "answers": answers, "what": spec.description})
        table.add_row(name, ", ".join(map(str, levels)), ", ".join(answers), spec.description)
    if as_json:
        print_json(rows)
    else:
        console().print(table)


@app.command("check")
def check_command(folder: Folder, as_json: Json = False) -> None:
    """Check the files of a task, and print its levels, checks and points.

    Args:
        folder: Folder of a task.
    """
    from beampipe.analysisops.tasks.load import load_task

    task = load_task(folder)
    for warning in task.warnings:
        typer.secho(f"beampipe: {warning}", err=True, fg="yellow")
    checks = len(task.rubric.gates) + len(task.rubric.rules)
    if as_json:
        points = {"points": task.rubric.max_points, "judged_points": task.rubric.max_judged}
        about = {"task": task.id, "version": task.spec.version, "levels": task.levels, "checks": checks}
        print_json({**about, **points, "warnings": task.warnings})
        return
    typer.echo(f"{task.id}: version {task.spec.version}, levels {', '.join(map(str, task.levels))}, {checks} checks,")
    typer.echo(f"{task.rubric.max_points:g} points, {task.rubric.max_judged:g} more for a judge, apart")


@app.command("sample")
def sample_command(
    task: Name, output: Path, seed: Seed = 1, hidden: Path | None = None, force: Replace = False
) -> None:
    """Make the data of an instance: ROOT files and a manifest.

    Args:
        task: Name of a shipped task, or folder of another.
        output: Folder for the data.
        hidden: JSON file for the hidden truth: parameters, names, units; outside of the data.
    """
    import json

    from beampipe.analysisops.evaluation import task_folder
    from beampipe.analysisops.instances import make_data
    from beampipe.analysisops.tasks.load import load_task
    from beampipe.analysisops.tools.data_folder import MANIFEST, MANIFEST_MARK
    from beampipe.files import check_command_output, check_folder_outputs, write_whole

    data = output / "data"
    names = [path.name for path in data.iterdir()] if data.is_dir() and not (data / MANIFEST).exists() else [MANIFEST]
    check_folder_outputs(data, names, force=force, marks=[MANIFEST_MARK])
    if hidden is not None:
        check_command_output(hidden, parents=True, force=force, marks=[_HIDDEN_MARK])
    truth = make_data(load_task(task_folder(task)), seed, output)
    say(f"{data}: {sum(map(len, truth.files.values()))} files")
    if hidden is not None:
        text = json.dumps(truth.to_json(), indent=1)
        write_whole(hidden, lambda part: part.write_text(text, encoding="utf-8"))


@app.command("export")
def export_command(
    output: Path,
    tasks: Tasks = None,
    level: Annotated[int, typer.Option(min=1, max=3)] = 3,
    instances: Instances = 1,
    secret: Secret = None,
    package: str = "",
    force: Replace = False,
) -> None:
    """Write tasks as folders for Harbor, with data, instruction, verifier and solution.

    Args:
        output: Folder in which each instance gets a folder.
        level: How much prompts tell.
        package: What pip installs in the container that grades: a requirement, or the path of a wheel. [default: this
            version of beampipe]
    """
    from beampipe import __version__
    from beampipe.analysisops.evaluation import task_folder
    from beampipe.analysisops.harbor import MARK, export_task
    from beampipe.analysisops.seeds import Seeds
    from beampipe.analysisops.tasks.load import load_task, shipped_tasks
    from beampipe.files import check_folder_outputs

    seeds = Seeds.first(instances, secret)
    chosen = [load_task(task_folder(name)) for name in tasks or shipped_tasks()]
    exported = [(task, seed) for task in chosen for seed in seeds.of(task.id, cast("Level", level))]
    names = [f"{task.id}-{seed.label}/task.toml" for task, seed in exported]
    check_folder_outputs(output, names, force=force, marks=[MARK])
    requirement = package or f"beampipe[analysisops]=={__version__}"
    with bars() as progress, progress("instances", len(exported)) as step:
        for task, seed in exported:
            export_task(task, seed, cast("Level", level), output, requirement)
            step()
    say(f"{output}: {len(exported)} tasks")


@app.command("tools")
def tools_command(data: Folder, ledger: Path = Path("ledger.jsonl"), http: bool = False) -> None:
    """Serve the tools over MCP, for an agent to be tried.

    Args:
        data: Folder of data with its manifest.json, such as `sample` makes it.
        ledger: File of the ledger, new.
        http: Serve streamable HTTP on loopback, and print the address; else stdio.
    """
    import secrets
    import signal

    from beampipe.analysisops.ledger import Ledger
    from beampipe.analysisops.tools.mcp import serve_stdio, serving_tools
    from beampipe.analysisops.tools.session import Session
    from beampipe.processes import SignalEvent

    session = Session(data, Ledger(ledger, secrets.token_bytes(32)))
    if not http:
        serve_stdio(session)
        return
    ended = SignalEvent()
    ended.set_on(signal.SIGINT, signal.SIGTERM)
    with serving_tools(session) as url:
        typer.echo(f"tools: {url}")
        ended.wait()


@app.command("run")
def run_command(
    output: Path,
    agents: Annotated[list[str], typer.Option("--agent", "-a")],
    tasks: Tasks = None,
    levels: Levels = None,
    instances: Instances = 1,
    secret: Secret = None,
    epochs: Least = 1,
    workers: Least = 1,
    judge: JudgeName = "offline",
    tools_host: ToolsHost = "127.0.0.1",
    force: Replace = False,
    as_json: Json = False,
) -> None:
    """Run tasks for agents; what is done already is not done again.

    Args:
        output: Folder of the run; an unfinished run goes on.
        agents: Agent to run: scripted, follower, nop, recall, oracle, the address of an A2A agent (NAME=ADDRESS names
            it in results), a TOML file with a model, or a program that brings its own code; may be given several times.
        epochs: Repetitions of each assessment.
        workers: Number of assessments at once.
    """
    from beampipe.analysisops.evaluation import evaluate
    from beampipe.analysisops.runs.engine import RUN_FILES, RUN_MARKS
    from beampipe.analysisops.seeds import Seeds
    from beampipe.analysisops.tasks.load import shipped_tasks
    from beampipe.files import check_folder_outputs

    check_folder_outputs(output, RUN_FILES, force=force, marks=RUN_MARKS)
    number = len(tasks or shipped_tasks()) * len(levels or (1, 2, 3)) * instances * len(agents) * epochs
    with bars() as progress, progress("assessments", number) as step:
        evaluate(
            tasks or (),
            agents,
            Seeds.first(instances, secret),
            output,
            levels=tuple(cast("Level", level) for level in levels or (1, 2, 3)),
            epochs=epochs,
            workers=workers,
            judge=judge,
            tools_host=tools_host,
            progress=lambda _: step(),
        )
    _print_summary(output, as_json=as_json)


@app.command("rescore")
def rescore_command(folder: Folder, as_json: Json = False) -> None:
    """Grade a run again from its records; the same rules give the same bytes.

    Args:
        folder: Folder of a run.
    """
    from beampipe.analysisops.evaluation import rescore

    outcome = rescore(folder)
    if as_json:
        print_json(outcome)
    else:
        typer.echo("\n".join(outcome.lines()))


@app.command("report")
def report_command(
    folder: Folder,
    output: Pages = Path("report.html"),
    references: Literal["development", "all", "none"] = "development",
    force: Replace = False,
    as_json: Json = False,
) -> None:
    """Write the page of a run: leaderboard, costs, and every assessment.

    Args:
        folder: Folder of a run.
        references: Seeds whose references the page shows; of others only scores.
    """
    from beampipe.analysisops.report import write_report
    from beampipe.files import check_command_output

    check_command_output(output, parents=True, force=force)

    say(f"page: {write_report(folder, output, references=references)}")
    _print_summary(folder, as_json=as_json)


@app.command("green", hidden=True)
@app.command("serve")
def serve_command(
    host: Host = "127.0.0.1",
    port: Port = 9009,
    card_url: CardUrl = "",
    tasks: Tasks = None,
    instances: Instances = 1,
    secret: Secret = None,
    folder: Path = Path("analysisops-host"),
    judge: JudgeName = "offline",
    tools_host: ToolsHost = "127.0.0.1",
    attempts: Least = 100,
) -> None:
    """Serve a host over A2A: it takes requests of assessments, has agents solve tasks, and returns the results.

    Args:
        folder: Folder for instances and ledgers; no agent may read it.
        attempts: Maximum number of attempts at each secret instance.
    """
    from beampipe.analysisops.host import serve_host

    served = {"card_url": card_url, "judge": judge, "tools_host": tools_host}
    serve_host(host, port, tasks or (), instances, secret, folder, attempts=attempts, **served)


@app.command("agent")
def agent_command(name: Name, host: Host = "127.0.0.1", port: Port = 9019, card_url: CardUrl = "") -> None:
    """Serve an agent over A2A.

    Args:
        name: Agent to serve: scripted, follower, nop, recall, or a TOML file with a model.
    """
    from beampipe.analysisops.agents.serving import serve_agent
    from beampipe.analysisops.registry import make_agent

    serve_agent(make_agent(name), host, port, card_url=card_url)


def _print_summary(folder: Path, *, as_json: bool) -> None:
    """Print the scores of a run and the first fault of each agent, as a table or as JSON."""
    from beampipe.analysisops.runs.engine import RunFolder
    from beampipe.analysisops.runs.statistics import scores_of, summarise

    results, missing = RunFolder(folder).read_results(), RunFolder(folder).missing()
    summaries = summarise(scores_of(results), by=("agent", "level"), missing=missing)
    if as_json:
        print_json([{"agent": agent, "level": level, **vars(score)} for (agent, level), score in summaries.items()])
        return
    columns = ["instances", "mean", "error", "errors", "missing"]
    table = make_table("scores", ["agent", "level"], columns, importance=("level", "mean", "error"))
    for (agent, level), score in summaries.items():
        error = "" if score.error is None else f"{score.error:.3f}"
        counts = (str(score.errors), str(score.missing))
        table.add_row(str(agent), str(level), str(score.seeds), f"{score.mean:.3f}", error, *counts)
    console().print(table)
    first: dict[str, str] = {}
    for result in results:
        faults = [issue["message"] for issue in result["result"]["issues"] if issue["severity"] == "error"]
        if faults:
            first.setdefault(result["assessment"]["agent"], f"{result['assessment']['task_id']}: {faults[0]}")
    for agent, fault in first.items():  # an agent may have written it
        typer.echo(f"{agent}, {''.join(letter if letter.isprintable() else ' ' for letter in fault)[:400]}")
