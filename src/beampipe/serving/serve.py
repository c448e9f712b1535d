"""The work of `beampipe serve`: a server in the foreground, with a summary, a status line and a clean end."""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from beampipe import terminal
from beampipe.errors import BeampipeError, ConfigError
from beampipe.triton.server import control
from beampipe.triton.server.cleanup import new_prefix
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import Incident, TritonServer
from beampipe.triton.server.top import Watch, status_line

__all__ = ["generated_repository", "run_server"]

_LOOK: Final = 1.0  # s between two looks at the metrics
_LINE: Final = 60.0  # s between two lines in a log
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_QUIET: Final = ("started", "stopped")  # incidents that the summary tells


class _Signals:
    """SIGTERM and SIGINT: the first one ends the server in order, the second one at once."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.server: TritonServer | None = None
        self._starting = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        first = not self.ended.is_set()
        self.ended.set()
        if self._starting:
            self._starting = False
            raise _EndedError
        if not first and self.server is not None:
            self.server.kill_processes()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """A block that a signal leaves at once."""
        self._starting = True
        try:
            if self.ended.is_set():
                raise _EndedError
            yield
        finally:
            self._starting = False


class _EndedError(Exception):
    """A signal came before the server was ready."""


@contextmanager
def generated_repository(
    models: Sequence[str], *, instances: int = 1, device: str = "cpu", threads: int | None = None
) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """A repository in a temporary folder, removed at the end.

    Args:
        models: names of `catalogue.MODELS`; none: the default ones.
        instances: of each model.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        threads: of each instance.

    Yields:
        The folder, and the names of the models to load.

    Raises:
        UnknownNameError: no such model or device.
    """
    from beampipe.serving.catalogue import default_models, named_models
    from beampipe.triton.model.repository import export_repository

    if models:
        settings = named_models(models, instances=instances, device=device, threads=threads)
    else:
        settings = default_models(instances=instances, device=device, threads=threads)
    with tempfile.TemporaryDirectory(prefix=new_prefix()) as folder:
        yield Path(folder), tuple(export_repository(Path(folder), settings))


def run_server(
    settings: ServerSettings,
    *,
    generated: bool = False,
    instances: int | None = None,
    device: str | None = None,
    console: Console | None = None,
) -> None:
    """Serve until a signal comes.

    Args:
        settings: of the server.
        generated: instead of the repository in the settings, make one of the models named there.
        instances: of each model of a generated repository.
        device: of the models of a generated repository.
        console: where to print.

    Raises:
        BeampipeError: it cannot be started, or has died too often.
    """
    out = terminal.console() if console is None else console
    begin = time.monotonic()
    signals = _Signals()
    before = {number: signal.signal(number, signals) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with ExitStack() as stack:
            with signals.starting():
                if generated:
                    made = generated_repository(
                        settings.models, instances=instances or 1, device=device or "cpu", threads=settings.threads
                    )
                    folder, models = stack.enter_context(made)
                    settings = replace(settings, repository=folder, models=models)
                elif instances is not None or device is not None:
                    raise ConfigError(
                        "--repository: got it with --instances or --device, expected either; how a model runs is in its"
                        " config.pbtxt: write another repository with beampipe serving export"
                    )
                server = signals.server = TritonServer(settings, lambda incident: _tell(out, incident))
                stack.enter_context(server)
            out.print(_summary(server, time.monotonic() - begin))
            _watch(server, signals.ended, out)
            out.print("stopping: requests in progress are finished, new ones refused; once more to stop at once")
        out.print("stopped")
    except _EndedError:
        out.print("stopped before it was ready")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(server: TritonServer, ended: threading.Event, out: Console) -> None:
    """Show what the server does until it is to end."""
    watch = Watch(server.metrics_url)
    watch.look()
    line_at = time.monotonic() + _LINE
    with Live(console=out, auto_refresh=False, transient=True) if out.is_terminal else ExitStack() as live:
        while not ended.wait(_LOOK):
            if server.gave_up:
                raise BeampipeError("server: it died too often and was given up; see the log")
            if isinstance(live, Live):
                watch.look()
                live.update(Text(status_line(watch), style="cyan", overflow="ellipsis", no_wrap=True), refresh=True)
            elif time.monotonic() >= line_at:
                watch.look()
                line_at += _LINE
                out.print(f"{time.strftime('%H:%M:%S')} {status_line(watch)}", markup=False, soft_wrap=True)


def _tell(out: Console, incident: Incident) -> None:
    if incident.kind not in _QUIET:
        stamp = time.strftime("%H:%M:%S", time.localtime(incident.time))
        out.print(f"{stamp} {incident.kind}: {incident.text}", style="yellow", markup=False, soft_wrap=True)


def _summary(server: TritonServer, seconds: float) -> Table:
    table = Table.grid(padding=(0, 2))
    states = control.model_states(server.http_url)
    names = [name for name, state in states.items() if state == "READY"]
    configs = {name: control.model_config(server.http_url, name) for name in names}
    models = [f"{name} ({_instances(control.instance_count(config))})" for name, config in configs.items()]
    table.add_row("[bold]ready[/bold]", f"after {seconds:.1f} s, process {server.pid}")
    table.add_row("HTTP", f"http://{server.http_url}")
    table.add_row("gRPC", f"grpc://{server.grpc_url}")
    table.add_row("metrics", f"http://{server.metrics_url}/metrics")
    if server.settings.host not in _LOOPBACK:
        open_to = f"{server.settings.host}: whoever reaches these ports can use, load and unload models"
        table.add_row("[yellow]open to[/yellow]", open_to)
    table.add_row("models", ", ".join(models))
    table.add_row("log", str(server.log))
    table.add_row("to stop", "Ctrl-C, or SIGTERM")
    return table


def _instances(count: int) -> str:
    return {0: "ensemble", 1: "1 instance"}.get(count, f"{count} instances")
