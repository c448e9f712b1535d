"""Serves track finding: a generated repository, a server in the foreground, and `TrackingServer` for programs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from beampipe.errors import ConfigError, ServiceUnavailableError, UnknownNameError
from beampipe.events import BeamSpot
from beampipe.notebook import Shown
from beampipe.serving.finders import TritonTrackFinder
from beampipe.serving.models import ServingSettings, named_models
from beampipe.tracking.models import DEFAULT_MODEL
from beampipe.triton.foreground import run_server
from beampipe.triton.model.repository import export_repository
from beampipe.triton.server.cleanup import new_prefix
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer


@contextmanager
def generated_repository(settings: ServingSettings) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """A repository in a temporary folder, removed at the end.

    Yields:
        The folder, and the names of the models to load.

    Raises:
        UnknownNameError: no model, device or scale has that name.
        ConfigError: a name for several models.
    """
    models = named_models(settings)
    with tempfile.TemporaryDirectory(prefix=new_prefix()) as folder:
        # One level down: the export replaces its folder, and the outer one is for this user alone.
        repository = Path(folder) / "models"
        yield repository, tuple(export_repository(repository, models))


def serve_in_foreground(
    server: ServerSettings,
    models: ServingSettings,
    *,
    generated: bool,
    console: Console | None = None,
    restart: bool = False,
) -> None:
    """Serve until a signal comes.

    Args:
        server: settings of the server.
        models: settings of the models, for a generated repository.
        generated: whether to generate a repository; else the one of the server's settings is served, and the settings
            of the models, names and threads apart, must be the default ones.
        console: console on which to print, by default standard output.
        restart: whether to serve in a child process, and in another one if that is killed; see `run_server`.

    Raises:
        ConfigError: settings of models for a repository that exists.
        BeampipeError: the server cannot be started.
    """
    if not generated and replace(models, models=(), threads=None) != ServingSettings():
        raise ConfigError(
            "--repository: got it with --instances, --device, --scale, --name, --backend, --tracker-model, --beam-spot"
            " or --force, expected either; how a model runs is in its config.pbtxt: write another repository with"
            " beampipe serving export"
        )

    @contextmanager
    def prepare(server: ServerSettings) -> Iterator[ServerSettings]:
        with generated_repository(models) as (folder, names):
            yield replace(server, repository=folder, models=names)

    run_server(server, prepare=prepare if generated else nullcontext, console=console, restart=restart)


def serve(
    *models: str,
    instances: int = 1,
    device: str = "cpu",
    threads: int | None = None,
    tracker_model: str | Path | None = None,
    beam_spot: BeamSpot | None = None,
    check: bool = True,
    log: Path | None = None,
) -> TrackingServer:
    """A Triton on this machine that finds tracks for as long as a block runs::

        with serve("exatrkx") as server, server.finder() as finder:
            tracks = finder.find(hits)

    It listens on free ports of loopback, and nothing is left of it. `beampipe serve` starts a server for other users.

    Args:
        *models: names of `MODELS`; the default ones if there are none.
        instances: number of copies of each model.
        device: device of the models, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        threads: number of threads of each copy; if not given, the cores are shared out among the copies.
        tracker_model: tracker model of the pipelines: the name of a shipped one, or a folder; None for the default one.
        beam_spot: beam line that the pipelines expect; that of the tracker model if not given.
        check: whether events are refused whose hits are of another detector or in other units.
        log: file to which the server's log is appended; by default one that is removed at the end.
    """
    settings = ServingSettings(
        models,
        instances,
        device,
        threads,
        tracker_model=tracker_model or DEFAULT_MODEL,
        beam_spot=beam_spot,
        check=check,
    )
    return TrackingServer(settings, log)


@dataclass(eq=False, repr=False)
class TrackingServer(Shown):
    """A server that `serve` makes; it runs inside a ``with`` block, or from `start` to `stop`.

    Attributes:
        settings: settings of the models.
        log: file to which the server's log is appended; None for a temporary one.
        models: names of the models that are served; before the start those of the settings.
    """

    settings: ServingSettings
    log: Path | None = None
    models: tuple[str, ...] = field(init=False)
    _server: TritonServer | None = field(default=None, init=False)
    _held: ExitStack = field(default_factory=ExitStack, init=False)

    def __post_init__(self) -> None:
        self.models = self.settings.models

    @property
    def url(self) -> str:
        """Address for finders and other clients, ``grpc://host:port``."""
        return f"grpc://{self._running.grpc_url}"

    @property
    def http_url(self) -> str:
        """Address for clients over HTTP, ``http://host:port``."""
        return f"http://{self._running.http_url}"

    @property
    def metrics_url(self) -> str:
        """Address of the Prometheus metrics."""
        return f"http://{self._running.metrics_url}/metrics"

    def start(self) -> TrackingServer:
        """Start the server and wait until its models answer; it is the server itself that is returned.

        Raises:
            UnknownNameError: no model, device or tracker model has that name.
            BeampipeError: Triton is not installed or cannot be started; nothing is left of it.
        """
        if self._server is not None:
            return self
        with ExitStack() as held:
            folder, models = held.enter_context(generated_repository(self.settings))
            settings = ServerSettings(folder, models, threads=self.settings.threads, log=self.log)
            self._server = held.enter_context(TritonServer(settings))
            self.models, self._held = models, held.pop_all()
        return self

    def stop(self) -> None:
        """Close its finders, finish the work in progress and end; may be called twice."""
        self._server = None
        self._held.close()

    def finder(self, model: str | None = None, *, stages: bool = False, parameters: bool = False) -> TritonTrackFinder:
        """A finder on the server, closed with it; `TritonTrackFinder` on its `url` has more options.

        Args:
            model: name of the model; the first one if not given.
            stages: whether tracks come with the times and counts of the stages.
            parameters: whether tracks come with fitted helices.

        Raises:
            ServiceUnavailableError: the server does not run.
            UnknownNameError: it serves no model of that name.
        """
        url = self.url
        if model is not None and model not in self.models:
            raise UnknownNameError("model", model, self.models)
        finder = TritonTrackFinder(url, model or self.models[0], stages=stages, parameters=parameters)
        return self._held.enter_context(finder)

    def facts(self) -> Mapping[str, object]:
        """Names of the models, and the address of the server."""
        facts: dict[str, object] = {"models": ", ".join(self.models) or "the default ones"}
        if self._server is None:
            return {**facts, "state": "not running"}
        return {**facts, "gRPC": self.url, "HTTP": self.http_url, "metrics": self.metrics_url}

    def __enter__(self) -> TrackingServer:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def _running(self) -> TritonServer:
        if self._server is None:
            raise ServiceUnavailableError(
                "server: got a question while it does not run, expected one inside `with serve(...) as server:`"
            )
        return self._server
