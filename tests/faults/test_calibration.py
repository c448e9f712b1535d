"""Faults of users' ntuples and configurations: each is named, and sound ntuples in other conventions get no warning."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from numpy import ndarray

from beampipe.calibration.recognition import inspect_ntuple
from beampipe.errors import ConfigError
from tests.calibration.layout.disguises import tree
from tests.faults.fault import Fault, cases, check
from tests.faults.ntuples_of_users import calibrate, columns, jets, ntuple, of_jets

FOREIGN = Path(__file__).parents[1] / "calibration" / "foreign"

SCORE = """
layout.scores.q.branch = "jet_score"
[taggers.q]
bins = 20
low = 0.0
high = 1.0
cut = "inside"
"""

RATIO = '\nlayout.weights.variations.pdf = { branch = "pdf", ratio = true }\nsystematics.pdf = { weights = "pdf*" }'

FULL = RATIO.replace(", ratio = true", "")

BOOSTED = """
[taggers.gbdt]
model = "shipped"
bins = 20
low = 0.0
high = 1.0
cut = "inside"
"""


def _every(n: int, value: Any) -> Callable[[ndarray], ndarray]:
    """Every n-th number is replaced."""

    def change(numbers: ndarray) -> ndarray:
        numbers = numbers.astype(np.float32)
        numbers[::n] = value
        return numbers

    return change


def _scaled(factor: float) -> Callable[[ndarray], ndarray]:
    return lambda numbers: (numbers * factor).astype(np.float32)


def _column(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    """The change of a branch with a number per event."""

    def changed(table: dict[str, Any]) -> None:
        table[name] = change(table[name])

    return changed


def _varied(spread: float, of_nominal: bool, width: float = 0.0) -> Callable[[dict[str, Any]], None]:
    """A nominal weight around `spread`, and a branch `pdf` with ratios or with full weights."""

    def changed(table: dict[str, Any]) -> None:
        rng = np.random.default_rng(3)
        n = len(table["weight"])
        table["weight"] = (table["weight"] * spread * rng.lognormal(0, width, n)).astype(np.float32)
        ratio = 1 + 0.05 * rng.normal(size=n)
        table["pdf"] = (ratio * (table["weight"] if of_nominal else 1)).astype(np.float32)

    return changed


def _signed(table: dict[str, Any]) -> None:
    _varied(1.0, of_nominal=False)(table)
    table["weight"] = np.where(np.arange(len(table["weight"])) % 5, 1, -1).astype(np.float32)


def _other_file(folder: Path, change: Callable[[dict[str, Any]], None], **options: Any) -> None:
    """A second file of simulation, with other events and a change."""
    ntuple(folder / "simulation.root", seed=6)
    ntuple(folder / "simulation_2.root", change, seed=9, first_event=5000, **options)


def _with_other_file(change: Callable[[dict[str, Any]], None], more: str = "") -> Callable[[Path], str]:
    def plant(folder: Path) -> str:
        _other_file(folder, change)
        return calibrate(folder, more=more)

    return plant


def _second_file_of_fewer_weights(folder: Path) -> str:
    for k in range(2):
        ntuple(
            folder / f"simulation_{k}.root",
            lambda table, k=k: table.update(weight=np.stack([table["weight"]] * (3 - k), axis=1)),  # type: ignore[misc]
            seed=6 + k,
            first_event=5000 * k,
        )
    return calibrate(folder, more='systematics.pdf = { weights = "weight_*" }')


def _twice(folder: Path) -> str:
    ntuple(folder / "simulation.root", seed=6)
    shutil.copy(folder / "simulation.root", folder / "simulation_copy.root")
    return calibrate(folder)


def _same_numbers(folder: Path) -> str:
    ntuple(folder / "data.root", seed=5, simulated=False)
    ntuple(folder / "data_2.root", seed=8, simulated=False)
    return calibrate(folder)


def _truncated(folder: Path) -> str:
    path = ntuple(folder / "simulation.root", seed=6)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return calibrate(folder)


def _flipped(folder: Path) -> str:
    path = ntuple(folder / "simulation.root", seed=6)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3 : len(raw) // 3 + 2000] = bytes(2000)
    path.write_bytes(raw)
    return calibrate(folder)


def _empty(folder: Path) -> str:
    ntuple(folder / "data.root", lambda table: table.update({k: v[:0] for k, v in table.items()}), simulated=False)
    return calibrate(folder)


def _data_as_simulation(folder: Path) -> str:
    ntuple(folder / "simulation.root", seed=9, simulated=False, first_event=5000)
    return calibrate(folder)


def _cycles(folder: Path) -> str:
    """Two trees of one name: an aborted job was appended to."""
    table = columns(300, 6)
    tree(folder / "simulation.root", "ntuple", columns(900, 6), ("ntuple", table))
    return calibrate(folder)


def _of_root(branch: str) -> Callable[[Path], str]:
    """The file that ROOT wrote, with a score of some type."""

    def plant(folder: Path) -> str:
        for name in ("simulation", "data"):
            shutil.copy(FOREIGN / "packed_types.root", folder / f"{name}.root")
        more = SCORE.replace("jet_score", branch)
        trigger = 'layout.branches.trigger = "trigger"'
        return calibrate(
            folder, more=more, settings={trigger: "", 'preset = "ntuple"': 'preset = "ntuple"\nlayout.tree = "events"'}
        )

    return plant


def _inspected(change: Callable[[dict[str, Any]], None], *, simulated: bool = True) -> Callable[[Path], str]:
    return lambda folder: "\n".join(inspect_ntuple(ntuple(folder / "a.root", change, simulated=simulated)).lines)


def _flags(table: dict[str, Any]) -> None:
    """Trigger and quality flags under names of the user's."""
    table["passHLT"] = table.pop("trigger")
    table["goodVertex"] = (np.arange(len(table["run"])) % 10 != 0).astype(np.int8)
    table["jet_tight"] = ak.unflatten(np.arange(ak.sum(ak.num(table["jet_pt"]))) % 2 == 0, ak.num(table["jet_pt"]))


