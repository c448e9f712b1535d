"""Stages of a user's own, by path, module or plug-in, and exports."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from beampipe import open_events
from beampipe.chain.cli import app
from beampipe.chain.export import export
from beampipe.chain.own_stages import own_stage
from beampipe.chain.recipes import Chunk, Plan, make_chunk
from beampipe.chain.run import ChainResult, run_inputs, store_of
from beampipe.chain.settings import EXAMPLE, ChainSettings, StageUse, load_settings
from beampipe.chain.tables import JetEvents
from beampipe.chain.verify import keep_settings, read_settings, verify
from beampipe.errors import BeampipeError, ConfigError
from beampipe.simulation.calorimeter import Towers
from beampipe.tables import load_table
from tests.chain.test_chain import INLINE, jets_of

TOWERS = '''
"""Towers of twice the energy."""
from dataclasses import dataclass, replace

import numpy as np
from beampipe.random_numbers import keys
from beampipe.simulation.calorimeter import Calorimeter, Towers, measured_towers
from beampipe.simulation.pythia import Collisions
import factors

@dataclass(frozen=True)
class Doubled:
    cell: float = 0.1

    def make(self, collisions: Collisions, seed: int) -> Towers:
        event_key = keys(np.full(len(collisions), seed), np.arange(len(collisions)))
        towers = measured_towers(collisions, Calorimeter(cell=self.cell), event_key)
        return replace(towers, pt=factors.FACTOR * towers.pt)
'''


def described(folder: Path, options: str = "") -> Path:
    """The settings to start from, with towers of a user."""
    (folder / "my_towers.py").write_text(TOWERS)
    (folder / "factors.py").write_text("FACTOR = 2.0\n")
    config = folder / "chain.toml"
    config.write_text(f"{EXAMPLE.read_text()}\n[stage.towers]\nuse = 'my_towers.py:Doubled'\n{options}\n")
    return config


def own(made: ChainResult, folder: Path, options: str = "") -> ChainSettings:
    """The settings of the small chain with towers of a user, and its store."""
    if not (folder / "store").exists():
        shutil.copytree(made.settings.output / "store", folder / "store")
    return replace(made.settings, output=folder, stage=load_settings(described(folder, options)).stage)


def done(settings: ChainSettings, chunk: Chunk) -> list[str]:
    """What is made of a chunk, by the log."""
    store = store_of(settings)
    assert store.log is not None
    before = len(list(store.log.read()))
    make_chunk(store, chunk)
    return [str(line["stage"]) for line in list(store.log.read())[before:] if line["event"] == "done"]


def first_chunk(settings: ChainSettings) -> Chunk:
    return Plan(settings).chunks["nominal"][0]


def test_a_change_of_an_own_stage_makes_what_depends_on_it(made: ChainResult, tmp_path: Path) -> None:
    settings = own(made, tmp_path)
    assert done(settings, first_chunk(settings)) == ["towers", "jets"]
    store = store_of(settings)

    def towers(of: ChainSettings) -> Towers:
        return load_table(store.require(first_chunk(of).recipes["towers"]), "towers", Towers)

    assert towers(settings).pt.sum() == pytest.approx(2 * towers(made.settings).pt.sum(), rel=0.02)
    assert done(settings, first_chunk(settings)) == []
    (tmp_path / "factors.py").write_text("FACTOR = 3.0\n")  # code that the stage imports
    assert done(settings, first_chunk(settings)) == ["towers", "jets"]
    other = own(made, tmp_path, "cell = 0.2")
    assert done(other, first_chunk(other)) == ["towers", "jets"]
    (tmp_path / "unused.py").write_text("1\n")
    assert done(other, first_chunk(other)) == []


def test_settings_of_own_stages_are_kept(made: ChainResult, tmp_path: Path) -> None:
    settings = own(made, tmp_path, "cell = 0.2")
    make_chunk(store_of(settings), first_chunk(settings))
    keep_settings(settings, store_of(settings))
    assert read_settings(tmp_path).stage == settings.stage
    assert not verify(tmp_path, 0.01).differing


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("my_towers.py:Doubled", "other.py:Doubled"), r"other\.py.*cannot be read"),
        (("my_towers.py:Doubled", "my_towers.py:Double"), "has no attribute 'Double'"),
        (("my_towers.py:Doubled", "my_towers.py:measured_towers"), "expected a dataclass with a method `make`"),
        (("my_towers.py:Doubled", "doubled"), r"expected FILE\.py:CLASS, MODULE:CLASS, or one of the plug-ins"),
        (("stage.towers", "stage.tower"), "'tower'.*towers"),
        (("\nuse =", "\ncel = 0.1\nuse ="), "unknown key 'cel'.*cell"),
        (("\nuse =", "\nuse1 ="), "missing use|unknown key 'use1'"),
    ],
)
def test_wrong_own_stages_are_refused(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    config = described(tmp_path)
    config.write_text(config.read_text().replace(*change))
    with pytest.raises(BeampipeError, match=message):
        _ = Plan(load_settings(config)).chunks["nominal"][0].recipes


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("return None", "got NoneType, expected Towers"),
        (
            "object.__setattr__(towers, 'pt', towers.pt.astype(np.float32)); return towers",
            r"Towers\.pt: got float32 .*, expected float64",
        ),
        (
            "object.__setattr__(towers, 'pt', towers.pt[1:]); return towers",
            r"Towers\.eta: got the length .*, expected .*, that of pt",
        ),
    ],
)
def test_wrong_tables_of_own_stages_are_refused(code: str, message: str, made: ChainResult, tmp_path: Path) -> None:
    settings = own(made, tmp_path)
    path = tmp_path / "my_towers.py"
    path.write_text(TOWERS.replace("return replace(towers, pt=factors.FACTOR * towers.pt)", code))
    with pytest.raises(ConfigError, match=f"stage towers .*nominal 0.*{message}"):
        make_chunk(store_of(settings), first_chunk(settings), "towers")


@dataclass(frozen=True)
class NeedsTowers:
    """A stage that cannot run without a calorimeter."""

    def make(self, towers: Towers) -> None:
        """Nothing."""


def test_a_stage_of_a_module_needs_only_what_its_chunk_has(made: ChainResult, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"make of .* needs 'towers', expected some of seed, n_events, collisions"):
        own_stage(StageUse("towers", "tests.chain.test_stages:NeedsTowers"))
    stage = own_stage(StageUse("jets", "tests.chain.test_stages:NeedsTowers"))
    assert stage.inputs == ("towers",)
    with pytest.raises(ConfigError, match="needs towers, which nominal 0 has not"):
        stage.make(first_chunk(made.settings), tmp_path / "jets.npz", {})


def test_stages_are_listed(tmp_path: Path) -> None:
    call = CliRunner().invoke(app, ["stages", str(described(tmp_path)), "--json"], catch_exceptions=False)
    assert call.exit_code == 0
    for text in ("my_towers.py:Doubled", "Towers(offset int64, pt float64 [GeV]", "JetTable(event int64", "generate"):
        assert text in call.output


@pytest.mark.parametrize("form", ["parquet", "root"])
def test_exported_tracks_are_an_input(form: str, made: ChainResult, tmp_path: Path) -> None:
    path = tmp_path / f"tracks.{form}"
    assert export(made.settings, "tracks", form, path) == 30
    config = tmp_path / "chain.toml"
    config.write_text(f'output = "out"\n[input.tracks]\nfiles = "{path}"\n[jets]\nmin_pt = 20.0\n')
    result = run_inputs(load_settings(config), INLINE)
    tracks = jets_of(made, "nominal").tracks
    order = np.argsort(tracks.event, kind="stable")
    assert len(result.events.events) == 30
    assert result.events.tracks.pt.tolist() == tracks.pt[order].tolist()


def test_hits_particles_and_jets_are_exported(made: ChainResult, tmp_path: Path) -> None:
    import uproot

    data: JetEvents = jets_of(made, "data")
    assert export(made.settings, "jets", "root", tmp_path / "jets.root", "data") == 15
    assert export(made.settings, "particles", "parquet", tmp_path / "particles.parquet", "data") == 15
    with uproot.open(tmp_path / "jets.root") as file:
        jets = file["jets"].arrays()
    assert np.concatenate(list(map(np.asarray, jets.pt))).tolist() == data.jets.pt.tolist()
    assert sum(map(sum, jets.n_trk.tolist())) == np.count_nonzero(data.owners.track >= 0)
    assert export(made.settings, "hits", "parquet", tmp_path / "hits.parquet", "measured") == 20
    events = open_events(tmp_path / "hits.parquet")
    assert events[3].truth is not None
    assert export(made.settings, "hits", "edm4hep", tmp_path / "hits.root", "measured") == 20
    again = open_events(tmp_path / "hits.root")
    np.testing.assert_allclose(again[3].hits.z, events[3].hits.z, rtol=1e-5)
    with pytest.raises(ConfigError, match="got jets as edm4hep, expected hits or tracks"):
        export(made.settings, "jets", "edm4hep", tmp_path / "jets.root")
    unmade = replace(made.settings, seed=9)
    with pytest.raises(ConfigError, match="jets of nominal 0 is not made yet"):
        export(unmade, "jets", "root", tmp_path / "jets.root")
