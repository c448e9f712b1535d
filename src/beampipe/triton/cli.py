"""Commands for Triton servers of any models: parse, call, print.

Other packages add them to their commands. Slow imports are inside the command that needs them.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from beampipe.terminal import say
from beampipe.terminal.commands import Commands, Json, print_json
from beampipe.triton.connection_file import SECRET_VARIABLE, use_secret_file

app = Commands("Any NVIDIA Triton: run it under supervision, load and unload models.")

engine_commands = Commands("NVIDIA Triton, which serves the models.")


def several(meaning: str, *names: str, **settings: Any) -> Any:
    """An option that may be given several times; `settings` are those of `typer.Option`."""
    return typer.Option(*names, help=f"{meaning}; may be given several times.", **settings)


TritonFolder = Annotated[
    Path | None, typer.Option(help="Folder of another Triton than the installed engine, such as /opt/tritonserver.")
]
"""Option of commands that start a server."""

SecretFile = Annotated[
    Path | None,
    typer.Option(
        envvar=SECRET_VARIABLE, help="File with the server's secret, beside the one in the user's runtime folder."
    ),
]
"""Option of commands that start a server or manage one."""

_Url = Annotated[str, typer.Option(metavar="URL", help="Address of the server for HTTP, HOST:PORT.")]
_URL = "127.0.0.1:8000"
_UNLOADING = 60.0
"""Time limit [s] for a model to finish work in progress."""


@engine_commands.command("install")
def install_command(output: Path | None = None) -> None:
    """Load Triton from the package index into a folder of its own, unless it is there.

    Args:
        output: Folder of the engine. [default: $BEAMPIPE_ENGINE, or one in the Python environment]
    """
    from beampipe.triton.engine import install_engine, prepare_backends, this_interpreter
    from beampipe.triton.server.launch import check_interpreter

    installed = install_engine(output, say)
    python = this_interpreter()
    check_interpreter(installed, python)
    prepare_backends(installed, python, installed.folder)


@engine_commands.command("show")
def show_command(triton: TritonFolder = None, as_json: Json = False) -> None:
    """Say which Triton is used, and whether it can run models with this Python."""
    from beampipe.triton.engine import find_engine, this_interpreter
    from beampipe.triton.server.launch import check_engine

    engine, python = find_engine(triton), this_interpreter()
    if as_json:
        check_engine(engine, python)
        about = {"folder": engine.folder, "server": engine.binary, "pythons": engine.versions()}
        print_json({**about, "python": {"version": python.version, "bin": python.bin}})
        return
    typer.echo(f"folder   {engine.folder}")
    typer.echo(f"server   {engine.binary}")
    typer.echo(f"pythons  {', '.join(engine.versions())}")
    check_engine(engine, python)
    typer.echo(f"usable   with Python {python.version} of {python.bin}")


def load_command(model: Annotated[str, typer.Argument()], url: _Url = _URL, secret_file: SecretFile = None) -> None:
    """Load a model into a running server, or load it again if its files have changed.

    Args:
        model: Name of a model in the server's repository.
    """
    from beampipe.triton.server.management import load_model

    use_secret_file(secret_file)
    load_model(url, model)
    say(f"{url}: {model} is loaded")


def unload_command(model: Annotated[str, typer.Argument()], url: _Url = _URL, secret_file: SecretFile = None) -> None:
    """Take a model out of a running server; what it is working on is finished.

    Args:
        model: Name of a loaded model.
    """
    from beampipe.triton.server.management import model_states, unload_model

    use_secret_file(secret_file)
    unload_model(url, model)
    deadline = time.monotonic() + _UNLOADING
    while model_states(url).get(model) == "UNLOADING" and time.monotonic() < deadline:
        time.sleep(0.05)
    say(f"{url}: {model} is {model_states(url).get(model, 'UNAVAILABLE').lower()}")


@app.command("run")
def run_command(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND")],
    patience: float = 30.0,
    start_timeout: float = 600.0,
    log: Path | None = None,
    unit: Literal["system", "user"] | None = None,
) -> None:
    """Run any Triton under supervision: its models and the server are restarted if they die or hang.

    Args:
        command: Command of a Triton, after a --.
        patience: Time without answer and without use of the processor after which a model is killed, in seconds.
        start_timeout: Time that loading all models may take, in seconds.
        log: File to which Triton's log is appended.
        unit: Print a systemd unit that runs this, for the system or a user.
    """
    from beampipe.triton.command import CommandServer, command_settings
    from beampipe.triton.foreground import run_server
    from beampipe.triton.systemd import systemd_unit

    settings = command_settings(command, log=log, start_timeout=start_timeout, patience=patience)
    if unit is not None:
        options = [f"--patience={patience:g}", f"--start-timeout={start_timeout:g}"]
        options += [] if log is None else [f"--log={log.absolute()}"]
        program = shutil.which(command[0]) or command[0]
        words = [sys.executable, "-m", "beampipe", "triton", "run", *options, "--", program, *command[1:]]
        typer.echo(systemd_unit(words, folder=Path(), environment={}, for_user=unit == "user"), nl=False)
        return
    run_server(
        settings,
        restart=True,
        make=lambda settings, note: CommandServer(command, settings, on_incident=note),
    )


@app.command("check")
def check_command(
    repository: Path,
    url: _Url = _URL,
    grpc: str | None = None,
    metrics: str | None = None,
    model: list[str] | None = None,
    collector: int | None = None,
    cancels: Annotated[int, typer.Option(min=1)] = 200,
    secret_file: SecretFile = None,
    as_json: Json = False,
) -> None:
    """Check that a Triton of any release works as beampipe relies on it, with the canaries; not for a server in use.

    Args:
        repository: Folder of the models.
        grpc: Address of the server for gRPC, HOST:PORT. [default: the next port]
        metrics: Address of its metrics, HOST:PORT. [default: the port after that]
        model: Name of a model to check; may be given several times. [default: all with a canary]
        collector: Port here to which the server sends its traces, by OTLP over HTTP. [default: no traces]
        cancels: Requests that are cancelled.
    """
    from beampipe.terminal import console, make_table
    from beampipe.triton.check import check_server

    use_secret_file(secret_file)
    outcomes = check_server(
        url, repository, model or (), grpc=grpc, metrics=metrics, collector=collector, cancels=cancels
    )
    if as_json:
        print_json(outcomes)
    else:
        table = make_table(f"Triton at {url}", ("check", "model", "outcome", "seen"), importance=("outcome", "seen"))
        for one in outcomes:
            table.add_row(one.check, one.model, one.outcome, one.text, style="red" if one.outcome == "broken" else "")
        console().print(table)
    if any(one.outcome == "broken" for one in outcomes):
        raise typer.Exit(1)


app.command("load")(load_command)
app.command("unload")(unload_command)
