"""A server of track finding for a program or a notebook: started, asked and ended from Python."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from beampipe.errors import ServiceUnavailableError, UnknownNameError
from beampipe.notebook import Shown
from beampipe.serving.finders.triton import TritonTrackFinder
from beampipe.serving.service import generated_repository
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer

if TYPE_CHECKING:
    from beampipe.tracking.beam_spot import BeamSpot

__all__ = ["TrackingServer", "serve"]


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
