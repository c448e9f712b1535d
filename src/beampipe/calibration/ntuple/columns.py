"""The layout of the calibration's ROOT files, defined once for the writer (`simulation`) and the reader (`select`).

A file holds two trees. `EVENTS` has one entry per event; jets are jagged, sorted by falling calibrated pT.
`BOOKKEEPING` has one entry: where the file stands in its slice and what the generator produced for it, before any cut.
A slice is one range of the hard process's pT, with its own cross section; all files of a slice are needed before a
weight means anything.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "BOOKKEEPING",
    "BOOKKEEPING_BRANCHES",
    "EVENTS",
    "EVENT_BRANCHES",
    "FORMAT",
    "JET_BRANCHES",
    "MC_BRANCHES",
    "NOMINAL_WEIGHT",
    "VARIED_N_TRK",
]

FORMAT: Final = 1
"""Version of the layout, which every file states in its tree `BOOKKEEPING`."""

EVENTS: Final = "events"
"""Name of the tree of events."""

BOOKKEEPING: Final = "bookkeeping"
"""Name of the tree that says where the file stands in its slice."""

EVENT_BRANCHES: Final = {"run": "uint32", "event": "uint64", "trigger": "bool"}
"""Branches with one number per event -> type. `run` and `event` together name an event of a dataset."""

JET_BRANCHES: Final = {
    "jet_pt": "float32",  # GeV, after the jet energy scale; falling within an event
    "jet_eta": "float32",
    "jet_phi": "float32",  # rad
    "jet_clean": "bool",
    "jet_n_trk": "uint16",  # reconstructed tracks with pT > 500 MeV
    "jet_width": "float32",
    "jet_c1": "float32",
}
"""Branches with one number per jet -> type; the counter of all of them is `njet`."""

VARIED_N_TRK: Final = {"trk_eff": "jet_n_trk_eff", "trk_fake": "jet_n_trk_fake"}
"""Variation of the tracking -> branch (uint16, per jet) that takes the place of `jet_n_trk`. Simulation only."""

MC_BRANCHES: Final = {"jet_label": "int8", "weight": "float32"}
"""Branches that only simulation has -> type.

`jet_label`: PDG number of the highest-energy parton, 21 for gluons, 0 for none, antiquarks as quarks. `weight`: per
event, counter `nweight`: the nominal weight and then those of the variations, whole weights and not ratios.
"""

NOMINAL_WEIGHT: Final = 0
"""Place of the nominal weight in the branch `weight`."""

BOOKKEEPING_BRANCHES: Final = {
    "format": "int32",
    "dataset": "string",  # e.g. "nominal"; the same in all files of a sample
    "slice": "int32",  # from 0
    "n_slices": "int32",  # of the dataset
    "file_number": "int32",  # from 0
    "n_files": "int32",  # of the slice
    "n_generated": "int64",  # in this file, before any cut
    "cross_section": "float64",  # of the slice [pb]
    "filter_efficiency": "float64",
    "sum_weights": "float64",  # per weight of `weight`, counter `nsum_weights`: over all generated events of this file
    "weight_names": "string",  # of the weights, joined by commas; "nominal" first
    "settings": "string",  # JSON: generator, version, settings, seed
}
"""Branches of the tree `BOOKKEEPING`, which has one entry -> type.

Data has slice 0, one weight "nominal" whose sum is the number of events, and cross section 0.
"""
