"""Track finders: in this process, on servers, or on the first of several that answers.

with TritonTrackFinder("grpc://127.0.0.1:8001") as finder:
    tracks = finder.find(hits)
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from math import isfinite
from time import monotonic
from typing import Final, Protocol, Unpack, runtime_checkable

from numpy import ndarray

from beampipe.errors import ConfigError, InputError, MismatchError, ServiceError
from beampipe.events import BeamSpot, Event, Hits, Scale, Tracks, scale_named
from beampipe.notebook import Shown, listed_options
from beampipe.serving import contract
from beampipe.tracking.catalogue import DEFAULT_PIPELINE
from beampipe.tracking.finder import InOneThread, TrackFinder, hits_of
from beampipe.tracking.finder_names import named_finder
from beampipe.tracking.input_checks import LAYOUT_COUNTS, ExpectedTracks, HitMonitor
from beampipe.tracking.loading import PipelineOptions, load_pipeline, load_track_fitter
from beampipe.tracking.models import DEFAULT_MODEL
from beampipe.triton.client.model_client import ClientOptions, ModelClient
from beampipe.triton.client.signature import Due, ModelSignature
from beampipe.triton.client.transports import PendingAnswer
from beampipe.triton.model.contract import DIGEST


class DirectTrackFinder(InOneThread):
    """Runs a pipeline, or ACTS, in this process; submitted events wait for each other.

    Args:
        pipeline: name of the pipeline, one of `beampipe.tracking.PIPELINES`, by default that of the model; or of ACTS,
            one of `acts_names`.
        parameters: whether a helix is fitted to each track; the tracks then have `parameters`.
        options: those of `beampipe.tracking.load_pipeline`: device, threads, model, beam_spot and check.

    Raises:
        ConfigError: parameters are requested, and the model was not trained for the fit.
        MissingExtraError: ACTS is requested and not installed.
        BeampipeError: errors of `load_pipeline`.
    """

    @listed_options(load_pipeline)
    def __init__(
        self, pipeline: str | None = None, *, parameters: bool = False, **options: Unpack[PipelineOptions]
    ) -> None:
        self._finder = named_finder(pipeline, **options)
        self._fitter = None
        if parameters:
            self._fitter = load_track_fitter(options.get("model", DEFAULT_MODEL), threads=options.get("threads"))

    def facts(self) -> Mapping[str, object]:
        """The finder in this process, and whether tracks are fitted."""
        return {"runs": self._finder, "fits": "no" if self._fitter is None else "yes"}

    def find(self, event: Event | Hits, /) -> Tracks:
        """The tracks of one event."""
        hits = hits_of(event)
        tracks = self._finder.find(hits)
        return (tracks if self._fitter is None else self._fitter.add(hits, tracks)).found_in(event)


_INPUTS: Final = {spec.name: spec for spec in (contract.FEATURES, *contract.MEASUREMENTS)}


@dataclass(frozen=True)
class TrackingContract:
    """Parameters of a tracking model's configuration, besides its tensors.

    Attributes:
        scale: unit of FEATURES.
        beam_spot: beam line that the model expects.
        inputs: names of the inputs that are made from hits.
        stage_names: names of the first values of STAGES [s]; empty if the model has no such output.
        count_names: names of the values of STAGES after those.
        usual: usual share of hits on tracks; None if the model does not state it.
        magnetic_field: solenoidal field of its detector [T]; None if it does not state it.
        min_hits: fewest hits of a track that counts in scores; None if it does not state it.
    """

    scale: Scale
    beam_spot: BeamSpot
    inputs: tuple[str, ...]
    stage_names: tuple[str, ...]
    count_names: tuple[str, ...]
    usual: ExpectedTracks | None = None
    magnetic_field: float | None = None
    min_hits: int | None = None

    @property
    def n_values(self) -> int:
        """Length of STAGES."""
        return len(self.stage_names) + len(self.count_names)


@lru_cache(maxsize=64)  # read once for each model on each server, not for each event
def tracking_contract(signature: ModelSignature) -> TrackingContract:
    """Read a model's signature as that of a track finder.

    Raises:
        ServiceError: the model takes or gives other tensors than a track finder does, or states an unknown scale.
    """
    unknown = signature.inputs.keys() - _INPUTS.keys() - signature.optional
    if unknown or contract.LABELS.name not in signature.outputs or contract.FEATURES.name not in signature.inputs:
        raise signature.refusal(
            f"takes {sorted(signature.inputs)} and gives {sorted(signature.outputs)}, expected a track finder:"
            f" {contract.FEATURES.name} to {contract.LABELS.name}"
        )
    profile = signature.parameters.get(contract.PROFILE)
    if profile and contract.TRACKS.name not in signature.outputs:
        raise signature.refusal(
            f"gives {contract.LABELS.name} as lists of rows, for clients of {profile}, expected one label per hit; use"
            " the model without that ending"
        )
    try:
        scale = scale_named(signature.parameters.get(contract.FEATURE_SCALE) or "mm")
        beam_spot = BeamSpot.parse(signature.parameters.get(contract.BEAM_SPOT_PARAMETER) or "0,0")
        text = signature.parameters.get(contract.USUAL_ON_TRACKS)
        usual = ExpectedTracks.parse(text) if text else None
        text = signature.parameters.get(contract.MAGNETIC_FIELD)
        field = float(text) if text else None
        if field is not None and not isfinite(field):
            raise ValueError(f"{contract.MAGNETIC_FIELD}: got {text}, expected a field in T")
        text = signature.parameters.get(contract.MIN_HITS)
        min_hits = int(text) if text else None
    except (KeyError, ConfigError, ValueError) as error:
        url, model = signature.url, signature.model
        raise ServiceError(f"{url}: {model}: {error}; update beampipe here", url=url, model=model) from None
    inputs = tuple(name for name in signature.inputs if name in _INPUTS)
    if contract.STAGES.name not in signature.outputs:
        return TrackingContract(scale, beam_spot, inputs, (), (), usual, field, min_hits)
    stages, counts = (
        contract.listed(signature.parameters.get(key, "")) for key in (contract.STAGE_NAMES, contract.COUNT_NAMES)
    )
    return TrackingContract(scale, beam_spot, inputs, stages, counts, usual, field, min_hits)


@dataclass(frozen=True, eq=False)
class TrackingRequest:
    """The request of a track finder, an `InferenceCall`.

    Attributes:
        event: the event, or its hits.
        stages: whether to request times and counts of the stages, where the model has them.
        parameters: whether to request the fitted helix of each track, and the beam line that it is measured from.
        watch: monitor that warns of hits of another detector; None for none.
        digest: digest that the model must state; empty if it must state none, None for any.
    """

    event: Event | Hits
    stages: bool = False
    parameters: bool = False
    watch: HitMonitor | None = None
    digest: str | None = None

    @cached_property
    def hits(self) -> Hits:
        """The hits of the event."""
        return hits_of(self.event)

    def inputs(self, signature: ModelSignature) -> Mapping[str, ndarray]:
        """The event in the units of the model.

        Raises:
            InputError: the model needs more than the hits have.
            MismatchError: it states another digest.
        """
        declared = tracking_contract(signature)
        require_digest(signature, self.digest)
        arrays = {}
        for name in declared.inputs:
            if name == contract.FEATURES.name:
                # No arithmetic for mm: the server gets the same bits.
                in_mm = declared.scale.name == "mm"
                arrays[name] = self.hits.position if in_mm else declared.scale.from_mm(self.hits.position)
                continue
            array: ndarray | None = getattr(self.hits, name.lower())
            if array is not None:
                arrays[name] = array
            elif name not in signature.optional:
                raise InputError(
                    f"{signature.model}: got hits without {name.lower()}, which this model takes besides positions;"
                    " read the events from ACTS or Parquet, or use another model"
                )
        return arrays

    def outputs(self, signature: ModelSignature) -> Due:
        """Outputs with their shapes: labels per hit, values per stage and count, layout counts, and helices per track.

        Raises:
            ServiceError: parameters are requested, and the model fits no tracks.
        """
        n_values = tracking_contract(signature).n_values
        due: dict[str, tuple[int, ...] | None] = {contract.LABELS.name: (len(self.hits),)}
        if self.stages and n_values:
            due[contract.STAGES.name] = (n_values,)
        if self.watch is not None and contract.LAYOUT.name in signature.outputs:
            due[contract.LAYOUT.name] = contract.LAYOUT.dims
        if self.digest and contract.DIGEST.name in signature.outputs:
            due[contract.DIGEST.name] = contract.DIGEST.dims
        if self.parameters:
            if not {contract.PARAMETERS.name, contract.BEAM_SPOT.name} <= signature.outputs.keys():
                raise signature.refusal(
                    f"gives {', '.join(signature.outputs)}, expected {contract.PARAMETERS.name} and"
                    f" {contract.BEAM_SPOT.name}, too; use a pipeline that is one model, exported from a tracker model"
                    " with tables of the fit, or fit the tracks here with load_track_fitter"
                )
            # As many rows as there are tracks, which is known when they are found.
            due |= {contract.BEAM_SPOT.name: contract.BEAM_SPOT.dims, contract.PARAMETERS.name: None}
        return due

    def result(self, signature: ModelSignature, arrays: Mapping[str, ndarray]) -> Tracks:
        """The tracks of the event.

        Raises:
            ServiceError: an array is missing, or there is another number of helices than of tracks.
            MismatchError: a server with another model than the signature's answered, behind the same address.
        """
        if self.digest and contract.DIGEST.name in signature.outputs:
            stated = signature.required(arrays, contract.DIGEST.name)
            require_digest(signature, self.digest, stated.tobytes().hex())
        tracks, parameters = self._tracks(signature, arrays), None
        if self.parameters:
            rows = signature.required(arrays, contract.PARAMETERS.name)
            beam_spot = BeamSpot(*signature.required(arrays, contract.BEAM_SPOT.name).tolist())
            if len(rows) != tracks.n_tracks:
                raise signature.refusal(
                    f"gives {contract.PARAMETERS.name} of {len(rows)} tracks, expected {tracks.n_tracks}, as its"
                    f" {contract.LABELS.name} say"
                )
            tracks, parameters = replace(tracks, beam_spot=beam_spot), contract.unpacked_parameters(rows)
        if contract.LAYOUT.name in arrays:
            tracks.counts.update(zip(LAYOUT_COUNTS, arrays[contract.LAYOUT.name].tolist(), strict=True))
        if self.watch is not None:
            declared = tracking_contract(signature)
            # Labels alone do not state the beam line.
            expected = declared.beam_spot if self.parameters else None
            self.watch.check(self.hits, tracks, expected, declared.usual)
        if parameters is not None:
            tracks = tracks.with_parameters(parameters)
        return tracks.found_in(self.event)

    def _tracks(self, signature: ModelSignature, arrays: Mapping[str, ndarray]) -> Tracks:
        """The tracks without parameters and layout counts."""
        labels = signature.required(arrays, contract.LABELS.name)
        declared = tracking_contract(signature)
        stated = partial(Tracks, labels, magnetic_field=declared.magnetic_field, min_hits=declared.min_hits)
        if contract.STAGES.name not in arrays:
            return stated({}, {"hits": len(labels)})
        values = arrays[contract.STAGES.name].tolist()
        n_stages = len(declared.stage_names)
        seconds = dict(zip(declared.stage_names, values[:n_stages], strict=True))
        counts = {name: int(value) for name, value in zip(declared.count_names, values[n_stages:], strict=True)}
        return stated(seconds, counts)


def require_digest(signature: ModelSignature, digest: str | None, stated: str | None = None) -> None:
    """Refuse a model that is not the expected one, whatever its name.

    Args:
        signature: the model on one server.
        digest: digest that the model must state; empty if it must state none, None for any.
        stated: the digest that an answer states; that of the configuration if not given.

    Raises:
        MismatchError: it states another one, or none.
    """
    stated = signature.parameters.get(DIGEST, "") if stated is None else stated
    if digest is not None and stated != digest:
        pipeline = signature.parameters.get(contract.PIPELINE, "unknown")
        got = f"the digest {stated[:12]} (pipeline {pipeline})" if stated else "no digest: it is of an older version"
        raise MismatchError(
            f"{signature.url}: {signature.model} states {got}, expected {digest[:12] or 'none'}: the model of this name"
            " there has other code, weights or parameters than the finder here; serve the same one with the same"
            " version of beampipe"
        )


class TritonTrackFinder(Shown):
    """Finds tracks on Triton servers that hold the same model.

    The model's configuration, read once, states its units, whether it batches and whether it needs more than positions.
    Thread-safe. A copy in another process, by fork or by pickling, makes connections of its own.

    Args:
        urls: one or more of ``grpc://host:8001``, ``http://host:8000``, ``grpcs://``, ``https://``, ``host:8001``. A
            host name with several addresses counts as that many servers.
        model: name of the model on the servers.
        stages: whether to request the times of the stages; the tracks then have `seconds` and `counts`.
        parameters: whether to request the fitted helix of each track; the tracks then have `parameters`, and the
            `beam_spot` that these are measured from. A model without fit is a `ServiceError`.
        digest: digest that the model must state in its configuration and, where it has that output, in each answer,
            such as `Pipeline.digest`; empty if it must state none, None for any. Another one is a `MismatchError`.
        options: those of `beampipe.triton.client.ModelClient`: protocol, timeout, retries, token, tls, certificate,
            in_flight, on_failure and transport. Large events are passed through shared memory on this machine.

    Raises:
        ConfigError: a URL or number is out of range.
        UnknownNameError: no such scheme or protocol.
        FileError: no such file of certificates, or no token in its file.

    Warns:
        UserWarning: the token would be sent to another machine without encryption.
        LayoutWarning: once, while tracks are found: hits fit the detector only in part.
    """

    @listed_options(ModelClient)
    def __init__(
        self,
        urls: str | Sequence[str],
        model: str = DEFAULT_PIPELINE,
        *,
        stages: bool = False,
        parameters: bool = False,
        digest: str | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        self._digest = digest
        watch = HitMonitor(model)
        self._request = partial(TrackingRequest, stages=stages, parameters=parameters, watch=watch, digest=digest)
        self._retries = options.get("retries")
        self._client = ModelClient(urls, model, **options)

    def facts(self) -> Mapping[str, object]:
        """The model and its servers."""
        return self._client.facts()

    def find(self, event: Event | Hits, /) -> Tracks:
        """The tracks of one event.

        Raises:
            InputError: the model cannot use these hits; a LayoutError if they are of another detector or in other
                units.
            ServiceUnavailableError: no server that answers, after the retries.
            DeadlineError: no answer in time.
            ServiceError: an answer that cannot be right, or a refusal for another reason.
        """
        return self._client.call(self._request(event), retries=self._retries)

    def submit(self, event: Event | Hits, /) -> Future[Tracks]:
        """`find`, later; cancelling the future cancels the request. The time allowed begins when it is sent."""
        return self._client.call_later(self._request(event), retries=self._retries)

    async def find_async(self, event: Event | Hits, /) -> Tracks:
        """`find` for asyncio; cancelling the task cancels the request."""
        return await asyncio.wrap_future(self.submit(event))

    def impatient(self) -> TritonTrackFinder:
        """The same finder for use with a fallback: it retries once, and does not wait for servers to return.

        The two share their connections. A finder that was made with a number of `retries` stays as it is.
        """
        if self._retries is not None:
            return self
        finder = copy(self)
        finder._retries = 1
        return finder

    def check(self) -> None:
        """Compare the model on each server that answers with what a track finder is, and with `digest`.

        Raises:
            MismatchError: a model states another digest.
            ServiceError: no server answers, or a model is no track finder.
        """
        for signature in self._client.signatures():
            tracking_contract(signature)
            require_digest(signature, self._digest)

    def close(self) -> None:
        """Cancel requests in flight, free the shared memory and drop the connections."""
        self._client.close()

    def __enter__(self) -> TritonTrackFinder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@runtime_checkable
class _Patient(Protocol):
    """A finder that by default waits for its servers."""

    def impatient(self) -> TrackFinder:
        """The same finder, without the waiting."""


Maker = TrackFinder | Callable[[], TrackFinder]
"""A finder, or a function that makes one."""


class FallbackTrackFinder(Shown):
    """Uses the first finder that answers, such as a service, else a pipeline in this process.

    Only a `ServiceError` moves on to the next finder: data that one finder refuses (`InputError`) the others would
    refuse too. A finder that by default waits until its servers return, as `TritonTrackFinder` does, only waits as the
    last one. The tracks are returned as the finder made them: give each finder the same `parameters`.

    Args:
        first: finder that is tried first.
        *others: further finders, in order; a function that makes one is called when it is first needed.
        pause: time for which a finder that failed is left out [s]; the last one never is.
        on_failure: function that is called with the error before the next finder is tried, once per pause.
    """

    def __init__(
        self,
        first: TrackFinder,
        *others: Maker,
        pause: float = 5.0,
        on_failure: Callable[[ServiceError], None] = lambda error: None,
    ) -> None:
        self._makers: tuple[Maker, ...] = (first, *others)
        self._made: dict[int, TrackFinder] = {}
        self._pause = pause
        self._on_failure = on_failure
        self._back_at = [float("-inf")] * len(self._makers)
        self._answered = [0] * len(self._makers)
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._finder(0)  # to be closed, even if it is never used

    @property
    def answered(self) -> tuple[int, ...]:
        """Number of events that each finder has answered so far."""
        return tuple(self._answered)

    def facts(self) -> Mapping[str, object]:
        """Number of finders, of events that each has answered, and the first of them."""
        answered = ", ".join(map(str, self._answered))
        return {"finders": len(self._makers), "answered": answered, "first": self._made[0]}

    def find(self, event: Event | Hits, /) -> Tracks:
        """The tracks of one event; raises what the last finder raises."""
        hits, row = hits_of(event), -1
        while True:
            row = self._next(row)
            try:
                tracks = self._finder(row).find(hits)
            except ServiceError as error:
                self._failed(row, error)
                if row == len(self._makers) - 1:
                    raise
            else:
                self._count(row)
                return tracks.found_in(event)

    def submit(self, event: Event | Hits, /) -> Future[Tracks]:
        """`find`, later; cancelling the future cancels the request in flight."""
        hits_of(event)  # refuses anything else here, not in another thread
        pending: PendingAnswer[Tracks] = PendingAnswer()
        self._submit_next(-1, event, pending)
        return pending

    async def find_async(self, event: Event | Hits, /) -> Tracks:
        """`find` for asyncio."""
        return await asyncio.wrap_future(self.submit(event))

    def close(self) -> None:
        """Close all finders, also those that were passed in."""
        for finder in self._made.values():
            finder.close()

    def __enter__(self) -> FallbackTrackFinder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _submit_next(self, row: int, event: Event | Hits, pending: PendingAnswer[Tracks]) -> None:
        row = self._next(row)
        try:
            future = self._finder(row).submit(hits_of(event))
        except Exception as error:  # refused at once, or not made
            future = Future()
            future.set_exception(error)
        pending.on_cancel(future.cancel)
        future.add_done_callback(partial(self._done, row, event, pending))

    def _done(self, row: int, event: Event | Hits, pending: PendingAnswer[Tracks], future: Future[Tracks]) -> None:
        if future.cancelled():
            # The request was cancelled, or the finder was closed.
            pending.cancel()
            return
        error = future.exception()
        if error is None:
            self._count(row)
        elif isinstance(error, ServiceError):
            self._failed(row, error)
            if row < len(self._makers) - 1 and not pending.cancelled():
                self._submit_next(row, event, pending)
                return
        pending.settle(lambda: future.result().found_in(event))

    def _next(self, row: int) -> int:
        """Number of the next finder that did not fail lately."""
        row += 1
        while row < len(self._makers) - 1 and self._back_at[row] > monotonic():
            row += 1
        return row

    def _finder(self, row: int) -> TrackFinder:
        with self._making:
            if row not in self._made:
                maker = self._makers[row]
                finder = maker() if callable(maker) else maker
                last = row == len(self._makers) - 1
                self._made[row] = finder.impatient() if isinstance(finder, _Patient) and not last else finder
            return self._made[row]

    def _failed(self, row: int, error: ServiceError) -> None:
        now = monotonic()
        with self._lock:
            news, self._back_at[row] = self._back_at[row] <= now, now + self._pause
        if news and row < len(self._makers) - 1:
            self._on_failure(error)

    def _count(self, row: int) -> None:
        with self._lock:
            self._answered[row] += 1
