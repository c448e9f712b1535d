"""The TOML file: what it gives, and what it refuses with which words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from beampipe.calibration.config import DijetSelection, Energy, Regions, Systematic, load_configuration
from beampipe.calibration.taggers import Tagger
from beampipe.errors import BeampipeError, ConfigError, FileError, UnknownNameError

SAMPLES = """
[samples.nominal]
files = "mc/*.root"
luminosity = 10
[samples.data]
files = ["data/a.root", "data/**/b.root"]
kind = "data"
"""

WHOLE = f"""
output = "out"
pt_edges = [500, 800.0, 2000]
working_points = [0.5, 0.8]
chunk_events = 1000
keep_tables = false
{SAMPLES}
[samples.shower]
files = ["mc/1.root", "mc/*.root"]
weight_bits = 30
[selection]
min_n_trk = 3
max_abs_eta = 2
[regions]
rule = "eta_split"
split = 0.7
[taggers.n_trk]
bins = 50
[taggers.gbdt]
model = "models/m.txt"
bins = 40
low = 0.0
high = 1.0
[taggers.far]
model = "grpc://host:8001/gbdt"
[energy]
scale = 5
resolution = 0
[bootstrap]
replicas = 10
seed = 4
[systematics.pdf]
rule = "envelope"
weights = "pdf_*"
[systematics.jets]
rule = "up_down"
kinematics = ["jes_*", "jer_*"]
experimental = true
[systematics.shower]
samples = ["nominal", "shower"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("mc/1.root", "mc/2.root", "data/a.root", "data/x/y/b.root"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "calibration.toml"
    path.write_text(text)
    return path


def test_a_whole_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    result = load_configuration(write(folder, WHOLE))
    assert result.output == folder / "out"
    assert result.pt_edges == (500.0, 800.0, 2000.0)
    assert all(type(edge) is float for edge in result.pt_edges)
    assert (result.working_points, result.chunk_events, result.keep_tables) == ((0.5, 0.8), 1000, False)
    assert result.samples["nominal"].files == (folder / "mc/1.root", folder / "mc/2.root")
    assert result.samples["nominal"].luminosity == 10.0
    assert result.samples["data"].files == (folder / "data/a.root", folder / "data/x/y/b.root")
    assert result.samples["shower"].files == result.samples["nominal"].files, "each once"
    assert (result.samples["shower"].weight_bits, result.samples["data"].weight_bits) == (30, 36)
    assert result.selection == DijetSelection(min_n_trk=3, max_abs_eta=2.0)
    assert result.regions == Regions("eta_split", 0.0, 0.7)
    assert result.tagger_names == ("n_trk", "gbdt", "far")
    assert result.taggers[0] == Tagger("n_trk", 50)
    assert result.taggers[1].model == str(folder / "models/m.txt")
    assert [tagger.served for tagger in result.taggers] == [False, False, True]
    assert result.taggers[2].model == "grpc://host:8001/gbdt"
    assert result.energy == Energy(5, 0)
    assert (result.bootstrap.replicas, result.bootstrap.seed) == (10, 4)
    assert result.systematics == (
        Systematic("pdf", "envelope", weights=("pdf_*",)),
        Systematic("jets", "up_down", kinematics=("jes_*", "jer_*"), experimental=True),
        Systematic("shower", samples=("nominal", "shower")),
    )
    assert result.weight_patterns == ("pdf_*",)
    assert result.kinematic_patterns == ("jes_*", "jer_*")
    assert result.wants_variations("nominal")
    assert not result.wants_variations("data")


def test_placeholders_of_the_jet_energy_are_for_simulated_ntuples(folder: Path) -> None:
    foreign = SAMPLES + '[layout]\npreset = "nanoaod"\n'
    energies = [load_configuration(write(folder, text)).energy for text in (SAMPLES, SAMPLES + "[layout]\n", foreign)]
    assert energies == [Energy(), Energy(), Energy(0, 0)]
    assert load_configuration(write(folder, foreign + "[energy]\nscale = 3\n")).energy == Energy(3, 8)


def test_a_short_file_takes_defaults(folder: Path) -> None:
    result = load_configuration(write(folder, SAMPLES))
    assert result.output == folder / "calibration"
    assert result.taggers == (Tagger(),)
    assert result.selection == DijetSelection()
    assert result.systematics == ()
    assert len(result.pt_edges) == 7


def test_another_output_may_be_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "mc")
    result = load_configuration(write(folder, WHOLE), output=Path("here"))
    assert result.output == folder / "mc/here"


def test_a_folder_with_brackets_in_its_name(folder: Path) -> None:
    odd = folder / "a[1]"
    (odd / "mc").mkdir(parents=True)
    (odd / "mc/1.root").touch()
    text = f'[samples.nominal]\nfiles = "mc/*.root"\n[samples.data]\nfiles = "{folder}/data/a.root"\nkind = "data"'
    result = load_configuration(write(odd, text))
    assert result.samples["nominal"].files == (odd / "mc/1.root",)
    assert result.samples["data"].files == (folder / "data/a.root",)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("[", FileError, "is not TOML"),
        ("ouput = 'x'" + SAMPLES, ConfigError, "unknown key 'ouput', expected some of .*; did you mean 'output'"),
        (SAMPLES + "[selection]\nmin_ntrk = 3", ConfigError, "selection: unknown key 'min_ntrk'.* 'min_n_trk'"),
        (SAMPLES + "[energy]\nscale = 3.5", ConfigError, "energy: scale: got 3.5, expected int"),
        ("keep_tables = 1" + SAMPLES, ConfigError, "keep_tables: got 1, expected bool"),
        ("pt_edges = [500, 'x']" + SAMPLES, ConfigError, "pt_edges: got 'x', expected float"),
        (SAMPLES + "[taggers.x]\nname = 'n_trk'", ConfigError, "taggers.x: got name = 'n_trk', expected none"),
        (SAMPLES + "[samples.x]\nluminosity = 1", ConfigError, "samples.x: got files = None, expected paths"),
        (SAMPLES + "[samples.x]\nfiles = 'no/*.root'", FileError, r"samples\.x: got files 'no/\*"),
        (SAMPLES.replace('"data"', '"dta"'), UnknownNameError, "unknown kind .*got 'dta'.*; did you mean 'data'"),
        ("data = 'nominal'" + SAMPLES, ConfigError, "sample nominal: got kind simulation, expected one of data"),
        ("nominal = 'data'" + SAMPLES, ConfigError, "sample data: got kind data, expected simulation"),
        ("data = 'dat'" + SAMPLES, UnknownNameError, r"unknown sample \(data\): got 'dat'.*; did you mean 'data'"),
        ("", UnknownNameError, r"unknown sample \(nominal\): got 'nominal'"),
        ("pt_edges = [800, 500]" + SAMPLES, ConfigError, r"pt_edges: got \(800\.0, 500\.0\), expected two or more"),
        ("eta_edges = [0.8]" + SAMPLES, ConfigError, "eta_edges: got"),
        (
            "pt_edges = [400, 600]" + SAMPLES,
            ConfigError,
            r"pt_edges: got 400 to 600, but \[selection\] has .*set min_subl",
        ),
        ("pt_edges = [500, 2500]" + SAMPLES, ConfigError, "pt_edges: got 500 to 2500, but.*max_leading_pt"),
        ("pt_edges = [500, nan, 800]" + SAMPLES, ConfigError, "pt_edges: got nan, expected a finite number"),
        ("working_points = [1.0]" + SAMPLES, ConfigError, "working_points: got .*expected fractions between 0 and 1"),
        ("chunk_events = -1" + SAMPLES, ConfigError, "chunk_events: got -1, expected 0 or more"),
        (SAMPLES + "luminosity = -1", ConfigError, "sample data: got luminosity -1.0, expected more than 0"),
        (SAMPLES + "weight_bits = 60", ConfigError, "sample data: got weight_bits 60, expected 1 to 50"),
        (SAMPLES + "[selection]\nmax_leading_pt = 400", ConfigError, "got max_leading_pt 400.0, expected more than"),
        (SAMPLES + "[selection]\nmax_pt_ratio = 1", ConfigError, "selection: got max_pt_ratio 1.0, expected more"),
        (SAMPLES + "[regions]\nrule = 'rank'", UnknownNameError, "unknown rule of the regions: got 'rank'.*'eta_rank'"),
        (SAMPLES + "[taggers.n_trk]\nbins = 1", ConfigError, "tagger n_trk: got 1 bins in .*expected 2 or more"),
        (SAMPLES + "[taggers.gbdt]\nbins = 9", ConfigError, "tagger gbdt: got model '' .*expected a model or a branch"),
        (SAMPLES + "[taggers.n_trk]\nmodel = 'a'", ConfigError, "tagger n_trk: got model .*expected none"),
        (SAMPLES + "[energy]\nscale = -1", ConfigError, "energy: got .*expected 0 to 200"),
        (SAMPLES + "[bootstrap]\nseed = 4294967296", ConfigError, "bootstrap: got .*seed from 0 to 4294967295"),
        (SAMPLES + "[systematics.x]\nweights='a'\nkinematics='b'", ConfigError, "systematic x: got 2 of weights"),
        (SAMPLES + "[systematics.x]\nweights='a'\nrule='sum'", UnknownNameError, "unknown rule .*got 'sum', expected"),
        (SAMPLES + "[systematics.x]\nsamples=['shwr']", UnknownNameError, "unknown sample of systematic x: got 'shwr'"),
        (SAMPLES + "[systematics.x]\nmethod='nonclosure'\nonly_data=true", ConfigError, "systematic x: got only_data"),
        (SAMPLES + "[systematics.x]\nsamples=['a', 'b', 'c']", ConfigError, "systematic x: got 3 samples, expected"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, text: str, error: type[BeampipeError], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        load_configuration(write(folder, text))
    assert re.search("got|unknown key|is not TOML|missing", str(caught.value))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none\.toml: cannot be read .*; expected the TOML file of a calibration"):
        load_configuration(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match=r"binary\.toml: "):
        load_configuration(tmp_path / "binary.toml")
