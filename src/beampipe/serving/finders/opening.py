"""The finder that a command line asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.serving.finders.direct import DirectTrackFinder
from beampipe.serving.finders.fallback import FallbackTrackFinder
from beampipe.serving.finders.triton import TritonTrackFinder
from beampipe.serving.variants import pipeline_of
from beampipe.tracking.finder import TrackFinder
from beampipe.tracking.pipelines.specs import DEFAULT_PIPELINE, PIPELINES

__all__ = ["IN_FLIGHT", "open_finder"]

IN_FLIGHT: Final = 8
"""Events that a command sends at once."""


def open_finder(
    urls: Sequence[str],
    *,
    pipeline: str | None = None,
    model: str | None = None,
    token_file: Path | None = None,
    fallback: bool = False,
    device: str = "cpu",
    threads: int = 1,
    timeout: float = 60.0,
    check: bool = True,
    warn: Callable[[str], None] = lambda text: None,
) -> TrackFinder:
    """The pipeline here, or a model on servers, or the one and else the other.

    Args:
        urls: URLs of servers; none for the pipeline here.
        pipeline: name of the pipeline to run here; if not given, the one that the model runs.
        model: name of the model on the servers; if not given, that of the pipeline.
        token_file: file with the token to show to the servers.
        fallback: whether the pipeline runs here if no server answers.
        device: device of the pipeline here.
        threads: number of threads of the pipeline here.
        timeout: longest wait for an answer to one event [s].
        check: whether hits are compared with the detector that the pipeline here was made for.
        warn: function that is told that no server answers, once until one does.

    Raises:
        ConfigError: an option that needs a server, without one; no pipeline for the fallback; or no check, which
            servers decide on themselves.
        UnknownNameError: no such pipeline or device.
        FileError: no readable token.
    """
    if not urls:
        if model is not None or token_file is not None or fallback:
            raise ConfigError("got --model, --token-file or --fallback without --via, expected the URL of a server")
        return DirectTrackFinder(pipeline or DEFAULT_PIPELINE, device=device, threads=threads, check=check)
    if not check:
        raise ConfigError("got --force with --via, expected one of them; a server is told by `beampipe serve --force`")
    model = model or pipeline or DEFAULT_PIPELINE
    served = partial(TritonTrackFinder, urls, model, token=token_file, in_flight=IN_FLIGHT, timeout=timeout)
    if not fallback:
        return served(on_failure=lambda error: warn(f"{error} Asking again, for up to {timeout:g} s."))
    pipeline = pipeline or pipeline_of(model)
    if pipeline not in PIPELINES:
        raise UnknownNameError("pipeline", pipeline, PIPELINES)
    return FallbackTrackFinder(
        served(),
        partial(DirectTrackFinder, pipeline, device=device, threads=threads),
        on_failure=lambda error: warn(f"{error}; going on here"),
    )
