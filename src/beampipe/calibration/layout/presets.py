"""Layouts that many files share; each line of a preset can be overridden in a configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from beampipe.calibration.layout.settings import Layout
from beampipe.errors import ConfigError, UnknownNameError
from beampipe.settings import build

__all__ = ["BEAMPIPE", "PRESETS", "likely_presets", "over_preset", "preset_layout"]

_BEAMPIPE: Final[Mapping[str, Any]] = {
    "tree": "events",
    "branches": {
        "run": "run",
        "event": "event",
        "trigger": "trigger",
        "pt": "jet_pt",
        "eta": "jet_eta",
        "phi": "jet_phi",
        "clean": "jet_clean",
        "n_trk": "jet_n_trk",
        "width": "jet_width",
        "c1": "jet_c1",
        "label": "jet_label",
        "n_trk_eff": "jet_n_trk_eff",
        "n_trk_fake": "jet_n_trk_fake",
    },
    "weights": {"nominal": "weight"},
    "sums": {"source": "bookkeeping", "object": "bookkeeping"},
}

_NANOAOD: Final[Mapping[str, Any]] = {
    "tree": "Events",
    "branches": {
        "run": "run",
        "event": "event",
        "pt": "Jet_pt",
        "eta": "Jet_eta",
        "phi": "Jet_phi",
        "label": "Jet_partonFlavour",
    },
    "labels": {"signed": True},
    "weights": {"nominal": "genWeight"},
    "sums": {"source": "runs", "object": "Runs", "branch": "genEventSumw"},
}

_PFNANO: Final[Mapping[str, Any]] = {
    **_NANOAOD,
    "constituents": {
        "pt": "PFCands_pt",
        "eta": "PFCands_eta",
        "phi": "PFCands_phi",
        "charge": "PFCands_charge",
        "jet": "JetPFCands_jetIdx",
        "link": "JetPFCands_pFCandsIdx",
    },
}

_PHYSLITE: Final[Mapping[str, Any]] = {
    "tree": "CollectionTree",
    "energy_unit": "MeV",
    "branches": {
        "run": "EventInfoAuxDyn.runNumber",
        "event": "EventInfoAuxDyn.eventNumber",
        "pt": "AnalysisJetsAuxDyn.pt",
        "eta": "AnalysisJetsAuxDyn.eta",
        "phi": "AnalysisJetsAuxDyn.phi",
        "clean": "AnalysisJetsAuxDyn.DFCommonJets_jetClean_LooseBad",
        "n_trk": "AnalysisJetsAuxDyn.DFCommonJets_QGTagger_NTracks",
        "width": "AnalysisJetsAuxDyn.DFCommonJets_QGTagger_TracksWidth",
        "c1": "AnalysisJetsAuxDyn.DFCommonJets_QGTagger_TracksC1",
        "label": "AnalysisJetsAuxDyn.PartonTruthLabelID",
    },
    "labels": {"none": [-1, 0]},
    "weights": {"nominal": "EventInfoAuxDyn.mcEventWeights"},
    "sums": {"source": "cutbookkeepers", "object": "MetaData"},
}


def _as_fields(lines: Any) -> Any:
    """The lines of PHYSLITE with the names that its branches have as fields of an RNTuple."""
    if isinstance(lines, Mapping):
        return {key: _as_fields(each) for key, each in lines.items()}
    return lines.replace("AuxDyn.", "AuxDyn:") if isinstance(lines, str) else lines


_PHYSLITE_RNTUPLE: Final[Mapping[str, Any]] = {**_as_fields(_PHYSLITE), "tree": "EventData"}

_NTUPLE: Final[Mapping[str, Any]] = {
    "tree": "ntuple",
    "branches": {
        "run": "run",
        "event": "event",
        "pt": "jet_pt",
        "eta": "jet_eta",
        "phi": "jet_phi",
        "n_trk": "jet_n_trk",
        "width": "jet_width",
        "c1": "jet_c1",
        "label": "jet_label",
    },
    "weights": {"nominal": "weight"},
}

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "beampipe": _BEAMPIPE,
        "nanoaod": _NANOAOD,
        "pfnano": _PFNANO,
        "physlite": _PHYSLITE,
        "physlite_rntuple": _PHYSLITE_RNTUPLE,
        "ntuple": _NTUPLE,
    }
)
"""Name of a preset -> its lines, as a configuration has them under [layout]."""


def over_preset(table: Any, where: str) -> Any:
    """The table [layout] with the lines of its preset that it does not change; anything but a table as it is.

    Raises:
        UnknownNameError: there is no such preset.
        ConfigError: the name of the preset is no text.
    """
    if not isinstance(table, Mapping):
        return table
    name = table.get("preset", "beampipe")
    if not isinstance(name, str):
        raise ConfigError(f"{where}: layout: preset: got {name!r}, expected one of {', '.join(PRESETS)}")
    if name not in PRESETS:
        raise UnknownNameError(f"preset ({where}: layout)", name, PRESETS)
    merged = _merged(PRESETS[name], {**table, "preset": name})
    sums, source = table.get("sums"), PRESETS[name].get("sums", {}).get("source", "none")
    if isinstance(sums, Mapping) and "manifest" in sums and "source" not in sums and source in ("none", "bookkeeping"):
        merged["sums"]["source"] = "manifest"
    return merged


def _merged(lines: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables with changes."""
    out = dict(lines)
    for key, value in changes.items():
        inside = out.get(key)
        both = isinstance(inside, Mapping) and isinstance(value, Mapping)
        out[key] = _merged(inside, value) if both else value  # type: ignore[arg-type]
    return out


def preset_layout(name: str, changes: Mapping[str, Any] | None = None, folder: Path = Path()) -> Layout:
    """The layout of a preset with some lines changed, as a configuration would have them."""
    return build(Layout, over_preset({**(changes or {}), "preset": name}, "layout"), "layout", folder)


BEAMPIPE: Final = preset_layout("beampipe")
"""The layout of the files that this package writes."""


def likely_presets(trees: Mapping[str, Iterable[str]]) -> dict[str, float]:
    """Name of each preset -> share of its branches that a file has, the best first; of equal ones, the more detailed.

    Args:
        trees: branches of each tree of the file, by the tree's name.
    """
    shares, sizes = {}, {}
    for name, lines in PRESETS.items():
        wanted = {branch for branch in lines["branches"].values() if branch}
        wanted |= set(lines.get("constituents", {}).values())
        shares[name] = len(wanted & set(trees.get(lines["tree"], ()))) / len(wanted)
        sizes[name] = len(wanted)
    return dict(sorted(shares.items(), key=lambda item: (-item[1], -sizes[item[0]])))
