"""What a family makes of its random numbers: samples, and what is hidden about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from beampipe.analysisops.samples.events import Events

__all__ = ["Instance", "Sample"]


@dataclass(frozen=True)
class Sample:
    """One file of events.

    Attributes:
        name: of the file without the suffix.
        role: ``"data"``, ``"signal_mc"``, ``"background_mc"`` or ``"calibration_mc"``.
        events: what stands in it.
        facts: what anybody may know of it, such as ``cross_section_pb`` and ``sum_of_weights``.
    """

    name: str
    role: str
    events: Events
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Instance:
    """The data of an instance before they are written.

    Attributes:
        samples: files of events.
        truth: what a perfect analysis would find, by the name under which it is asked.
        words: answers that are words.
        texts: name of a file that is no tree, such as ``"metrics.json"`` -> its role and its text.
        public: what anybody may know of the whole, such as ``luminosity_fb``.
        analysis: cuts, windows and models of the reference analysis.
        labels: per row of the data, the truth that belongs to it.
        hidden: more hidden numbers, which were not drawn but follow from what was.
    """

    samples: tuple[Sample, ...] = ()
    truth: Mapping[str, float] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    public: Mapping[str, Any] = field(default_factory=dict)
    analysis: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[int, ...] = ()
    hidden: Mapping[str, float] = field(default_factory=dict)
