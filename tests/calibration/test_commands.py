"""The commands, as a user types them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from beampipe.calibration.cli import app
from beampipe.calibration.config import Configuration, load_configuration
from beampipe.calibration.explanation import explain
from beampipe.calibration.method.factors import Factors
from beampipe.calibration.report import write
from beampipe.calibration.report.write import Picture, figures_of
from beampipe.calibration.results import Results
from beampipe.calibration.run import DEMO_CONFIGURATION, plan_calibration
from beampipe.errors import BeampipeError, ConfigError, FileError, InputError, UnknownNameError


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)


def one_of_each(results: Results) -> Iterator[tuple[Picture, Any]]:
    """The first figure that each function draws of a tagger; all of them take most of the time of the demo."""
    seen = set()
    for picture, draw in figures_of(results):
        kind = (draw.func, picture.tagger)  # type: ignore[attr-defined]
        if kind not in seen:
            seen.add(kind)
            yield picture, draw


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(write, "figures_of", one_of_each)
        done = call("demo", "-o", folder, "--workers", "2")
        assert done.exit_code == 0, done.output
        assert "SF_q" in done.output
        rows = Factors.read(folder / "factors.json").table()
        flagged = sum(bool(row.flags) for row in rows)
        assert 0 < flagged < len(rows)
        (line,) = (line for line in done.output.splitlines() if "check before use" in line)
        assert f"{flagged} of {len(rows)} are flagged (few events" in line
        yield folder


def test_the_demo_draws_the_plot_and_finds_what_was_put_in(demo: Path) -> None:
    """Data has 4 % fewer tracks in quark jets: the efficiency is higher than in simulation."""
    plot = demo / "report/plots/scale_factor_n_trk_50_quark_efficiency.png"
    assert plot.stat().st_size > 20_000
    assert "<html" in (demo / "report/index.html").read_text()
    factors = Factors.read(demo / "factors.json")
    assert factors.taggers == ("n_trk", "gbdt")
    assert factors.working_points == (0.5, 0.6, 0.7, 0.8)
    for tagger in factors.taggers:
        one = factors.against_pt(tagger=tagger, working_point=0.5, flavour="quark", quantity="efficiency")
        weight = 1 / one.statistical**2
        mean, error = (one.nominal * weight).sum() / weight.sum(), weight.sum() ** -0.5
        assert abs(mean - 1.04) < 3 * error < 0.15


def test_a_working_point_of_the_demo_is_what_it_says(demo: Path) -> None:
    factors = Factors.read(demo / "factors.json")
    off = {"n_trk": 0.03, "gbdt": 1e-3}  # half of the jets with one number of tracks; none inside of a bin
    for tagger, limit in off.items():
        for point in factors.working_points:
            one = factors.against_pt(tagger=tagger, working_point=point, flavour="quark", quantity="efficiency")
            np.testing.assert_allclose(one.simulation, point, rtol=0, atol=limit)


def test_a_run_with_nothing_valid_ends_with_an_error_after_all_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "figures_of", one_of_each)
    text = DEMO_CONFIGURATION.read_text().partition("[systematics")[0].replace("replicas = ", "replicas = 0 #")
    text = re.sub(r"\[taggers\.gbdt\][^\[]*", "", text)
    assert "replicas = 0 #" in text
    for path in DEMO_CONFIGURATION.parent.iterdir():
        if path.suffix in (".root", ".txt"):
            (tmp_path / path.name).symlink_to(path)
    config = tmp_path / "none.toml"
    config.write_text(text)
    with pytest.raises(InputError, match="got no bin with a valid error"):
        call("run", config, "--output", tmp_path / "out", "--executor", "inline")
    assert (tmp_path / "out/report/index.html").exists()
    assert json.loads((tmp_path / "out/factors.json").read_text())["scale_factors"][0]["total"][0] is None


def test_a_second_demo_does_nothing(demo: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in demo.rglob("*") if path.is_file() and path.name != "log.jsonl"}
    assert call("demo", "-o", demo, "--workers", "2").exit_code == 0
    after = {path: path.stat().st_mtime_ns for path in demo.rglob("*") if path.is_file() and path.name != "log.jsonl"}
    assert after == before


def test_explain_goes_down_to_files_and_cuts(demo: Path) -> None:
    out = call("explain", DEMO_CONFIGURATION, "SF_g", "--results", demo, "--pt", "900", "-w", "0.6").output
    factors = Factors.read(demo / "factors.json")
    one = factors.against_pt(tagger="n_trk", working_point=0.6, flavour="gluon", quantity="rejection")
    assert out.startswith(f"SF_g(n_trk, 60%, 800-1000 GeV) = {one.nominal[2]:.4f} +- {one.total[2]:.4f}\n")
    assert "parton_shower" in out
    assert out.count("selection.min_subleading_pt = 500.0") == 2, "once for select, once for fill"
    everything = call("explain", DEMO_CONFIGURATION, "SF_g", "--results", demo, "--pt", "900", "--all").output
    assert everything.count("selection.min_subleading_pt = 500.0") > 6
    assert all(line in everything for line in out.splitlines() if "units.exponent" in line)
    for name in ("toy.slice0.0000.root", "toy_data.slice0.0000.root", "toy_shower.slice0.0000.root"):
        assert f"{name} xxh3 " in out


def test_a_script_reads_what_a_run_found_and_where_it_came_from(demo: Path) -> None:
    output = json.loads(call("explain", DEMO_CONFIGURATION, "SF_q", "--results", demo, "--json").output)
    assert (output["name"], output["factor"]["pt_low"], output["factor"]["tagger"]) == ("SF_q", 600, "n_trk")
    assert output["factor"]["sources"].keys() == output["systematics"].keys()
    nodes = [output["made_from"]]
    for node in nodes:
        nodes += node.get("inputs", [])
    assert {"factors", "extract", "merge", "fill", "select", "file"} <= {node["stage"] for node in nodes}
    assert output["made_from"]["parameters"]
    run = json.loads(call("demo", "-o", demo, "--workers", "2", "--json").output)
    assert run["factors"] == json.loads((demo / "factors.json").read_text())


def test_explain_runs_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="run: beampipe calibration factors"):
        call("explain", DEMO_CONFIGURATION, "--results", tmp_path)
    assert not (tmp_path / "factors.json").exists()
    assert not (tmp_path / "store/fill").exists()


@pytest.mark.parametrize(
    ("which", "error", "message"),
    [
        (("SF_x", "n_trk", 0.5, 700.0), UnknownNameError, "SF_g, SF_q"),
        (("SF_q", "ntrk", 0.5, 700.0), UnknownNameError, "did you mean 'n_trk'"),
        (("SF_q", "n_trk", 0.55, 700.0), UnknownNameError, "working point"),
        (("SF_q", "n_trk", 0.5, 499.0), ConfigError, "got 499 GeV, expected 500 to 2000"),
    ],
)
def test_what_cannot_be_explained(
    base: Configuration, which: tuple[str, str, float, float], error: type[BeampipeError], message: str
) -> None:
    plan = plan_calibration(base)
    name, tagger, working_point, pt = which
    with pytest.raises(error, match=message):
        explain(plan, name, tagger=tagger, working_point=working_point, pt=pt)


def test_stages_one_by_one(tmp_path: Path) -> None:
    for stage in ("select", "factors"):
        done = call(stage, DEMO_CONFIGURATION, "--output", tmp_path, "--executor", "inline")
        assert done.exit_code == 0, done.output
        assert f"{stage}: done for 3 samples, 3 files" in done.output
        assert (tmp_path / "store" / stage).is_dir()
    assert (tmp_path / "factors.json").exists()


def test_training_is_reproducible_and_beats_n_trk(tmp_path: Path) -> None:
    assert call("toy", "-o", tmp_path / "toy", "-n", "9000", "--files", "3").exit_code == 0
    assert call("toy", "-o", tmp_path / "data", "-n", "2000", "--files", "1", "--data").exit_code == 0
    config = tmp_path / "toy.toml"
    config.write_text(
        'output = "out"\n[samples.nominal]\nfiles = "toy/*.root"\n'
        '[samples.data]\nfiles = "data/*.root"\nkind = "data"\n'
        '[taggers.gbdt]\nmodel = "not_there_yet.txt"\nhigh = 1.0\n'
    )
    models = []
    for name in ("one", "other"):
        done = call("train-tagger", config, "-o", tmp_path / name, "--executor", "inline")
        words = done.output.replace(",", "").split()
        auc, alone = (float(words[words.index(tagger) + 2]) for tagger in ("boosted", "n_trk"))
        assert 0.6 < alone < auc < 1
        models.append((tmp_path / name).read_bytes())
    assert models[0] == models[1]


def test_pseudo_data_of_a_toy(tmp_path: Path) -> None:
    call("toy", "-o", tmp_path / "toy", "-n", "600", "--files", "3")
    files = sorted((tmp_path / "toy").glob("*.root"))
    done = call("inject", *files, "-o", tmp_path / "pseudo", "--injection", "apart")
    assert done.output.strip() == f"{tmp_path / 'pseudo'}: 3 files"
    with pytest.raises(UnknownNameError, match="injection"):
        call("inject", *files, "-o", tmp_path / "pseudo", "--injection", "asunder")


def test_samples_are_listed() -> None:
    out = call("simulate", "--list").output
    assert "vincia" in out
    assert "me_proxy" in out


def test_no_configuration_depends_on_where_it_is_read(base: Configuration, tmp_path: Path) -> None:
    moved = replace(base, output=tmp_path)
    assert plan_calibration(moved).factors.key == plan_calibration(base).factors.key


def test_a_configuration_to_start_from_is_that_of_the_demo_and_overwrites_nothing(tmp_path: Path) -> None:
    done = call("init", tmp_path / "mine.toml")
    assert done.exit_code == 0, done.output
    assert "beampipe calibration run" in done.output
    mine, demo = load_configuration(tmp_path / "mine.toml"), load_configuration(DEMO_CONFIGURATION)
    assert mine.output == tmp_path / "mine"
    for ours, theirs in zip(mine.samples.values(), demo.samples.values(), strict=True):
        assert [path.parent for path in ours.files] == [tmp_path / "mine_sample"] * len(theirs.files)
        assert [path.read_bytes() for path in ours.files] == [path.read_bytes() for path in theirs.files]
    same = replace(mine, output=demo.output, samples=demo.samples)
    assert same == demo
    with pytest.raises(FileError, match="beampipe did not write"):
        call("init", tmp_path / "mine.toml")
