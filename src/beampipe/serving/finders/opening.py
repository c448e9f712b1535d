"""The finder that a command line asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from beampipe.errors import ConfigError, FileError, UnknownNameError
from beampipe.serving.finders.direct import DirectTrackFinder
from beampipe.serving.finders.fallback import FallbackTrackFinder
from beampipe.serving.finders.triton import TritonTrackFinder
from beampipe.serving.variants import pipeline_of
from beampipe.tracking.finder import TrackFinder
from beampipe.tracking.pipelines.specs import DEFAULT_PIPELINE, PIPELINES

__all__ = ["IN_FLIGHT", "open_finder", "read_token"]

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
        warn: function that is told that no server answers.

    Raises:
        ConfigError: an option that needs a server, without one; or no pipeline for the fallback.
        UnknownNameError: no such pipeline or device.
        FileError: no readable token.
    """
    if not urls:
        if model is not None or token_file is not None or fallback:
            raise ConfigError("got --model, --token-file or --fallback without --via, expected the URL of a server")
        return DirectTrackFinder(pipeline or DEFAULT_PIPELINE, device=device, threads=threads)
    model = model or pipeline or DEFAULT_PIPELINE
    token = None if token_file is None else read_token(token_file)
    if not fallback:
        return TritonTrackFinder(urls, model, token=token, in_flight=IN_FLIGHT)
    pipeline = pipeline or pipeline_of(model)
    if pipeline not in PIPELINES:
        raise UnknownNameError("pipeline", pipeline, PIPELINES)
    return FallbackTrackFinder(
        TritonTrackFinder(urls, model, token=token, in_flight=IN_FLIGHT),
        partial(DirectTrackFinder, pipeline, device=device, threads=threads),
        on_failure=lambda error: warn(f"{error}; going on here"),
    )


def read_token(path: Path) -> str:
    """The one word in a file.

    Raises:
        FileError: it cannot be read, or holds no word or several.
    """
    try:
        lines = path.read_text(encoding="ascii").split()
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: {error}; expected a file with a token") from None
    if len(lines) != 1:
        raise FileError(f"{path}: got {len(lines)} words, expected one token")
    return lines[0]
