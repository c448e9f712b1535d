"""A command replaces only files that beampipe wrote, by their marks; `--force` replaces any."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer

from beampipe.calibration.run import start_calibration
from beampipe.cli import app
from beampipe.errors import FileError
from beampipe.files import require_ours
from beampipe.tracking.data import shipped_path
from tests import in_process
from tests.in_process import Done

EVENTS = str(shipped_path(0))

WRITING: Final = {
    "tracking example FILE.parquet": True,
    "tracking simulate -n 0 --mu 0 -o FILE.parquet": True,
    "track EVENTS -o FILE.parquet": True,
    "track EVENTS -o FILE.csv": True,
    "track EVENTS --as lists -o FILE.parquet": True,
    "track EVENTS --as lists -o FILE.jsonl": True,
    "track EVENTS --as edm4hep -o FILE.root": True,
    "tracking evaluate EVENTS -n 1 -o FILE.json": True,
    "tracking display EVENTS -o FILE.png": True,
    "tracking display EVENTS -o FILE.svg": True,
    "tracking display EVENTS -o FILE.pdf": True,
    "tracking display EVENTS -o FILE.html": True,
    "tracking display EVENTS -o FILE.json": True,
    "chain stream --rate 100 --seconds 0.1 -p module_map -o FILE.png": True,
    "calibration init FILE.toml": False,
    "analysisops sample search -o data --hidden FILE.json": True,
}
"""Commands that write a file, and whether they may write it again without `--force`: users edit configurations."""

_STAGES: Final = ("run", "select", "predict", "fill", "reweight", "extract", "factors", "report")

REFUSING: Final = {
    "tracking demo --mu 0 -p module_map -o out": ("event.png", "event.html", "evaluation.json"),
    "tracking validate EVENTS -o out": ("validation.json", "validation.html"),
    "tracking export -o out": ("exatrkx.json", "exatrkx_gnn.onnx", "exatrkx_filter.onnx"),
    "serving demo -o out": ("event.png", "throughput.png"),
    "fleet demo -o out": ("rate.png",),
    "calibration demo -o out": ("factors.json", "report/index.html", "report/corrections.json"),
    **{f"calibration {stage} dijets.toml -o out": ("factors.json", "report/joint.json") for stage in _STAGES},
    "calibration simulate -n 30 -o out": ("nominal/nominal.slice0.0000.root",),
    "calibration toy -n 30 -o out": ("toy.slice0.0000.root", "toy.slice2.0000.root"),
    "calibration toy -n 30 --files 1 --data -o out": ("toy_data.slice0.0000.root",),
    "calibration inject dijets_sample/toy.slice0.0000.root -o out": ("toy_fewer_tracks.slice0.0000.root",),
    "calibration train-tagger dijets.toml -o out/gbdt.txt": ("gbdt.txt",),
    "calibration inspect dijets_sample/toy.slice0.0000.root -o out/mine.toml": ("mine.toml",),
    "chain demo -o out": ("report.html", "result.json"),
    "chain run chain.toml -o out": ("report.html", "result.json"),
    "chain export tracks chain.toml -o out/tracks.parquet": ("tracks.parquet",),
    "calibration combine one=joint.json other=joint.json -o out": (
        "joint.json",
        "pyhf_modifiers.json",
    ),
    "analysisops demo -o out": ("report.html", "run/plan.json", "run/results.jsonl"),
    "analysisops run -t zmumu -a scripted -o out": ("plan.json", "results.jsonl"),
    "analysisops export -t operations -o out": ("operations-dev-1/task.toml",),
    "analysisops sample search -o out": ("data/manifest.json", "data/mine.root"),
    "analysisops report run -o out/page.html": ("page.html",),
}
"""Commands that write files into a folder, or need more than one file, and files that they would replace."""

OWN_RULE: Final = {
    "tracking train": "the folder must be empty",
    "serving export": "the folder must be empty or an unchanged export",
    "serving engine install": "the folder is that of a Triton",
    "docs": "nothing is replaced",
    **dict.fromkeys(("fleet k8s", "fleet compose", "fleet slurm"), "the first line of each file names the command"),
}
"""Commands whose output follows another rule, which the tests of their area check."""


def commands_with_output(command: Any, name: str = "") -> Iterator[str]:
    """Names of all commands with the option ``--output``."""
    if any("--output" in parameter.opts for parameter in command.params):
        yield name
    for part, below in getattr(command, "commands", {}).items():
        yield from commands_with_output(below, f"{name} {part}".strip())


def test_every_command_with_an_output_is_in_a_table() -> None:
    names = list(commands_with_output(typer.main.get_command(app)))
    assert len(names) > 25
    checked = [*WRITING, *REFUSING]
    for name in names:
        assert (name in OWN_RULE) != any(command.startswith(f"{name} ") for command in checked), name


@pytest.mark.parametrize(("command", "names"), REFUSING.items())
def test_a_file_of_somebody_else_is_found_before_any_work(
    command: str, names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if "dijets" in command:
        start_calibration(Path("dijets.toml"))
    if "chain.toml" in command:
        assert run("chain init chain.toml").returncode == 0
    for name in names:
        theirs = tmp_path / "out" / name
        theirs.parent.mkdir(parents=True)
        theirs.write_text("years of work")
        before = sorted(tmp_path.rglob("*"))
        done = run(command)
        assert done.returncode == 2
        assert f"{name}: got a file that beampipe did not write" in done.stderr
        assert theirs.read_text() == "years of work"
        assert sorted(tmp_path.rglob("*")) == before
        shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize(
    "command", [command for command in REFUSING if re.search("toy -n 30 -o|inject |analysisops sample", command)]
)
def test_files_of_an_earlier_call_are_replaced(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    start_calibration(Path("dijets.toml"))
    assert run(command).returncode == 0
    for path in (path for path in (tmp_path / "out").rglob("*") if path.is_file()):
        path.write_text("years of work")
    assert run(command).returncode == 2
    assert run(command, "--force").returncode == 0
    assert run(command).returncode == 0


def test_factors_of_an_earlier_calibration_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its uncertainties, boosted trees and report, and with few replicas."""
    monkeypatch.chdir(tmp_path)
    start_calibration(Path("dijets.toml"))
    text = re.sub(r"\[taggers\.gbdt\][^\[]*", "", Path("dijets.toml").read_text(encoding="utf-8"))
    small = text.partition("[systematics")[0].replace("replicas = 200", "replicas = 10")
    Path("dijets.toml").write_text(small, encoding="utf-8")
    for _ in range(2):
        assert run("calibration factors dijets.toml -o out --executor inline --quiet").returncode == 0


