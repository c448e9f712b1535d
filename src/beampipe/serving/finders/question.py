"""Hits and tracks as the arrays that a tracking model takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from numpy import ndarray

from beampipe.errors import ConfigError, InputError, ServiceError
from beampipe.serving.contract import (
    COUNT_NAMES,
    FEATURE_SCALE,
    FEATURES,
    GEOMETRY_ID,
    LABELS,
    LAYOUT,
    LOCAL,
    STAGE_NAMES,
    STAGES,
    USUAL_ON_TRACKS,
    VARIANCE,
    listed,
)
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
        inputs: names of the inputs that are made from hits.
        stage_names: names of the first values of STAGES [s]; empty if the model has no such output.
        count_names: names of the values of STAGES after those.
        usual: what share of the hits is usually on tracks; None if the model does not say.
    """

    scale: Scale
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
    try:
        scale = scale_named(signature.parameters.get(FEATURE_SCALE) or "mm")
        told = signature.parameters.get(USUAL_ON_TRACKS)
        usual = Usual.parse(told) if told else None
    except (KeyError, ConfigError) as error:
        raise ServiceError(f"{url}: {model}: {error}; update beampipe here", url=url, model=model) from None
    inputs = tuple(name for name in signature.inputs if name in _INPUTS)
    if STAGES.name not in signature.outputs:
        return TrackingContract(scale, inputs, (), (), usual)
    stages, counts = (listed(signature.parameters.get(key, "")) for key in (STAGE_NAMES, COUNT_NAMES))
    return TrackingContract(scale, inputs, stages, counts, usual)


@dataclass(frozen=True, eq=False)
class FindTracks:
    """The question of a track finder, as `beampipe.triton.client.connections.remote.Question` has it.

    Attributes:
        hits: of one event.
        stages: whether to ask also for times and counts of the stages, where the model can tell.
        watch: is told of the tracks, and warns of foreign hits; None for nobody.
    """

    hits: Hits
    stages: bool = False
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
        """One label per hit, one value per stage and count, and how the hits lie."""
        n_values = tracking_contract(signature).n_values
        due: dict[str, tuple[int, ...]] = {LABELS.name: (len(self.hits),)}
        if self.stages and n_values:
            due[STAGES.name] = (n_values,)
        if self.watch is not None and LAYOUT.name in signature.outputs:
            due[LAYOUT.name] = LAYOUT.dims
        return due

    def result(self, signature: ModelSignature, arrays: Mapping[str, ndarray]) -> Tracks:
        """The tracks of the event."""
        tracks = self._tracks(signature, arrays)
        if LAYOUT.name in arrays:
            tracks.counts.update(zip(LAYOUT_COUNTS, arrays[LAYOUT.name].tolist(), strict=True))
        if self.watch is not None:
            self.watch.look(self.hits, tracks, usual=tracking_contract(signature).usual)
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
