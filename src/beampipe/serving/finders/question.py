"""Hits and tracks as the arrays that a tracking model takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from numpy import ndarray

from beampipe.errors import ConfigError, InputError, ServiceError
from beampipe.serving.contract import (
    BEAM_SPOT,
    BEAM_SPOT_PARAMETER,
    COUNT_NAMES,
    FEATURE_SCALE,
    FEATURES,
    GEOMETRY_ID,
    LABELS,
    LAYOUT,
    LOCAL,
    PARAMETERS,
    PROFILE,
    STAGE_NAMES,
    STAGES,
    TRACKS,
    USUAL_ON_TRACKS,
    VARIANCE,
    listed,
    unpacked_parameters,
)
from beampipe.tracking.beam_spot import BeamSpot
from beampipe.tracking.events import Hits, Tracks
from beampipe.tracking.formats.scale import Scale, scale_named
from beampipe.tracking.layout.watch import LAYOUT_COUNTS, Usual, Watch
from beampipe.triton.client.signature import Due, ModelSignature

__all__ = ["FindTracks", "TrackingContract", "tracking_contract"]

_INPUTS: Final = {spec.name: spec for spec in (FEATURES, GEOMETRY_ID, LOCAL, VARIANCE)}


@dataclass(frozen=True)
class TrackingContract:
    """What a tracking model's configuration says beside its tensors.

    Attributes:
        scale: what one unit of FEATURES means.
        beam_spot: beam line that the model expects.
        inputs: names of the inputs that are made from hits.
        stage_names: names of the first values of STAGES [s]; empty if the model has no such output.
        count_names: names of the values of STAGES after those.
        usual: what share of the hits is usually on tracks; None if the model does not say.
    """

    scale: Scale
    beam_spot: BeamSpot
    inputs: tuple[str, ...]
    stage_names: tuple[str, ...]
    count_names: tuple[str, ...]
    usual: Usual | None = None

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
    model, url = signature.model, signature.url
    unknown = signature.inputs.keys() - _INPUTS.keys() - signature.optional
    if unknown or LABELS.name not in signature.outputs or FEATURES.name not in signature.inputs:
        raise ServiceError(
            f"{url}: {model} takes {sorted(signature.inputs)} and gives {sorted(signature.outputs)},"
            f" expected a track finder: {FEATURES.name} to {LABELS.name}",
            url=url,
            model=model,
        )
    if signature.parameters.get(PROFILE) and TRACKS.name not in signature.outputs:
        raise ServiceError(
            f"{url}: {model} gives {LABELS.name} as lists of rows, for clients of {signature.parameters[PROFILE]},"
            " expected one label per hit; ask the model without that ending",
            url=url,
            model=model,
        )
    try:
        scale = scale_named(signature.parameters.get(FEATURE_SCALE) or "mm")
        beam_spot = BeamSpot.parse(signature.parameters.get(BEAM_SPOT_PARAMETER) or "0,0")
        told = signature.parameters.get(USUAL_ON_TRACKS)
        usual = Usual.parse(told) if told else None
    except (KeyError, ConfigError) as error:
        raise ServiceError(f"{url}: {model}: {error}; update beampipe here", url=url, model=model) from None
    inputs = tuple(name for name in signature.inputs if name in _INPUTS)
    if STAGES.name not in signature.outputs:
        return TrackingContract(scale, beam_spot, inputs, (), (), usual)
    stages, counts = (listed(signature.parameters.get(key, "")) for key in (STAGE_NAMES, COUNT_NAMES))
    return TrackingContract(scale, beam_spot, inputs, stages, counts, usual)


@dataclass(frozen=True, eq=False)
class FindTracks:
    """The question of a track finder, as `beampipe.triton.client.connections.remote.Question` has it.

    Attributes:
        hits: of one event.
        stages: whether to ask also for times and counts of the stages, where the model can tell.
        parameters: whether to ask also for the fitted helix of each track, and the beam line that it is measured from.
        watch: is told of the tracks, and warns of foreign hits; None for nobody.
    """

    hits: Hits
    stages: bool = False
    parameters: bool = False
    watch: Watch | None = None

    def inputs(self, signature: ModelSignature) -> Mapping[str, ndarray]:
        """The event in the units of the model.

        Raises:
            InputError: the model takes more than the hits have.
        """
        contract = tracking_contract(signature)
        arrays = {}
        for name in contract.inputs:
            if name == FEATURES.name:
                # No arithmetic for mm: what the server sees is what is here, bit for bit.
                in_mm = contract.scale.name == "mm"
                arrays[name] = self.hits.position if in_mm else contract.scale.from_mm(self.hits.position)
                continue
            array: ndarray | None = getattr(self.hits, name.lower())
            if array is not None:
                arrays[name] = array
            elif name not in signature.optional:
                raise InputError(
                    f"{signature.model}: got hits without {name.lower()}, which this model takes besides positions;"
                    " read the events from ACTS or Parquet, or ask another model"
                )
        return arrays

    def outputs(self, signature: ModelSignature) -> Due:
        """One label per hit, one value per stage and count, how the hits lie, and one helix per track.

        Raises:
            ServiceError: parameters are asked for, and the model fits no tracks.
        """
        n_values = tracking_contract(signature).n_values
        due: dict[str, tuple[int, ...] | None] = {LABELS.name: (len(self.hits),)}
        if self.stages and n_values:
            due[STAGES.name] = (n_values,)
        if self.watch is not None and LAYOUT.name in signature.outputs:
            due[LAYOUT.name] = LAYOUT.dims
        if self.parameters:
            if not {PARAMETERS.name, BEAM_SPOT.name} <= signature.outputs.keys():
                raise ServiceError(
                    f"{signature.url}: {signature.model} gives {', '.join(signature.outputs)}, expected"
                    f" {PARAMETERS.name} and {BEAM_SPOT.name}, too; ask a pipeline that is one model, exported from a"
                    " tracker model with tables of the fit, or fit the tracks here with load_track_fitter",
                    url=signature.url,
                    model=signature.model,
                )
            # As many rows as there are tracks, which is known when they are found.
            due |= {BEAM_SPOT.name: BEAM_SPOT.dims, PARAMETERS.name: None}
        return due

    def result(self, signature: ModelSignature, arrays: Mapping[str, ndarray]) -> Tracks:
        """The tracks of the event.

        Raises:
            ServiceError: an array did not come, or there is another number of helices than of tracks.
        """
        tracks = self._tracks(signature, arrays)
        if self.parameters:
            tracks = _with_parameters(tracks, signature, arrays)
        if LAYOUT.name in arrays:
            tracks.counts.update(zip(LAYOUT_COUNTS, arrays[LAYOUT.name].tolist(), strict=True))
        if self.watch is not None:
            contract = tracking_contract(signature)
            # Labels alone do not tell where the tracks come from.
            expected = contract.beam_spot if self.parameters else None
            self.watch.look(self.hits, tracks, expected, contract.usual)
        return tracks

    def _tracks(self, signature: ModelSignature, arrays: Mapping[str, ndarray]) -> Tracks:
        """The tracks without what the layers say of the hits."""
        labels = signature.required(arrays, LABELS.name)
        if STAGES.name not in arrays:
            return Tracks(labels, {}, {"hits": len(labels)})
        contract, values = tracking_contract(signature), arrays[STAGES.name].tolist()
        n_stages = len(contract.stage_names)
        seconds = dict(zip(contract.stage_names, values[:n_stages], strict=True))
        counts = {name: int(value) for name, value in zip(contract.count_names, values[n_stages:], strict=True)}
        return Tracks(labels, seconds, counts)


def _with_parameters(tracks: Tracks, signature: ModelSignature, arrays: Mapping[str, ndarray]) -> Tracks:
    """The tracks with their fitted helices and the beam line that these are measured from."""
    rows = signature.required(arrays, PARAMETERS.name)
    beam_spot = BeamSpot(*signature.required(arrays, BEAM_SPOT.name).tolist())
    if len(rows) != tracks.n_tracks:
        raise ServiceError(
            f"{signature.url}: {signature.model} gives {PARAMETERS.name} of {len(rows)} tracks, expected"
            f" {tracks.n_tracks}, as its {LABELS.name} say",
            url=signature.url,
            model=signature.model,
        )
    return replace(tracks, beam_spot=beam_spot, parameters=unpacked_parameters(rows))
