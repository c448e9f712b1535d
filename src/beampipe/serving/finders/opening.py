"""The finder that a command line asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.serving.finders.direct import DirectTrackFinder
from beampipe.serving.finders.fallback import FallbackTrackFinder
from beampipe.serving.finders.triton import TritonTrackFinder
from beampipe.serving.variants import pipeline_of
from beampipe.tracking.beam_spot import BeamSpot
from beampipe.tracking.finder import TrackFinder
from beampipe.tracking.models import DEFAULT_MODEL
from beampipe.tracking.pipelines.specs import DEFAULT_PIPELINE, PIPELINES

__all__ = ["IN_FLIGHT", "Papers", "open_finder"]

IN_FLIGHT: Final = 8
"""Events that a command sends at once."""

_NEEDS_SERVER: Final = (
    "got --model, --token-file, --ca, --certificate or --fallback without --url, expected the address of a server"
)
_OWN_MODELS: Final = (
    "got --tracker-model with --url, expected --fallback with it: servers have tracker models of their own; which of"
    " their models to ask is --model"
)
_OWN_CHECKS: Final = (
    "got --force or --beam-spot with --url, expected --fallback with it: a server is told by"
    " `beampipe serve --beam-spot` where to expect the beam line, and by `beampipe serve --force` to answer for hits of"
    " any detector"
)


class Papers(NamedTuple):
    """What a client shows to servers, and whom it trusts.

    Attributes:
        token_file: file with the token to show; None for none.
        ca: PEM file of the authority whose certificates are trusted; None for those of the system.
        certificate: PEM file with the certificate and key to show; None for none.
    """

    token_file: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None


_NO_PAPERS: Final = Papers()


def open_finder(
    urls: Sequence[str],
    *,
    pipeline: str | None = None,
    served_model: str | None = None,
    model: str | Path | None = None,
    papers: Papers = _NO_PAPERS,
    fallback: bool = False,
    device: str = "cpu",
    threads: int = 1,
    timeout: float = 60.0,
    beam_spot: BeamSpot | None = None,
    parameters: bool = False,
    check: bool = True,
    warn: Callable[[str], None] = lambda text: None,
) -> TrackFinder:
    """The pipeline here, or a model on servers, or the one and else the other.

    Args:
        urls: URLs of servers; none for the pipeline here.
        pipeline: name of the pipeline to run here; if not given, the one that the served model runs.
        served_model: name of the model on the servers; if not given, that of the pipeline.
        model: tracker model of the pipeline here: the name of a shipped one, or a folder; servers have their own.
        papers: what is shown to the servers, and whom of them is trusted.
        fallback: whether the pipeline runs here if no server answers.
        device: device of the pipeline here.
        threads: number of threads of the pipeline here.
        timeout: longest wait for an answer to one event [s].
        beam_spot: beam line that the pipeline here expects; that of its model if not given.
        parameters: whether a helix is fitted to each track, by whoever finds it.
        check: whether hits are compared with the detector that the pipeline here was made for.
        warn: function that is told that no server answers, once until one does.

    Raises:
        ConfigError: an option that needs a server, without one, or that only a pipeline here heeds, without one; or
            the tracker model was not trained for the pipeline.
        UnknownNameError: no such pipeline, device or shipped tracker model.
        FileError: no readable token, or no readable tracker model.
    """
    here = partial(DirectTrackFinder, device=device, threads=threads, model=model or DEFAULT_MODEL)
    here = partial(here, beam_spot=beam_spot, parameters=parameters, check=check)
    if not urls:
        _require(served_model is None and papers == _NO_PAPERS and not fallback, _NEEDS_SERVER)
        return here(pipeline or DEFAULT_PIPELINE)
    _require(fallback or model is None, _OWN_MODELS)
    _require(fallback or (beam_spot is None and check), _OWN_CHECKS)
    served_model = served_model or pipeline or DEFAULT_PIPELINE
    served = partial(TritonTrackFinder, urls, served_model, in_flight=IN_FLIGHT, timeout=timeout, parameters=parameters)
    served = partial(served, token=papers.token_file, tls=papers.ca, certificate=papers.certificate)
    if not fallback:
        return served(on_failure=lambda error: warn(f"{error} Asking again, for up to {timeout:g} s."))
    pipeline = pipeline or pipeline_of(served_model)
    if pipeline not in PIPELINES:
        raise UnknownNameError("pipeline", pipeline, PIPELINES)
    return FallbackTrackFinder(
        served(),
        partial(here, pipeline),
        on_failure=lambda error: warn(f"{error}; going on here"),
    )


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(message)
