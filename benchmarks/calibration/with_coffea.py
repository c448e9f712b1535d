"""The same selection and histograms as a processor of coffea, as its documentation advises: virtual arrays, columns
read when they are first asked for, cuts that need few columns first, numpy once jets come in pairs, one fill per
weight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Final

import awkward as ak
import hist
import lightgbm
import numpy as np
from coffea import processor
from coffea.nanoevents import BaseSchema

from beampipe.calibration.config import REGIONS, DijetSelection
from beampipe.calibration.events.dijets import FLAVOURS
from beampipe.calibration.taggers import SHIPPED_MODELS

_LABELS: Final = np.full(256, -1, np.int8)
"""Place in `FLAVOURS` by PDG number; -1 for none."""
for _pdg, _flavour in {1: "light", 2: "light", 3: "light", 4: "charm", 5: "bottom", 21: "gluon"}.items():
    _LABELS[_pdg] = FLAVOURS.index(_flavour)


class DijetProcessor(processor.ProcessorABC):
    """Histograms of n_trk by pT, region and flavour.

    Args:
        pt_edges: edges of the bins of pT [GeV].
        weight_names: names of the weights to fill with, the first ones of the file; empty for data.
        count: count entries, too.
        layout: how many weights are kept: ``category`` for one histogram with an axis of names, ``list`` for one
            histogram per weight.
        gbdt: fill histograms of the score of the shipped boosted tagger, too, for one weight.
    """

    def __init__(
        self,
        pt_edges: Sequence[float],
        weight_names: Sequence[str],
        count: bool = False,
        layout: str = "list",
        gbdt: bool = False,
    ) -> None:
        self.pt_edges, self.weight_names = list(pt_edges), list(weight_names)
        self.count, self.layout, self.gbdt = count, layout, gbdt
        if gbdt:
            booster()  # before processes are forked

    def process(self, events: Any) -> dict[str, Any]:
        """The histograms of one chunk, by name of the dataset."""
        cuts, simulated = DijetSelection(), "weight" in events.fields
        rows = np.flatnonzero(ak.to_numpy(events.trigger) & (ak.to_numpy(events.njet) >= 2))
        pt = _pairs(events.jet_pt, rows)
        keep = (pt[:, 1] > cuts.min_subleading_pt) & (pt[:, 0] < cuts.max_leading_pt)
        keep &= pt[:, 0] < cuts.max_pt_ratio * pt[:, 1].astype(np.float64)
        rows, pt = rows[keep], pt[keep]
        keep = _pairs(events.jet_clean, rows).all(axis=1)
        n_trk = _pairs(events.jet_n_trk, rows)
        keep &= (n_trk >= cuts.min_n_trk).all(axis=1)
        size = np.abs(_pairs(events.jet_eta, rows))
        keep &= (size < np.float64(cuts.max_abs_eta)).all(axis=1)
        flavour = np.zeros(pt.shape, np.int8)
        weights = np.ones((1, len(rows)), np.float32)
        if simulated:
            flavour = _LABELS[_pairs(events.jet_label, rows).view(np.uint8)]
            weights = np.ascontiguousarray(ak.to_numpy(events.weight[rows][:, : len(self.weight_names)]).T)
            keep &= (flavour >= 0).all(axis=1)
        forward = size[:, 0] >= size[:, 1]
        region = np.stack([~forward, forward], axis=1)[keep].astype(np.int32)
        where = [values[keep].ravel() for values in (pt, flavour, n_trk)]
        where.insert(1, region.ravel())
        if self.gbdt:
            width, c1 = (_pairs(events[name], rows)[keep].ravel() for name in ("jet_width", "jet_c1"))
            features = np.stack([where[3], width, c1, where[0], size[keep].ravel()], axis=1)
            where.append(booster().predict(features.astype(np.float32), num_threads=1).astype(np.float32))
        return {events.metadata["dataset"]: self._fill(where, weights[:, keep])}

    def postprocess(self, accumulator: Any) -> Any:
        return accumulator

    def _fill(self, where: Sequence[np.ndarray], weights: np.ndarray) -> dict[str, Any]:
        names = self.weight_names if len(weights) > 1 else ["nominal"]
        out: dict[str, Any] = {}
        if self.gbdt:
            scores = hist.axis.Regular(25, 0.0, 1.0, name="gbdt")
            scored = hist.Hist(*self._axes()[:3], scores, storage=hist.storage.Weight())
            out["gbdt"] = scored.fill(*where[:3], where.pop(), weight=np.repeat(weights[0], 2))
        if self.count:
            out["entries"] = hist.Hist(*self._axes(), storage=hist.storage.Int64()).fill(*where)
        if self.layout == "category" and len(names) > 1:
            axis = hist.axis.StrCategory(names, name="variation")
            filled = hist.Hist(*self._axes(), axis, storage=hist.storage.Weight())
            for name, weight in zip(names, weights, strict=True):
                filled.fill(*where, name, weight=np.repeat(weight, 2))
            return {**out, "all": filled}
        for name, weight in zip(names, weights, strict=True):
            filled = hist.Hist(*self._axes(), storage=hist.storage.Weight())
            out[name] = filled.fill(*where, weight=np.repeat(weight, 2))
        return out

    def _axes(self) -> list[Any]:
        return [
            hist.axis.Variable(self.pt_edges, name="pt", flow=False),
            hist.axis.Integer(0, len(REGIONS), name="region", flow=False),
            hist.axis.Integer(0, len(FLAVOURS), name="flavour", flow=False),
            hist.axis.Integer(0, 100, name="n_trk"),
        ]


def run_coffea(
    files: Mapping[str, Iterable[Path]], process: DijetProcessor, *, workers: int, chunk: int
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Run coffea's `Runner`, which remembers no earlier run.

    Args:
        files: files of each dataset, by its name.
        process: the processor.
        workers: number of processes.
        chunk: number of events per chunk.

    Returns:
        Histograms by dataset and weight, and coffea's metrics.
    """
    fileset = {name: {"files": {str(path): "events" for path in paths}} for name, paths in files.items()}
    with ProcessPoolExecutor(workers) as pool:  # forked from this process, so that they need import nothing
        executor = processor.FuturesExecutor(pool=pool, workers=workers, status=False)
        runner = processor.Runner(executor, schema=BaseSchema, chunksize=chunk, metadata_cache={}, savemetrics=True)
        return runner(fileset, process)


@cache
def booster() -> lightgbm.Booster:
    """The shipped boosted tagger."""
    return lightgbm.Booster(model_file=str(SHIPPED_MODELS["shipped"]))


def _pairs(lists: Any, rows: np.ndarray) -> np.ndarray:
    """The first two entries of some lists, as an array (m, 2)."""
    return ak.to_numpy(lists[rows][:, :2], allow_missing=False)
