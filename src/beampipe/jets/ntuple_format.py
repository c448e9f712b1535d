"""The format of simulated ntuples, which the calibration reads without configuration.

A file has two trees. `EVENTS` has one entry per event; jets are jagged, sorted by falling calibrated pT. `BOOKKEEPING`
has one entry: the position of the file in its slice, and the generated events and sums of weights before any cut. A
slice is one range of pT of the hard process, with its own cross section. Weights can be normalised only when all files
of a slice are present.
"""

from __future__ import annotations

from typing import Final

FORMAT: Final = 1
"""Version of the layout, which is stored in the tree `BOOKKEEPING` of every file."""

EVENTS: Final = "events"
"""Name of the tree of events."""

BOOKKEEPING: Final = "bookkeeping"
"""Name of the tree with the position of the file in its slice."""

EVENT_BRANCHES: Final = {"run": "uint32", "event": "uint64", "trigger": "bool"}
"""Branches with one number per event -> type. `run` and `event` together identify an event of a dataset."""

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
"""Variation of the tracking -> branch (uint16, per jet) that replaces `jet_n_trk`. Simulation only."""

MC_BRANCHES: Final = {"jet_label": "int8", "weight": "float32"}
"""Branches that only simulation has -> type.

`jet_label`: PDG number of the highest-energy parton, 21 for gluons, 0 for none, antiquarks as quarks. `weight`: per
event, counter `nweight`: the nominal weight and then those of the variations, full weights and not ratios.
"""

NOMINAL_WEIGHT: Final = 0
"""Index of the nominal weight in the branch `weight`."""

CONSTITUENT_BRANCHES: Final = {
    "constituent_jet": "uint8",  # index of the jet in its event
    "constituent_pt": "float32",  # GeV; falling within a jet
    "constituent_eta": "float32",
    "constituent_phi": "float32",  # rad
    "constituent_charged": "bool",  # tracks with pT > 500 MeV; neutral ones have more than 1 GeV
    "constituent_variation": "uint8",  # 0 for all; 1 for tracks lost by trk_eff; 2 for tracks added by trk_fake
}
"""Branches of the constituents of jets -> type; the counter is `nconstituent`. Only files made with them have them."""

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
