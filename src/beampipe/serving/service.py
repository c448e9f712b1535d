"""The pipelines behind a Triton: a repository for as long as it is served, and a server of it in the foreground."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from beampipe.errors import ConfigError
from beampipe.serving.native_backend import BackendChoice
from beampipe.triton.foreground import run_server
from beampipe.triton.server.cleanup import new_prefix
from beampipe.triton.server.launch import ServerSettings

if TYPE_CHECKING:
    from beampipe.tracking.beam_spot import BeamSpot

__all__ = ["generated_repository", "serve_in_foreground"]


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
    from beampipe.serving.catalogue import named_models, renamed
    from beampipe.serving.variants import DEFAULT_MODELS
    from beampipe.tracking.models.shipped import DEFAULT_MODEL
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
