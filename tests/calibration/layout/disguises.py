"""The files of the toy campaign, rewritten as others would have written the same physics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot

from beampipe.simulation.ntuples import Events, read_bookkeeping, read_ntuple
from tests.calibration.campaign import Toys
from tests.calibration.rootfiles import write_odd

Writer = Callable[[Path, Events, Mapping[str, Any]], None]


def disguise(toys: Toys, folder: Path, write: Writer, samples: Sequence[str] = ("nominal", "data", "shower")) -> Path:
    """Each file of some samples by `write`; and what a manifest says of them."""
    rows = ["dataset,files,cross_section,filter_efficiency,n_files,sum_weights"]
    for sample in samples:
        (folder / sample).mkdir(parents=True)
        for path in toys.files(sample):
            book = read_bookkeeping(path)
            write(folder / sample / path.name, read_ntuple(path), book)
            if sample != "data" and book["file_number"] == 0:
                every = [read_bookkeeping(other) for other in toys.files(sample)]
                sums = sum(other["sum_weights"] for other in every if other["slice"] == book["slice"])
                pattern = f"{sample}/{sample}.slice{book['slice']}.*.root"
                numbers = (book["cross_section"], book["filter_efficiency"], book["n_files"])
                text = ",".join(map(repr, map(float, numbers[:2])))
                rows.append(f"{sample},{pattern},{text},{numbers[2]},{' '.join(repr(float(s)) for s in sums)}")
    (folder / "datasets.csv").write_text("\n".join(rows) + "\n")
    return folder


def tree(path: Path, name: str, table: Mapping[str, Any], *more: tuple[str, Mapping[str, Any]]) -> None:
    """A file with trees of arrays; jagged ones get a counter of their own."""
    with uproot.recreate(path) as file:
        for title, columns in ((name, table), *more):
            kinds = {key: _kind(each) for key, each in columns.items()}
            file.mktree(title, kinds, counter_name=lambda counted: f"n{counted}").extend(dict(columns))


def _kind(column: Any) -> Any:
    """The type of a column, from which uproot makes its branch."""
    if not isinstance(column, np.ndarray):
        return column.type.content
    return column.dtype if column.ndim == 1 else (column.dtype, column.shape[1:])


def jagged(events: Events, values: Any) -> Any:
    return ak.unflatten(values, np.diff(events.offset))


def nanoaod(path: Path, events: Events, book: Mapping[str, Any]) -> None:
    """Counter nJet, labels with signs, ratios to the nominal weight, sums in the tree Runs. Jets shuffled."""
    rng = np.random.default_rng(7)
    jets: dict[str, Any] = {
        "pt": events.jet_pt,
        "eta": events.jet_eta,
        "jetId": np.where(events.jet_clean, 6, 0).astype(np.int32),
        "nTracks": events.jet_n_trk.astype(np.int32),
        "width": events.jet_width,
        "c1": events.jet_c1,
    }
    if events.jet_label is not None:
        assert events.jet_n_trk_eff is not None
        assert events.jet_n_trk_fake is not None
        signs = np.where((events.jet_label < 10) & (rng.integers(0, 2, len(events.jet_label)) == 1), -1, 1)
        jets["partonFlavour"] = (events.jet_label * signs).astype(np.int16)
        jets["nTracksEff"], jets["nTracksFake"] = events.jet_n_trk_eff, events.jet_n_trk_fake
    order = np.lexsort((rng.random(len(events.jet_pt)), np.repeat(np.arange(len(events)), np.diff(events.offset))))
    table: dict[str, Any] = {
        "run": events.run,
        "event": events.event,
        "HLT_PFJet500": events.trigger,
        "Jet": jagged(events, ak.zip({name: values[order] for name, values in jets.items()})),
    }
    runs: dict[str, Any] = {"run": np.ones(1, np.uint32)}
    if events.weight is not None:
        nominal = events.weight[:, :1].astype(np.float64)
        table["genWeight"] = events.weight[:, 0]
        runs["genEventSumw"] = np.array([book["sum_weights"][0]])
        if events.weight.shape[1] > 1:
            table["LHEPdfWeight"] = ak.from_regular((events.weight[:, 1:] / nominal).astype(np.float32))
            ratios = book["sum_weights"][1:] / book["sum_weights"][0]
            runs["LHEPdfSumw"] = ak.from_regular(ratios[None])
    tree(path, "Events", table, ("Runs", runs))


def physlite(
    path: Path, events: Events, book: Mapping[str, Any], unit: float = 1000.0, *, rntuple: bool = False
) -> None:
    """MeV, labels -1 for none, whole weights in one vector; as a tree, or as an RNTuple."""
    table: dict[str, Any] = {
        "runNumber": events.run,
        "eventNumber": events.event,
        "passed": events.trigger,
        "Jets_pt": jagged(events, (events.jet_pt.astype(np.float64) * unit).astype(np.float32)),
        "Jets_eta": jagged(events, events.jet_eta),
        "Jets_clean": jagged(events, events.jet_clean.astype(np.int8)),
        "Jets_NTracks": jagged(events, events.jet_n_trk.astype(np.int32)),
        "Jets_Width": jagged(events, events.jet_width),
        "Jets_C1": jagged(events, events.jet_c1),
    }
    if events.jet_label is not None and events.weight is not None:
        assert events.jet_n_trk_eff is not None
        assert events.jet_n_trk_fake is not None
        table["Jets_Label"] = jagged(events, np.where(events.jet_label == 0, -1, events.jet_label).astype(np.int32))
        table["Jets_NTracksEff"] = jagged(events, events.jet_n_trk_eff)
        table["Jets_NTracksFake"] = jagged(events, events.jet_n_trk_fake)
        table["mcEventWeights"] = ak.from_regular(events.weight)
    if not rntuple:
        tree(path, "CollectionTree", table)
        return
    with uproot.recreate(path) as file:
        file.mkrntuple("EventData", ak.Array(table))


def ntuple(path: Path, events: Events, book: Mapping[str, Any]) -> None:
    """The two leading jets as numbers of the event, half of a GeV as unit, float64, weights in a fixed array."""
    two = np.diff(events.offset) >= 2
    at = events.offset[:-1][two]
    table: dict[str, Any] = {"runNumber": events.run[two].astype(np.int32)}
    table["eventNumber"] = events.event[two].astype(np.int64)
    table["pass"] = events.trigger[two].astype(np.int32)
    names = ("pt", "eta", "clean", "n_trk", "width", "c1", "n_trk_eff", "n_trk_fake", "label")
    for name in names:
        column = events.columns.get(f"jet_{name}")
        if column is None:
            continue
        kind: Any = np.float64 if column.dtype.kind == "f" else np.int32
        for k in range(2):
            table[f"jet{k + 1}_{name}"] = column[at + k].astype(kind) * (2.0 if name == "pt" else 1)
    if events.weight is not None:
        table["w"] = events.weight[two]
    tree(path, "t", table)


def merged(files: Sequence[Path], to: Path) -> Path:
    """Files one after the other, as hadd does: each tree gets the entries of all."""
    parts = [read_ntuple(path) for path in files]
    books = [read_bookkeeping(path) for path in files]
    write_odd(to, Events.join(parts), books=books[0])
    with uproot.open(to) as one:
        events = one["events"].arrays(library="ak")
    rows = {name: [book[name] for book in books] for name in books[0]}
    jets = {name[4:]: events[name] for name in events.fields if name.startswith("jet_")}
    table: dict[str, Any] = {name: events[name].to_numpy() for name in ("run", "event", "trigger")}
    table["jet"] = ak.zip(jets)
    if "weight" in events.fields:
        table["weight"] = events["weight"]
    lists = [name for name, values in rows.items() if isinstance(values[0], str) or np.ndim(values[0])]
    columns = {name: ak.Array(values) if name in lists else np.array(values) for name, values in rows.items()}
    tree(to, "events", table, ("bookkeeping", columns))
    return to
