"""Events: one collision each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool
from beampipe.errors import ShapeError
from beampipe.lazy import above
from beampipe.notebook import Page, Shown
from beampipe.tracking.events.hits import Hits
from beampipe.tracking.events.tracks import Tracks
from beampipe.tracking.events.truth import NOISE, Truth

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Event", "HitColumns"]


@dataclass(frozen=True, eq=False, repr=False)
class HitColumns(Shown):
    """What the input says of each hit beside its position, as it stands there, so that it can be written again.

    Attributes:
        format: name of the format that the event was read from, a key of `beampipe.tracking.formats.FORMATS`.
        hit_id: (n_hits,) integers: the input's own number of each hit, or None where it gives none.
        extra: name -> (n_hits,) array: the other columns of the input, in its order, of any type.

    Raises:
        ShapeError: the columns differ in length.
    """

    format: str
    hit_id: ndarray | None = None
    extra: Mapping[str, ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.columns().items()}
        if len(set(lengths.values())) > 1:
            raise ShapeError(f"columns of the hits: got the lengths {lengths}, expected one length")

    def columns(self) -> dict[str, ndarray]:
        """Every column by name, `hit_id` first."""
        return {**({} if self.hit_id is None else {"hit_id": self.hit_id}), **self.extra}

    def facts(self) -> Mapping[str, object]:
        """Format and names of the columns."""
        return {"format": self.format, "columns": ", ".join(self.columns()) or "none"}


@dataclass(frozen=True, eq=False, repr=False)
class Event(Shown):
    """One collision: its hits and, if simulated, its truth.

    Attributes:
        event_id: number of the event in its sample.
        hits: what was measured.
        truth: what made it, or None for data.
        source: the input's own columns of the hits, or None for an event that no foreign file gave.
    """

    event_id: int
    hits: Hits
    truth: Truth | None = None
    source: HitColumns | None = None

    def __post_init__(self) -> None:
        for name, values in ({} if self.source is None else self.source.columns()).items():
            if len(values) != len(self.hits):
                raise ShapeError(
                    f"event {self.event_id}: got {len(values)} values of {name}, expected {len(self.hits)}, one per hit"
                )
        if self.truth is not None and len(self.truth.particle_id) != len(self.hits):
            raise ShapeError(
                f"event {self.event_id}: got truth for {len(self.truth.particle_id)} hits,"
                f" expected {len(self.hits)}, one per hit in the same order"
            )

    def plot(
        self,
        tracks: Tracks | None = None,
        *,
        min_pt: float = 1.0,
        show_truth: bool | None = None,
        field: float = 2.0,
    ) -> Figure:
        """A figure of two views, x-y and r-z: hits as dots, tracks coloured by pT, fakes dashed in red.

        Args:
            tracks: tracks that were found in the event; None for the hits alone.
            min_pt: lowest pT of a track that is drawn [GeV].
            show_truth: whether simulated particles are drawn, as broad pale lines; if not given, where there are no
                tracks.
            field: solenoidal field, for the pT of tracks that were not fitted [T].

        Returns:
            A figure of matplotlib, which a notebook shows; ``figure.savefig("event.pdf")`` writes it.

        Raises:
            ShapeError: the tracks are of another event.
            MissingExtraError: matplotlib is not installed.
        """
        figure: Figure = above("beampipe.tracking.display.showing:event_figure")(
            self, tracks, min_pt=min_pt, show_truth=show_truth, field=field
        )
        return figure

    def display(
        self, tracks: Tracks | None = None, *, min_pt: float = 1.0, field: float = 2.0, height: int = 560
    ) -> Page:
        """The interactive view that `beampipe.tracking.write_html` writes, shown in a notebook: 3D, x-y and r-z.

        The page carries its event, some 8 bytes a hit: a notebook with an event of mu = 200 grows by 2 MB.

        Args:
            tracks: tracks that were found in the event; None for the hits, and the truth if there is one, alone.
            min_pt: pT cut at which the view opens [GeV]; 0 for none, at most 50.
            field: solenoidal field, for the pT of tracks that were not fitted [T].
            height: height of the view [pixels].

        Raises:
            ShapeError: the tracks are of another event.
            ConfigError: `min_pt` is outside 0 .. 50 GeV.
        """
        page: Page = above("beampipe.tracking.display.showing:event_page")(
            self, tracks, min_pt=min_pt, field=field, height=height
        )
        return page

    def facts(self) -> Mapping[str, object]:
        """Number of the event, of its hits and of its particles, and the format that it was read from."""
        truth = "none" if self.truth is None else f"{len(self.truth.particles)} particles"
        said: dict[str, object] = {"event": self.event_id, "hits": len(self.hits), "truth": truth}
        return said if self.source is None else {**said, "format": self.source.format}

    def _repr_html_(self) -> str:
        picture: str = above("beampipe.tracking.display.thumbnail:thumbnail")(self.hits)
        return f"{super()._repr_html_()}{picture}"

    def take(self, kept: Bool[ndarray, " n_hits"]) -> Event:
        """The event with the hits of a mask and their truth, without the input's own columns.

        Merged hits keep all their particles, and particles that lost all their hits stay.
        """
        truth = self.truth
        if truth is not None:
            row = np.cumsum(kept) - 1
            still = kept[truth.shared_hit]
            shared = (row[truth.shared_hit[still]], truth.shared_particle[still])
            truth = Truth(truth.particle_id[kept], truth.particles, *shared)
        return Event(self.event_id, self.hits.take(kept), truth)

    def with_noise(self, noise: Hits) -> Event:
        """The event with further hits behind its own, which no particle made, and without the input's own columns.

        Args:
            noise: further hits, with at least the optional columns that the hits of the event have.
        """
        columns = []
        for name in ("geometry_id", "local", "variance"):
            have, add = getattr(self.hits, name), getattr(noise, name)
            columns.append(None if have is None else np.concatenate([have, add]))
        hits = Hits(np.concatenate([self.hits.position, noise.position]), *columns)
        truth = self.truth
        if truth is not None:
            particle_id = np.concatenate([truth.particle_id, np.full(len(noise), NOISE, np.int64)])
            truth = replace(truth, particle_id=particle_id)
        return Event(self.event_id, hits, truth)
