"""Settings of a chain: what is refused, and what the message says."""

from __future__ import annotations

import json
import pickle
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from beampipe.chain.recipes import Plan, make_chunk
from beampipe.chain.run import sample_settings, store_of
from beampipe.chain.settings import EXAMPLE, SHIPPED, demo_settings, load_settings, shipped_settings
from beampipe.chain.tables import JetEvents
from beampipe.errors import BeampipeError, FileError
from beampipe.simulation.detector import read_layout
from beampipe.simulation.ntuples.ntuple_files import read_bookkeeping, read_ntuple


def test_demo_adds_shipped_ntuples_of_another_seed(tmp_path: Path) -> None:
    settings = demo_settings(tmp_path)
    assert settings.output == tmp_path
    assert [len(chunks) for chunks in Plan(settings).compared.values()] == [2, 2]
    assert [settings.of_role(role).name for role in ("nominal", "data", "measured")] == ["nominal", "data", "measured"]
    for sample in settings.samples.values():
        (path,) = sample.further
        book = read_bookkeeping(path)
        made_with = json.loads(book["settings"])
        assert made_with["seed"] != settings.seed
        assert made_with["settings"] == list(sample_settings(sample, settings))


def test_shipped_ntuples_have_the_settings_of_the_script_that_makes_them(tmp_path: Path) -> None:
    settings = shipped_settings(tmp_path)
    assert {f"{name}.root" for name in settings.samples} == {path.name for path in SHIPPED.glob("*.root")}
    for name, sample in settings.samples.items():
        book = read_bookkeeping(SHIPPED / f"{name}.root")
        made_with = json.loads(book["settings"])
        assert made_with["seed"] == settings.seed
        assert made_with["settings"] == list(sample_settings(sample, settings))
        assert (book["dataset"], book["n_generated"]) == (name, sample.events)


def test_shipped_ntuples_begin_with_the_jets_that_the_chain_makes_now(tmp_path: Path) -> None:
    settings = shipped_settings(tmp_path)
    chunk, store = Plan(settings).chunks["nominal"][0], store_of(settings)
    make_chunk(store, chunk)
    data, shipped = JetEvents.load(store.require(chunk.recipes["jets"])), read_ntuple(SHIPPED / "nominal.root")
    two = np.bincount(data.jets.event, minlength=len(data.events)) >= 2
    n_tracks = np.bincount(data.owners.track[data.owners.track >= 0], minlength=len(data.jets))
    jets = two[data.jets.event]
    theirs = slice(0, int(shipped.offset[two.sum()]))
    assert shipped.event[: two.sum()].tolist() == np.flatnonzero(two).tolist()
    # Within an event jets are in the order of their corrected pT in the ntuple.
    assert sorted(data.jets.eta[jets].astype(np.float32).tolist()) == sorted(shipped.jet_eta[theirs].tolist())
    # A later version may find or fit a few tracks otherwise.
    ours, other = np.sort(n_tracks[jets]), np.sort(shipped.jet_n_trk[theirs])
    assert np.mean(ours != other) < 0.05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('role = "measured"', 'role = "data"'), "got data, measured with the role 'data'"),
        (("pileup = 0.0", "pileup = 600.0"), "got pileup 600, expected 0 to 300"),
        (('process = ["dijets"]', 'process = "gammajet"'), r"got process \['gammajet'\], expected"),
        (('process = ["dijets"]', 'process = ["dijets", "gamajet"]'), "'gamajet'.*gammajet"),
        (('generator = "vincia"        #', 'generator = "vinca"        #'), "'vinca'.*vincia"),
        (("[jets]\nmin_pt", "[jets]\nmin_ptt"), "unknown key 'min_ptt'"),
        (("dead_modules = 0.01", "dead_modules = 1.0"), "dead_modules=1.0"),
        (("working_points = [0.8]", "working_points = [0.8, 0.6]"), "expected them to rise"),
        (
            ('# card = "my.cmnd"', 'card = "no.cmnd" '),
            "no.cmnd: cannot be read .*expected lines for Pythia of sample data",
        ),
        (('# tagger = "tagger.txt"', 'tagger = "no.txt"'), "no.txt: cannot be read .*expected a model of LightGBM"),
        (("# pythia = [", 'pythia = ["include = my.cmnd", '), "got a line `include`.*name the file as `card`"),
    ],
)
def test_wrong_settings_are_refused(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    assert text.count(change[0]) == 1
    path = tmp_path / "chain.toml"
    path.write_text(text.replace(*change))
    with pytest.raises(BeampipeError, match=message):
        load_settings(path)


def test_lines_of_a_card_come_before_single_ones_and_decide_what_is_made(tmp_path: Path) -> None:
    path, card = tmp_path / "chain.toml", tmp_path / "my.cmnd"
    path.write_text(EXAMPLE.read_text().replace("# pythia = [", "pythia = [").replace('# card = "my', 'card = "my'))
    keys = set()
    for text in ("! tuned\n\nPartonLevel:MPI = off\n", "! tuned\n\nPartonLevel:MPI = on\n"):
        card.write_text(text)
        settings = load_settings(path)
        lines = text.splitlines()
        assert settings.samples["data"].lines == (lines[0], lines[2], "TimeShower:alphaSvalue = 0.13")
        keys.add(Plan(settings).chunks["data"][0].recipes["generate"].key)
    assert len(keys) == 2


def test_detector_and_map_of_the_field_decide_what_is_simulated(tmp_path: Path) -> None:
    """Their contents do; comments and the place of the files do not."""
    odd = (files("beampipe.simulation") / "odd.toml").read_text()

    def key(name: str, detector: str, field: str) -> str:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "chain.toml").write_text(EXAMPLE.read_text().replace("# layout = ", "layout = "))
        (folder / "my_detector.toml").write_text(f'{detector}\n[field_map]\nfile = "field.txt"\n')
        (folder / "field.txt").write_text(field)
        return Plan(load_settings(folder / "chain.toml")).chunks["nominal"][0].recipes["simulate"].key

    first = key("first", odd, "0 0 0 2")
    assert key("moved", f"# mine\n{odd}", "0 0 0 2") == first
    assert len({first, key("map", odd, "0 0 0 3"), key("modules", odd.replace("odd", "other", 1), "0 0 0 2")}) == 3


def test_a_detector_by_name_is_found_from_another_folder(tmp_path: Path) -> None:
    path = tmp_path / "chain.toml"
    path.write_text(EXAMPLE.read_text().replace('# layout = "my_detector.toml"', 'layout = "odd"'))
    assert load_settings(path).detector.read() == read_layout(Path("odd"))
    path.write_text(EXAMPLE.read_text().replace("# layout = ", "layout = "))
    with pytest.raises(FileError, match=f"{tmp_path}/my_detector.toml: cannot be read"):
        _ = Plan(load_settings(path)).chunks["nominal"][0].recipes


def test_chunks_travel_to_workers_with_their_recipes(tmp_path: Path) -> None:
    chunk = Plan(demo_settings(tmp_path)).chunks["data"][0]
    keys = {stage: recipe.key for stage, recipe in chunk.recipes.items()}
    assert {stage: recipe.key for stage, recipe in pickle.loads(pickle.dumps(chunk)).recipes.items()} == keys
