"""A tagger of constituents in a calibration: constituents in files, scores of all variations, and training."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.calibration.config import Configuration, Energy, InputSample, Systematic
from beampipe.calibration.events.dijets import read_dijets
from beampipe.calibration.events.scores import ScoreKey, features_of, read_scores
from beampipe.calibration.events.variations import NOMINAL, kinematics_of
from beampipe.calibration.layout import BEAMPIPE, preset_layout
from beampipe.calibration.ntuple.columns import constituents_of, open_source
from beampipe.calibration.run import run_calibration
from beampipe.calibration.taggers import JETS, Tagger
from beampipe.calibration.tasks.runtime import workspace_of
from beampipe.calibration.training import area_under_curve, train_from_configuration
from beampipe.errors import BeampipeError, ConfigError
from beampipe.jets.network import JetNetwork, constituent_features
from beampipe.jets.network_training import NetworkRecipe
from beampipe.simulation.ntuples import SLICES, read_ntuple, sample_spec, toy_events, write_ntuple
from beampipe.simulation.ntuples.dijets import detected
from beampipe.simulation.pythia import PythiaRun
from tests.calibration.campaign import INLINE
from tests.calibration.rootfiles import bookkeeping_of
from tests.jets.random_constituents import with_constituents

SHIPPED = Tagger("shipped", 20, 0.0, 1.0, "shipped_constituents")


def no_bars(what: str, total: int | None) -> AbstractContextManager[Callable[[], None]]:
    """No progress."""
    return nullcontext(lambda: None)


def write(path: Path, n: int, seed: int, **changes: Any) -> Path:
    events = with_constituents(toy_events(n, seed), seed)
    write_ntuple(path, events, bookkeeping_of(events, dataset=path.stem, **changes))
    return path


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory, network: Path) -> Configuration:
    """Two samples with constituents, and taggers of constituents and of n_trk."""
    folder = tmp_path_factory.mktemp("constituents")
    paths = {name: write(folder / f"{name}.root", 400, seed) for name, seed in (("nominal", 1), ("other", 2))}
    return Configuration(
        output=folder / "out",
        samples={
            "nominal": InputSample("nominal", (paths["nominal"],), "simulation", luminosity=1.0),
            "data": InputSample("data", (paths["other"],), "pseudo-data", luminosity=1.0),
        },
        pt_edges=(500.0, 2000.0),
        chunk_events=150,
        taggers=(Tagger(), Tagger("network", 20, 0.0, 1.0, str(network))),
        energy=Energy(2, 1),
        systematics=(Systematic("jets", "quadrature", kinematics=("trk_*", "jes_*")),),
    )


def test_they_are_read_for_chosen_jets_relative_to_the_axis(tmp_path: Path) -> None:
    path = write(tmp_path / "made.root", 60, 3)
    events = read_ntuple(path)
    entry, jet = np.array([2, 7, 30]), np.array([[1, 0], [0, 1], [0, 1]], np.uint16)
    got = constituents_of(path, BEAMPIPE, 10, 60, entry, jet)
    assert len(got) == 6
    assert events.constituent_offset is not None
    assert events.constituent_jet is not None
    for row, (event, number) in enumerate(zip(np.repeat(entry + 10, 2), jet.ravel(), strict=True)):
        of_event = slice(events.constituent_offset[event], events.constituent_offset[event + 1])
        own = events.constituent_jet[of_event] == number
        mine, axis = slice(got.offset[row], got.offset[row + 1]), events.offset[event] + number
        for name in ("pt", "charged", "variation"):
            want = getattr(events, f"constituent_{name}")[of_event][own]
            np.testing.assert_array_equal(getattr(got, name)[mine], want)
        eta = events.columns["constituent_eta"][of_event][own].astype(float) - float(events.jet_eta[axis])
        np.testing.assert_allclose(got.eta[mine], eta, atol=1e-12)
        assert (np.abs(got.phi[mine]) < 1).all(), "across the seam of phi, too"


def test_n_trk_derived_from_them_is_that_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "made.root", 60, 3)
    layout = preset_layout("beampipe", {"branches": {"n_trk": "", "width": "", "c1": ""}})
    with open_source(path, layout, 0, 60) as source:
        _, n_trk = source.whole_column("jet_n_trk")
    np.testing.assert_array_equal(n_trk, read_ntuple(path).jet_n_trk)


def test_scores_of_all_variations(campaign: Configuration, network: Path) -> None:
    plan = run_calibration(campaign, INLINE, until="predict")
    store, of_file = workspace_of(campaign).store, JetNetwork(network)
    chunks = plan.samples["nominal"].chunks
    assert len(chunks) == 3
    for chunk in chunks:
        assert chunk.predict is not None
        dijets, scores = read_dijets(store.require(chunk.select)), read_scores(store.require(chunk.predict)).by_name
        read = (chunk.path, BEAMPIPE, chunk.start, chunk.stop)
        every = constituents_of(*read, dijets.entry, dijets.jet)
        names = {key.variation for key in scores}
        assert names == {NOMINAL, "trk_eff", "trk_fake", "jes_1_up", "jes_1_down", "jes_2_up", "jes_2_down"}
        for name in names:
            rows = every.of_variation(name)
            described = of_file.describe(constituent_features(rows), np.diff(rows.offset))
            varied = kinematics_of(NOMINAL if name in ("trk_eff", "trk_fake") else name, dijets, campaign.energy)
            features = features_of(dijets, varied, np.nonzero(np.ones((len(dijets), 2), bool)))
            want = of_file.scores(described, features[:, 3:]).reshape(-1, 2)
            np.testing.assert_array_equal(scores[ScoreKey("network", name)], want, err_msg=name)
        for name in ("trk_eff", "trk_fake"):
            assert (scores[ScoreKey("network", name)] != scores[ScoreKey("network", NOMINAL)]).any()


def test_files_without_constituents_are_one_error(campaign: Configuration, tmp_path: Path) -> None:
    events = toy_events(3000, 3)
    write_ntuple(tmp_path / "bare.root", events, bookkeeping_of(events, dataset="bare"))
    sample = replace(campaign.samples["nominal"], files=(tmp_path / "bare.root",))
    bare = replace(campaign, samples={**campaign.samples, "nominal": sample}, output=tmp_path / "out")
    bare = replace(bare, chunk_events=3000)
    match = "got no branch 'constituent_pt', expected it; .* beampipe calibration simulate --constituents"
    with pytest.raises(BeampipeError, match=match):
        run_calibration(bare, INLINE, until="predict")
    run_calibration(replace(bare, taggers=(Tagger(),)), INLINE, until="predict")  # not needed otherwise
    with pytest.raises(BeampipeError, match="constituent_pt"):
        train_from_configuration(bare, tmp_path / "net.safetensors", 1, "inline", 1, no_bars)


def test_what_a_tagger_of_constituents_needs(campaign: Configuration) -> None:
    tagger = Tagger("served", 20, 0.0, 1.0, "grpc://host:1/network", constituents=True)
    assert tagger.of_constituents
    assert not replace(tagger, constituents=False).of_constituents
    with pytest.raises(ConfigError, match=r"tagger boosted: got constituents = true and model 'gbdt.txt'"):
        Tagger("boosted", 20, 0.0, 1.0, "gbdt.txt", constituents=True)
    with pytest.raises(ConfigError, match=r"tagger served: got no layout.constituents.pt, charge or layout"):
        replace(campaign, taggers=(tagger,), layout=replace(BEAMPIPE, constituents=type(BEAMPIPE.constituents)()))


def test_the_shipped_one_separates_simulated_jets(tmp_path: Path) -> None:
    (collisions,) = PythiaRun(sample_spec("nominal2"), SLICES[1], 31).batches(150)
    events, path = detected(collisions, 31, 1, 0, with_constituents=True), tmp_path / "made.root"
    write_ntuple(path, events, bookkeeping_of(events))
    n = len(events)
    jets = constituents_of(path, BEAMPIPE, 0, n, np.arange(n), np.tile([0, 1], (n, 1)))
    rows = (events.offset[:-1, None] + [0, 1]).ravel()
    network, label = JetNetwork(SHIPPED.path), events.columns["jet_label"][rows]
    described = network.describe(constituent_features(jets), np.diff(jets.offset))
    scores = network.scores(described, np.stack([events.jet_pt[rows], np.abs(events.jet_eta[rows])], axis=1))
    assert area_under_curve(scores[label > 0].astype(float), label[label > 0] == 21, np.ones((label > 0).sum())) > 0.8


def test_the_shipped_one_is_for_simulated_ntuples_only(campaign: Configuration, tmp_path: Path) -> None:
    assert SHIPPED.of_constituents
    run_calibration(replace(campaign, taggers=(SHIPPED,), output=tmp_path / "out"), INLINE, until="predict")
    none = replace(BEAMPIPE, constituents=type(BEAMPIPE.constituents)())
    for other in (preset_layout("beampipe", {"constituents": {"pt": "PFCands_pt"}}), none):
        with pytest.raises(ConfigError, match=r"tagger shipped: .* it is valid for these only. Train one for yours"):
            replace(campaign, taggers=(SHIPPED,), layout=other)


def test_the_tracking_cannot_vary_without_its_branch(campaign: Configuration, tmp_path: Path) -> None:
    layout = replace(BEAMPIPE, constituents=replace(BEAMPIPE.constituents, variation=""))
    with pytest.raises(BeampipeError, match=r"got no layout.constituents.variation, .* trk_eff has"):
        run_calibration(replace(campaign, layout=layout, output=tmp_path / "out"), INLINE, until="predict")


def test_training(campaign: Configuration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(NetworkRecipe, "__init__", partialmethod(NetworkRecipe.__init__, **_SHORT))
    path = write(tmp_path / "many.root", 3000, 5)
    sample = replace(campaign.samples["nominal"], files=(path,))
    samples = {**campaign.samples, "nominal": sample}
    many = replace(campaign, samples=samples, output=tmp_path / "out", chunk_events=2000)
    made = [train_from_configuration(many, tmp_path / f"{name}.safetensors", 1, "inline", 1, no_bars) for name in "ab"]
    files = [(tmp_path / f"{name}.safetensors").read_bytes() for name in "ab"]
    assert files[0] == files[1]
    assert made[0] == made[1]
    assert list(made[0].rejection) == ["constituents", "boosted", "n_trk"]
    assert list(made[0].gain()) == ["constituents"]
    gain = made[0].rejection["constituents"].value / made[0].rejection["boosted"].value
    assert made[0].gain()["constituents"].value == gain
    assert 0.6 < made[0].auc["constituents"] < 1
    assert all(each.error > 0 and each.value > 1 for each in made[0].rejection.values())
    assert f"constituents   AUC {made[0].auc['constituents']:.4f}, rejection" in str(made[0])
    jets = np.ones((2, JETS.dims[1]), np.float32)
    network = JetNetwork(tmp_path / "a.safetensors")
    none = network.describe(np.empty((0, 6), np.float32), np.zeros(2, np.int64))
    assert network.scores(none, jets[:, 3:]).shape == (2,)


_SHORT: dict[str, Any] = {"width": 8, "blocks": 1, "heads": 2, "epochs": 6, "batch": 64, "rate": 5e-3, "decay": 0.01}