def run(command: str, *more: str) -> Done:
    words = [EVENTS if word == "EVENTS" else word.replace("FILE", "file") for word in command.split()]
    return in_process.run(*words, *more)


@pytest.mark.parametrize(("command", "again"), WRITING.items())
def test_a_file_of_somebody_else_stays(
    command: str, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(next(word for word in command.split() if word.startswith("FILE")).replace("FILE", "file"))
    path.write_text("years of work, as beampipe would not have written them")
    done = run(command)
    assert done.returncode == 2
    assert "got a file that beampipe did not write" in done.stderr
    assert path.read_text().startswith("years of work")
    assert run(command, "--force").returncode == 0
    assert not path.read_bytes().startswith(b"years of work")
    assert (run(command).returncode == 0) == again


def test_an_empty_file_is_replaced_and_a_device_never_is(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    require_ours(tmp_path / "empty")
    require_ours(tmp_path / "new")
    for force in (False, True):
        with pytest.raises(FileError, match="got a device or a pipe"):
            require_ours("/dev/null", force=force)


def test_a_mark_may_be_at_either_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for text in ("written by beampipe" + 200_000 * "x", 200_000 * "x" + "written by beampipe", "a,b\n" + 200_000 * "x"):
        path.write_text(text)
        require_ours(path, marks=["a,b\n"])
    with pytest.raises(FileError, match="replace it by --force"):
        require_ours(path)
