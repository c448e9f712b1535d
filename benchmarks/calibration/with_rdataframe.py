"""The same selection and histograms with ROOT's RDataFrame, on two threads: one event loop, compiled just in time.

ROOT is in the extra `bench`; it may also lie in a folder of its own (`pip install --target`) that is in PYTHONPATH.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from beampipe.calibration.config import REGIONS, Configuration, DijetSelection
from beampipe.calibration.events.dijets import FLAVOURS

__all__ = ["is_installed", "run_rdataframe"]

_CODE = """
ROOT::RVec<int> flavours_of(const ROOT::RVec<signed char>& label) {
  ROOT::RVec<int> out;
  for (int k = 0; k < 2; ++k) {
    const int code = label[k];
    out.push_back(code >= 1 && code <= 3 ? 0 : code == 4 ? 1 : code == 5 ? 2 : code == 21 ? 3 : -1);
  }
  return out;
}
std::vector<double> contents_of(const THnD& histogram) {
  std::vector<double> out(histogram.GetNbins());
  for (Long64_t k = 0; k < histogram.GetNbins(); ++k) out[k] = histogram.GetBinContent(k);
  return out;
}
"""


def is_installed() -> bool:
    """Whether ROOT can be imported."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ROOT  # noqa: F401
    except ImportError:
        return False
    return True


def run_rdataframe(files: Mapping[str, Sequence[str]], n_weights: int, threads: int = 2) -> dict[str, list[np.ndarray]]:
    """Sums of weights by dataset, one array (pt, region, flavour, n_trk) for each weight.

    Args:
        files: files of each dataset, by its name; `data` has neither labels nor weights.
        n_weights: number of weights to fill with, the first ones of the file.
        threads: number of threads of ROOT's implicit multi-threading.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ROOT
    ROOT.EnableImplicitMT(threads)
    if not hasattr(ROOT, "contents_of"):
        ROOT.gInterpreter.Declare(_CODE)
    booked = {name: _book(ROOT, list(paths), name != "data", n_weights) for name, paths in files.items()}
    ROOT.RDF.RunGraphs([each for several in booked.values() for each in several])
    return {name: [_contents(ROOT, each.GetValue()) for each in several] for name, several in booked.items()}


def _book(root: Any, paths: list[str], simulated: bool, n_weights: int) -> list[Any]:
    """The histograms of a dataset, not filled yet."""
    cuts = DijetSelection()
    frame = root.RDataFrame("events", paths)
    frame = frame.Filter("trigger && njet >= 2")
    frame = frame.Filter(f"jet_pt[1] > {cuts.min_subleading_pt} && jet_pt[0] < {cuts.max_leading_pt}")
    frame = frame.Filter(f"jet_pt[0] < {cuts.max_pt_ratio} * double(jet_pt[1])")
    frame = frame.Filter("jet_clean[0] && jet_clean[1]")
    frame = frame.Filter(f"jet_n_trk[0] >= {cuts.min_n_trk} && jet_n_trk[1] >= {cuts.min_n_trk}")
    frame = frame.Define("size0", "std::abs(jet_eta[0])").Define("size1", "std::abs(jet_eta[1])")
    frame = frame.Filter(f"size0 < {cuts.max_abs_eta} && size1 < {cuts.max_abs_eta}")
    if simulated:
        frame = frame.Define("flavour", "flavours_of(jet_label)").Filter("flavour[0] >= 0 && flavour[1] >= 0")
    else:
        frame = frame.Define("flavour", "ROOT::RVec<int>{0, 0}")
    frame = frame.Define("pt", "ROOT::RVec<double>{jet_pt[0], jet_pt[1]}")
    frame = frame.Define("region", "ROOT::RVec<int>{size0 < size1, size0 >= size1}")
    frame = frame.Define("tracks", "ROOT::RVec<double>{double(jet_n_trk[0]), double(jet_n_trk[1])}")
    edges = [Configuration.__dataclass_fields__["pt_edges"].default]
    edges += [np.arange(n + 1) - 0.0 for n in (len(REGIONS), len(FLAVOURS), 100)]
    lists = root.std.vector["std::vector<double>"]([[float(edge) for edge in each] for each in edges])
    bins = root.std.vector["int"]([len(each) - 1 for each in edges])
    out = []
    for k in range(n_weights if simulated else 1):
        value = f"double(weight[{k}])" if simulated else "1.0"
        weighted = frame.Define(f"w{k}", f"ROOT::RVec<double>{{{value}, {value}}}")
        model = root.RDF.THnDModel(f"h{k}", "", 4, bins, lists)
        out.append(weighted.HistoND(model, ["pt", "region", "flavour", "tracks", f"w{k}"]))
    return out


def _contents(root: Any, histogram: Any) -> np.ndarray:
    """Bins of a histogram, what is beyond the last axis in its first and last bin."""
    shape = [histogram.GetAxis(k).GetNbins() + 2 for k in range(4)]
    values = np.array(root.contents_of(histogram))
    # Bins are numbered in the order in which THn keeps them: like an array of C, with the bins below and above.
    whole = values.reshape(shape)[1:-1, 1:-1, 1:-1]
    inside: np.ndarray = whole[..., 1:-1].copy()
    inside[..., 0] += whole[..., 0]
    inside[..., -1] += whole[..., -1]
    return inside