def _settings(**settings: str) -> Callable[[Path], str]:
    """A configuration with some texts replaced: keys are names in `TEXTS`."""
    return lambda folder: calibrate(folder, settings={TEXTS[key]: new for key, new in settings.items()})


TEXTS = {
    "points": "working_points = [0.5]",
    "pt": "pt_edges = [500.0, 800.0, 2000.0]",
    "section": "cross_section = 1.0",
    "luminosity": "luminosity = 800.0",
    "trigger": 'layout.branches.trigger = "trigger"',
    "sums": 'layout.sums.source = "events"',
    "data": 'files = "data*.root", kind = "data"',
    "simulation": 'files = "simulation*.root", luminosity',
}


def _manifest(text: str) -> Callable[[Path], str]:
    def plant(folder: Path) -> str:
        (folder / "m.csv").write_text(text)
        return calibrate(folder, settings={TEXTS["sums"]: 'layout.sums.manifest = "m.csv"'})

    return plant


def _score(change: Callable[[ndarray], Any]) -> Callable[[Path], str]:
    return lambda folder: calibrate(folder, data=jets("jet_score", change), more=SCORE)


def _jets(name: str, change: Callable[[ndarray], Any], more: str = "") -> Callable[[Path], str]:
    return lambda folder: calibrate(folder, data=jets(name, change), more=more)


def _simulation(change: Callable[[dict[str, Any]], None], more: str = "", **options: Any) -> Callable[[Path], str]:
    return lambda folder: calibrate(folder, change, more=more, **options)


def _nan_weight(table: dict[str, Any]) -> None:
    table["weight"][123] = np.nan


def _heavy(table: dict[str, Any]) -> None:
    rng = np.random.default_rng(2)
    table["weight"] = rng.lognormal(0, 5.0, len(table["weight"])).astype(np.float32)


def _labels(table: dict[str, Any]) -> None:
    of_jets(table, "jet_label", lambda codes: np.where(codes == 21, 9, codes + 10).astype(np.int32))


def _fewer_jets(table: dict[str, Any]) -> None:
    table["jet_n_trk"] = table["jet_n_trk"][:, :1]


