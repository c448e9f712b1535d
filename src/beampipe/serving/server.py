"""Serves track finding: a generated repository, a server in the foreground, and `TrackingServer` for programs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from beampipe.errors import ConfigError, ServiceUnavailableError, UnknownNameError
from beampipe.notebook import Shown
from beampipe.serving.finders import TritonTrackFinder
from beampipe.serving.models import BackendChoice
from beampipe.triton.foreground import run_server
from beampipe.triton.server.cleanup import new_prefix
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer

if TYPE_CHECKING:
    from beampipe.events import BeamSpot


# The pipelines behind a Triton: a repository for as long as it is served, and a server of it in the foreground.


@contextmanager
def generated_repository(
    models: Sequence[str],
    *,
    instances: int = 1,
    device: str = "cpu",
    threads: int | None = None,
    scale: str = "mm",
    name: str | None = None,
    backend: BackendChoice | None = None,
    tracker_model: str | Path | None = None,
    beam_spot: BeamSpot | None = None,
    check: bool = True,
) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """A repository in a temporary folder, removed at the end.

    Args:
        models: names of `catalogue.MODELS`; the default ones if there are none.
        instances: number of copies of each model.
        device: device of the models, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        threads: number of threads of each copy. If not given, the cores are shared out among the copies.
        scale: what one unit of FEATURES means, a name of `beampipe.tracking.formats.SCALES`.
        name: name under which clients ask for the model, None for its own; for one model only.
        backend: what runs the pipelines, as for `catalogue.named_models`.
        tracker_model: tracker model of the pipelines: the name of a shipped one, or a folder; None for the default one.
        beam_spot: beam line that the pipelines expect; None for that of the tracker model.
        check: whether events are refused whose hits are of another detector or in other units.

    Yields:
        The folder, and the names of the models to load.

    Raises:
        UnknownNameError: no model, device or scale has that name.
        ConfigError: a name for several models.
    """
    # Here, because a server of other repositories needs neither.
    from beampipe.serving.models import named_models, renamed
    from beampipe.serving.variants import DEFAULT_MODELS
    from beampipe.tracking.catalogue import DEFAULT_MODEL
    from beampipe.triton.model.repository import export_repository

    settings = named_models(
        models or DEFAULT_MODELS,
        instances=instances,
        device=device,
        threads=threads,
        scale=scale,
        backend=backend,
        tracker_model=tracker_model or DEFAULT_MODEL,
        beam_spot=beam_spot,
        check=check,
    )
    with tempfile.TemporaryDirectory(prefix=new_prefix()) as folder:
        # One level down: the export replaces its folder, and the outer one is for this user alone.
        repository = Path(folder) / "models"
        yield repository, tuple(export_repository(repository, settings if name is None else renamed(settings, name)))


def serve_in_foreground(
    settings: ServerSettings,
    *,
    generated: bool = False,
    instances: int | None = None,
    device: str | None = None,
    scale: str | None = None,
    name: str | None = None,
    backend: BackendChoice | None = None,
    tracker_model: str | None = None,
    beam_spot: BeamSpot | None = None,
    force: bool = False,
    console: Console | None = None,
    kept: bool = False,
) -> None:
    """Serve until a signal comes.

    Args:
        settings: what the server is to be.
        generated: whether to make a repository of the models named in the settings, in place of the one named there.
        instances: number of copies of each model of a generated repository.
        device: device of the models of a generated repository.
        scale: what one unit of FEATURES means to the models of a generated repository.
        name: name under which clients ask for the one model of a generated repository.
        backend: what runs the pipelines of a generated repository.
        tracker_model: tracker model of the pipelines of a generated repository.
        beam_spot: beam line that the pipelines of a generated repository expect.
        force: whether a generated repository answers also events of other detectors or in other units.
        console: console on which to print, by default standard output.
        kept: whether to serve in a child process, and in another one if that is killed; see `run_server`.

    Raises:
        BeampipeError: the server cannot be started.
    """
    chosen = (instances, device, scale, name, backend, tracker_model, beam_spot)
    if not generated and (force or any(option is not None for option in chosen)):
        raise ConfigError(
            "--repository: got it with --instances, --device, --scale, --name, --backend, --tracker-model, --beam-spot"
            " or --force, expected either; how a model runs is in its config.pbtxt: write another repository with"
            " beampipe serving export"
        )

    @contextmanager
    def prepare(settings: ServerSettings) -> Iterator[ServerSettings]:
        made = generated_repository(
            settings.models,
            instances=instances or 1,
            device=device or "cpu",
            threads=settings.threads,
            scale=scale or "mm",
            name=name,
            backend=backend,
            tracker_model=tracker_model,
            beam_spot=beam_spot,
            check=not force,
        )
        with made as (folder, models):
            yield replace(settings, repository=folder, models=models)

    run_server(settings, prepare=prepare if generated else nullcontext, console=console, kept=kept)


# A server of track finding for a program or a notebook: started, asked and ended from Python.


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

    It listens on free ports of loopback, and nothing is left of it. A server for others is started by `beampipe serve`.

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
    return TrackingServer(models, instances, device, threads, tracker_model, beam_spot, check, log)


@dataclass(eq=False, repr=False)
class TrackingServer(Shown):
    """A server that `serve` makes; it runs inside a ``with`` block, or from `start` to `stop`.

    Attributes:
        models: names of the models that are served; before the start those that were asked for.
        instances: number of copies of each model.
        device: device of the models.
        threads: number of threads of each copy; None if the cores are shared out.
        tracker_model: tracker model of the pipelines; None for the default one.
        beam_spot: beam line that the pipelines expect; None for that of the tracker model.
        check: whether events of other detectors are refused.
        log: file to which the server's log is appended; None for a temporary one.
    """

    models: tuple[str, ...]
    instances: int = 1
    device: str = "cpu"
    threads: int | None = None
    tracker_model: str | Path | None = None
    beam_spot: BeamSpot | None = None
    check: bool = True
    log: Path | None = None
    _server: TritonServer | None = field(default=None, init=False)
    _held: ExitStack = field(default_factory=ExitStack, init=False)

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
            folder, models = held.enter_context(
                generated_repository(
                    self.models,
                    instances=self.instances,
                    device=self.device,
                    threads=self.threads,
                    tracker_model=self.tracker_model,
                    beam_spot=self.beam_spot,
                    check=self.check,
                )
            )
            settings = ServerSettings(folder, models, threads=self.threads, log=self.log)
            self._server = held.enter_context(TritonServer(settings))
            self.models, self._held = models, held.pop_all()
        return self

    def stop(self) -> None:
        """Close its finders, finish the work in progress and end; may be called twice."""
        self._server = None
        self._held.close()

    def finder(self, model: str | None = None, *, stages: bool = False, parameters: bool = False) -> TritonTrackFinder:
        """A finder that asks the server, closed with it; `TritonTrackFinder` on its `url` has more options.

        Args:
            model: name of the model to ask; the first one if not given.
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
        """Names of the models, and where they are asked."""
        said: dict[str, object] = {"models": ", ".join(self.models) or "the default ones"}
        if self._server is None:
            return {**said, "state": "not running"}
        return {**said, "gRPC": self.url, "HTTP": self.http_url, "metrics": self.metrics_url}

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