FAULTS = [
    # weights
    Fault("ratios of weights without ratio = true", _simulation(_varied(0.004, False), FULL), "ratio = true"),
    Fault(
        "ratios read as weights, nominal ones that vary", _simulation(_varied(1.0, False, 0.5), FULL), "ratio = true"
    ),
    Fault("ratios read as weights, nominal ones with signs", _simulation(_signed, FULL), "ratio = true"),
    Fault("full weights read as ratios", _simulation(_varied(0.004, True), RATIO), "ratio = false"),
    Fault("a weight that is NaN", _simulation(_nan_weight), r"'weight'.*nan at entry 123"),
    Fault(
        "a varied weight that is NaN",
        _simulation(lambda t: (_varied(1.0, True)(t), t["pdf"].__setitem__(77, np.nan))[0], FULL),
        r"'pdf'.*nan at entry 77",
    ),
    Fault("weights that are all 0", _simulation(_column("weight", np.zeros_like)), r"(?i)weight.*\b0\b"),
    Fault("weights of sizes that no sum of 64 bits holds", _simulation(_heavy), r"weight_bits = \d+"),
    Fault("fewer weights in one file", _second_file_of_fewer_weights, "(?s)simulation_.*weight"),
    Fault("a negative sum of weights", _simulation(_column("weight", lambda w: -w)), "sum -.* of weights 'nominal'"),
    # scores and observables
    Fault("scores of -1 for no score", _score(_every(5, -1)), r"'?q'?.*-1, outside 0 to 1"),
    Fault("scores of -999", _score(_every(50, -999)), r"-999"),
    Fault("scores in per cent", _score(_scaled(100)), r"outside 0 to 1"),
    Fault("NaN scores", _score(_every(5, np.nan)), "'jet_score'.*(NaN|nan)"),
    Fault("log-likelihood ratios as scores", _score(lambda x: np.log((x + 0.01) / (1.01 - x))), "outside 0 to 1"),
    Fault("n_trk of -1 as a float", _jets("jet_n_trk", _every(5, -1)), "'jet_n_trk': got -1"),
    Fault("n_trk of 999 for none", _jets("jet_n_trk", _every(20, 999)), "'jet_n_trk'.*999"),
    Fault("n_trk with halves", _jets("jet_n_trk", lambda x: x + 0.5), "'jet_n_trk': got .*5 .*whole numbers"),
    Fault("n_trk of 0 in data", _jets("jet_n_trk", lambda x: x * 0), "'jet_n_trk'.*all numbers are 0"),
    Fault("eta of 999 for none", _jets("jet_eta", _every(20, 999)), "'jet_eta'.*999"),
    Fault("theta for eta", _jets("jet_eta", lambda x: np.rad2deg(2 * np.arctan(np.exp(-x))).astype("f4")), "'jet_eta'"),
    Fault("width of -1 for none", _jets("jet_width", _every(20, -1), BOOSTED), "'jet_width'.*-1"),
    Fault("width of NaN", _jets("jet_width", _every(20, np.nan), BOOSTED), "'jet_width': .*(nan|NaN)"),
    Fault("c1 of -99", _jets("jet_c1", _every(20, -99), BOOSTED), "'jet_c1'.*-99"),
    Fault("width in other units", _jets("jet_width", _scaled(1000), BOOSTED), "'jet_width'"),
    Fault("eta of NaN", _jets("jet_eta", _every(20, np.nan)), "'jet_eta'.*(NaN|nan)"),
    Fault("pT of infinity", _jets("jet_pt", _every(20, np.inf)), "'jet_pt'.*inf"),
    Fault("denormal numbers", _jets("jet_width", _scaled(1e-40), BOOSTED), "'jet_width'.*type"),
    Fault("an array of Double32_t with a range", _of_root("score_double32_range"), "Double32_t.*float"),
    Fault("a fixed array of Double32_t with a range", _of_root("score_fixed_range"), "Double32_t.*float"),
    Fault("an array of Float16_t", _of_root("score_float16"), "Float16_t.*float"),
    Fault("a branch of a friend tree", _of_root("tag"), "friend.*scores.*friend.root"),
    # units and kinds
    Fault("pT in MeV", _jets("jet_pt", _scaled(1000)), "'jet_pt'.*MeV"),
    Fault("pT in TeV", _jets("jet_pt", _scaled(0.001)), "'jet_pt'.*TeV"),
    Fault("one file of several in MeV", _with_other_file(jets("jet_pt", _scaled(1000))), "simulation_2.*MeV"),
    Fault("labels of other codes", _simulation(_labels), "'jet_label'.*no parton"),
    Fault("labels with signs", _simulation(jets("jet_label", lambda x: np.where(x < 9, -x, x))), "signed"),
    Fault("labels that are all 0", _simulation(jets("jet_label", lambda x: x * 0)), "'jet_label'.*no parton"),
    Fault("labels that are all gluons", _simulation(jets("jet_label", lambda x: x * 0 + 21)), "(?i)quark|label"),
    Fault("data listed as simulation", _data_as_simulation, "(?s)simulation.root: .*'jet_label'.*kind = .data"),
    Fault("simulation listed as data", _settings(data='files = "simulation*.root", kind = "data"'), "simulation"),
    Fault(
        "simulation with labels in the data sample",
        lambda folder: (ntuple(folder / "data.root", seed=3), calibrate(folder))[1],
        "got simulation in sample data",
    ),
    # files
    Fault("the same file twice under another name", _twice, "simulation_copy.root: got run 1, event .* also in"),
    Fault("event numbers repeated between files", _same_numbers, "data_2.root: got run 1, event .* also in"),
    Fault("event numbers repeated in a file", _simulation(_column("event", lambda x: x // 2)), "more than once"),
    Fault("a truncated file", _truncated, "truncated or damaged"),
    Fault("a damaged basket", _flipped, "truncated or damaged"),
    Fault("no event at all", _empty, "no event in any"),
    Fault("two cycles of a tree", _cycles, r"ntuple;1.*ntuple;2|cycle"),
    Fault(
        "a branch renamed in one file",
        _with_other_file(lambda t: t.update(jet_nTrk=t.pop("jet_n_trk"))),
        "simulation_2.*'jet_n_trk'.*'jet_nTrk'",
    ),
    Fault("labels missing in one file", _with_other_file(lambda t: t.pop("jet_label")), "(?s)simulation_2.*jet_label"),
    Fault(
        "a text in place of numbers in one file",
        _with_other_file(_column("event", lambda x: ak.Array([str(v) for v in x]))),
        "simulation_2.*'event'",
    ),
    Fault("fewer jets in one column", _simulation(_fewer_jets), "'jet_n_trk': got .* numbers .* one per jet"),
    Fault("negative event numbers", _simulation(_column("event", lambda x: -x.astype(np.int64))), "'event': got -"),
    Fault(
        "no trigger decision passes",
        lambda folder: calibrate(folder, data=_column("trigger", np.zeros_like)),
        "(?i)trigger|no event",
    ),
    # configuration
    Fault("no trigger cut", _settings(trigger=""), "(?i)no trigger", str),
    Fault(
        "luminosity in 1/fb",
        lambda folder: calibrate(folder, settings={TEXTS["luminosity"]: "luminosity = 0.8"}),
        "(?i)luminosity",
        str,
    ),
    Fault(
        "a working point in per cent",
        _settings(points="working_points = [50]"),
        "working_points.*between 0 and 1",
        ConfigError,
    ),
    Fault(
        "a working point of 1",
        _settings(points="working_points = [1.0]"),
        "working_points.*between 0 and 1",
        ConfigError,
    ),
    Fault(
        "a working point of 0", _settings(points="working_points = [0]"), "working_points.*between 0 and 1", ConfigError
    ),
    Fault(
        "a working point twice",
        _settings(points="working_points = [0.5, 0.5]"),
        "working_points.*each once",
        ConfigError,
    ),
    Fault("overlapping bins of pT", _settings(pt="pt_edges = [500.0, 900.0, 800.0]"), "pt_edges.*rise", ConfigError),
    Fault("bins of pT in MeV", _settings(pt="pt_edges = [500000.0, 800000.0]"), "pt_edges", ConfigError),
    Fault("a negative cross section", _settings(section="cross_section = -1.0"), "cross_section -1", ConfigError),
    Fault("no cross section", _settings(section="cross_section = 0.0"), "no cross section", ConfigError),
    Fault("a cross section of NaN", _settings(section="cross_section = nan"), "cross_section: got nan", ConfigError),
    Fault("a luminosity of NaN", _settings(luminosity="luminosity = nan"), "luminosity: got nan", ConfigError),
    Fault(
        "a negative cross section in a manifest",
        _manifest("dataset,files,cross_section,sum_weights\na,*.root,-1,5\n"),
        "cross section > 0",
        ConfigError,
    ),
    Fault(
        "a sum of weights of 0 in a manifest",
        _manifest("dataset,files,cross_section,sum_weights\na,*.root,1,0\n"),
        "sum 0.* of weights",
    ),
    Fault(
        "a manifest that lacks a file",
        _manifest("dataset,files,cross_section,sum_weights\na,other*.root,1,5\n"),
        "rows of the manifest none",
        ConfigError,
    ),
    Fault("a pattern that matches no file", _settings(data='files = "dat.root", kind = "data"'), "matches no file"),
    # inspection
    Fault("inspect: trigger and quality under the user's names", _inspected(_flags), "(?s)passHLT.*jet_tight", str),
    Fault("inspect: scores with a value for none", _inspected(jets("jet_n_trk", _every(20, 999))), "wrong: .*999", str),
]


@pytest.mark.parametrize("fault", cases(FAULTS))
def test_a_fault_is_named(fault: Fault, tmp_path: Path) -> None:
    check(fault, tmp_path)


def _as(**types: str) -> Callable[[dict[str, Any]], None]:
    """The change of the types of branches."""

    def change(table: dict[str, Any]) -> None:
        for name, kind in types.items():
            table[name] = ak.values_astype(table[name], kind) if name.startswith("jet") else table[name].astype(kind)

    return change


def _renamed(**names: str) -> Callable[[dict[str, Any]], None]:
    def change(table: dict[str, Any]) -> None:
        for name, new in names.items():
            if name in table:
                table[new] = table.pop(name)

    return change


def _both(*changes: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    def change(table: dict[str, Any]) -> None:
        for each in changes:
            each(table)

    return change


def _flat(table: dict[str, Any]) -> None:
    """Numbers of the two leading jets in place of lists."""
    two = ak.num(table["jet_pt"]) >= 2
    for name in [name for name in table if name.startswith("jet_")]:
        lists = table.pop(name)[two]
        for k in range(2):
            table[f"jet{k + 1}{name[3:]}"] = ak.to_numpy(lists[:, k])
    for name in [name for name in table if not name.startswith("jet")]:
        table[name] = table[name][ak.to_numpy(two)]


def _shuffled(table: dict[str, Any]) -> None:
    """Jets that are not sorted by pT."""
    order = ak.argsort(table["jet_eta"], axis=1)
    for name in [name for name in table if name.startswith("jet_")]:
        table[name] = table[name][order]


def _negative(table: dict[str, Any]) -> None:
    """A generator at next-to-leading order: one weight in ten is negative."""
    table["weight"] = np.where(np.arange(len(table["weight"])) % 10, 5321.0, -5321.0).astype(np.float32)


def _lognormal(sigma: float) -> Callable[[dict[str, Any]], None]:
    def change(table: dict[str, Any]) -> None:
        size = np.random.default_rng(4).lognormal(0, sigma, len(table["weight"]))
        table["weight"] = (size / size.mean()).astype(np.float32)

    return change


def _outside(table: dict[str, Any]) -> None:
    """No tracks outside the tracker, and no width of soft jets."""
    table["jet_n_trk"] = ak.where(abs(table["jet_eta"]) < 2.5, table["jet_n_trk"], 0)
    for name in ("jet_width", "jet_c1", "jet_score"):
        table[name] = ak.where(table["jet_pt"] > 200, table[name], -99)


def _of_weight_1(table: dict[str, Any]) -> None:
    table["weight"] = np.ones_like(table["weight"])
    _varied(1.0, of_nominal=True)(table)


def _all_weights(table: dict[str, Any]) -> None:
    table["weight"] = np.stack([table["weight"] * (1 + 0.1 * k) for k in range(4)], axis=1)


LAYOUT = "layout.branches."
DELPHES = {name: f"Jet.{new}" for name, new in (("jet_pt", "PT"), ("jet_eta", "Eta"), ("jet_n_trk", "NCharged"))}
NANO = {
    f"jet_{old}": f"Jet_{new}"
    for old, new in (("pt", "pt"), ("eta", "eta"), ("n_trk", "nCh"), ("label", "partonFlavour"))
}
ATLAS = {
    f"jet_{old}": f"AnalysisJets_{new}"
    for old, new in (("pt", "pt"), ("eta", "eta"), ("n_trk", "NumTrkPt500"), ("label", "PartonTruthLabelID"))
}


def _branches(names: dict[str, str]) -> str:
    keys = {"jet_pt": "pt", "jet_eta": "eta", "jet_n_trk": "n_trk", "jet_label": "label", "trigger": "trigger"}
    keys |= {"run": "run", "event": "event"}
    return "\n".join(
        f'{LAYOUT}{keys[name]} = "{new}"' for name, new in names.items() if name in keys and name != "trigger"
    )


NOTHING: Callable[[dict[str, Any]], None] = _both()

MEV = 'layout.energy_unit = "MeV"'

FLAT = "\n".join(f'{LAYOUT}{key} = ["jet1_{key}", "jet2_{key}"]' for key in ("pt", "eta", "n_trk", "label"))

SOUND: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "lists, GeV": (NOTHING, ""),
    "MeV": (jets("jet_pt", _scaled(1000)), MEV),
    "TeV": (jets("jet_pt", _scaled(0.001)), 'layout.energy_unit = "TeV"'),
    "ATLAS names, MeV, labels of -1": (
        _both(jets("jet_pt", _scaled(1000)), _renamed(**ATLAS)),
        MEV + "\n" + _branches(ATLAS),
    ),
    "CMS names": (_renamed(**NANO, run="run", event="event"), _branches(NANO)),
    "Delphes names": (_renamed(**DELPHES), _branches(DELPHES)),
    "flat numbers of two jets": (_flat, FLAT),
    "jets not sorted": (_shuffled, ""),
    "double precision": (_as(jet_pt="float64", jet_eta="float64", jet_width="float64"), ""),
    "n_trk as float": (_as(jet_n_trk="float32"), ""),
    "n_trk as int64, event as int64": (_as(jet_n_trk="int64", event="int64", run="int32"), ""),
    "event numbers above 32 bits": (_column("event", lambda x: x + 2**40), ""),
    "trigger as int": (_as(trigger="int32"), ""),
    "weights of a scale of 1e-9": (
        lambda t: t.update(weight=t["weight"] * np.float32(1e-9)) if "weight" in t else None,
        "",
    ),
    "weights of a scale of 1e7": (
        lambda t: t.update(weight=t["weight"] * np.float32(1e7)) if "weight" in t else None,
        "",
    ),
    "weights in double precision": (lambda t: t.update(weight=t["weight"].astype("f8")) if "weight" in t else None, ""),
    "negative weights": (lambda t: _negative(t) if "weight" in t else None, ""),
    "log-normal weights, sigma 1": (lambda t: _lognormal(1.0)(t) if "weight" in t else None, ""),
    "log-normal weights, sigma 1.5": (lambda t: _lognormal(1.5)(t) if "weight" in t else None, ""),
    "a vector of weights": (
        lambda t: _all_weights(t) if "weight" in t else None,
        'systematics.pdf = { weights = "weight_*", rule = "envelope" }',
    ),
    "ratios of weights": (lambda t: _varied(0.004, False)(t) if "weight" in t else None, RATIO),
    "full weights of variations": (lambda t: _varied(0.004, True)(t) if "weight" in t else None, FULL),
    "ratios, nominal weights of 1": (lambda t: _of_weight_1(t) if "weight" in t else None, FULL),
    "labels with signs": (
        lambda t: (
            of_jets(t, "jet_label", lambda x: np.where((x < 9) & (np.arange(len(x)) % 2 == 0), -x, x))
            if "weight" in t
            else None
        ),
        "layout.labels.signed = true",
    ),
    "scores in the files": (NOTHING, SCORE),
    "scores as log-likelihood ratios": (
        jets("jet_score", lambda x: np.log((x + 0.01) / (1.01 - x)).astype("f4")),
        SCORE.replace("low = 0.0", "low = -5.0").replace("high = 1.0", "high = 5.0"),
    ),
    "values for none in soft and forward jets": (_outside, SCORE + BOOSTED),
    "quality of jets as a number": (
        lambda t: t.update(jet_id=ak.values_astype(t["jet_pt"] > 0, "int32") * 6),
        'layout.branches.clean = "jet_id >= 2"',
    ),
    "a served or shipped tagger": (NOTHING, BOOSTED),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_ntuples_get_no_warning(name: str, tmp_path: Path) -> None:
    change, more = SOUND[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = calibrate(tmp_path, change, change, more=more)
    assert not re.search("(?i)warning|no trigger|times as many", shown), shown
