"""The command as a user meets it: help, errors in one line, exit codes. What it calls is tested elsewhere."""

from __future__ import annotations

import errno
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from beampipe import __version__
from beampipe.events import BeamSpot
from beampipe.terminal.exit import run as exit_with
from beampipe.tracking import write_events
from beampipe.tracking.data import shipped_events, shipped_path
from beampipe.tracking.training.detector import about_beam_spot
from tests.in_process import run


def test_as_a_program() -> None:
    for words, code, text in (
        ("--version", 0, f"beampipe {__version__}\n"),
        ("track gone.parquet -o b.csv", 2, "beampipe: gone.parquet: no such file"),
    ):
        command = [sys.executable, "-m", "beampipe", *words.split()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert (done.stdout + done.stderr).startswith(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["track", "gone.parquet", "-o", "{tmp}/out.parquet"], "gone.parquet: no such file"),
        (["track", "a", "-o", "b", "--scale", "exatrk"], "did you mean 'exatrkx'"),
        (["track", "a", "b", "-o", "out.csv"], "got the file out.csv for 2 inputs, expected a folder"),
        (["track", "a", "-o", "b.csv", "--pipeline", "exatrk"], "unknown finder: got 'exatrk'"),
        (["track", "a", "-o", "b.csv", "--format", "track_ml"], "unknown format: got 'track_ml'"),
        (["track", "a", "-o", "b.csv", "--as", "lists"], "got the ending '.csv', expected .parquet or .jsonl"),
        (["track", "{tmp}/in.csv", "-o", "{tmp}/in.csv"], "got an output that is the input"),
        (["tracking", "evaluate", "{tmp}/in.csv", "-o", "{tmp}/./in.csv"], "got an output that is the input"),
        (
            ["tracking", "display", "{tmp}/in.csv", "-o", "{tmp}/../{tmp.name}/in.csv"],
            "got an output that is the input",
        ),
        (["tracking", "simulate", "-o", "{tmp}"], "got a folder, expected a file to write"),
        (["tracking", "display", "gone.parquet", "-o", "out.png"], "gone.parquet: no such file"),
        (["tracking", "demo", "--mu", "140", "-o", "{tmp}"], "unknown shipped sample: got '140'"),
        (["tracking", "evaluate", "gone.parquet", "--degradation", "defalt"], "did you mean 'default'"),
        (["tracking", "evaluate", "gone.parquet", "-p", "acts-fats"], "unknown ACTS setting: got 'acts-fats'"),
        (["tracking", "evaluate", "gone.parquet", "--by", "vertex"], "did you mean 'vertex_z'"),
    ],
)
def test_an_error_is_one_line_and_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("30,0,1\n")
    done = run(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert all(line.startswith("beampipe: ") for line in done.stderr.splitlines())
    assert (tmp_path / "in.csv").read_text() == "30,0,1\n"


def test_a_file_without_permission_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    def command(**options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/data/events.parquet")

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    hook = sys.unraisablehook
    try:
        with pytest.raises(SystemExit) as ended:
            exit_with(command, "beampipe")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("beampipe: /data/events.parquet: Permission denied; check the owner")


def test_fitted_parameters_beside_the_labels(tmp_path: Path) -> None:
    done = run("track", shipped_path(0), "-o", tmp_path / "out.parquet", "--parameters")
    assert done.returncode == 0, done.stderr
    result, fitted = map(int, re.search(r"(\d+) tracks \((\d+) fitted\)", done.stdout).groups())  # type: ignore[union-attr]
    assert result >= fitted > 0
    assert {path.name for path in tmp_path.iterdir()} == {"out.parquet", "out.parameters.parquet"}


def test_what_comes_before_ctrl_c_is_clean_loads_nothing() -> None:
    """Until then, Ctrl-C prints a traceback; what the loader of an editable install imports is not ours."""
    code = "import sys; before = set(sys.modules); import beampipe.__main__; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    ours = [name for name in done.stdout.split() if name.partition(".")[0] == "beampipe"]
    assert ours == ["beampipe", "beampipe.__main__", "beampipe.extras"]


@pytest.mark.parametrize(
    "module",
    ["beampipe.cli", "typer", "beampipe.tracking.cli", "beampipe.terminal.exit", "beampipe.tracking.batch", "numpy"],
)
def test_ctrl_c_is_clean_while_modules_are_loaded(module: str, tmp_path: Path) -> None:
    code = f"""
import importlib.abc, os, signal, sys
class Typing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Typing())
sys.argv = ["beampipe", "track", {str(shipped_path(0))!r}, "-o", "out.parquet"]
from beampipe.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 130, done.stderr
    assert done.stderr in ("", "beampipe: interrupted\n")
    assert not any(tmp_path.iterdir())


def test_ctrl_c_in_a_text_that_is_run_has_its_code_too(tmp_path: Path) -> None:
    """`python -m` ends by the signal, after all is done, where a namedtuple say was being made by `exec`."""
    (tmp_path / "interrupted.py").write_text("""
import signal, typer
from beampipe.terminal.exit import run
signal.signal(signal.SIGINT, signal.default_int_handler)
def app(**_):
    typer.echo("so that no later text is run", err=True)
    exec("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
run(app, "beampipe")
""")
    done = subprocess.run(
        [sys.executable, "-m", "interrupted"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "so that no later text is run\nbeampipe: interrupted\n")


@pytest.mark.parametrize("command", [[], ["tracking"], ["fleet", "token"]])
def test_a_group_without_a_command_shows_its_help(command: list[str]) -> None:
    done = run(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run(*command, "-h").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trak"], "no such command 'trak'"),
        (["track"], "missing argument 'FILES'"),
        (["track", "a"], "missing option '--output'"),
        (["track", "a", "-o", "b", "--modl", "c"], "no such option: --modl"),
        (["track", "a", "-o", "b", "--threads", "0"], "invalid value for '--threads'"),
        (["fleet", "example", "moon"], "'moon' is not one of 'laptop', 'slurm', 'kubernetes'"),
    ],
)
def test_wrong_words_are_one_line_and_code_2(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("beampipe: ")
    assert message in line
    assert line.endswith("--help")


def test_quiet_says_nothing(tmp_path: Path) -> None:
    done = run("track", shipped_path(0), "-o", tmp_path / "out.parquet", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "out.parquet").exists()


def test_a_script_reads_json_and_standard_output(tmp_path: Path) -> None:
    done = run("track", shipped_path(0), "-o", "-")
    assert (done.returncode, done.stderr) == (0, "")
    head, *rows = done.stdout.splitlines()
    assert head.startswith("event_id,")
    output = json.loads(run("track", shipped_path(0), "-o", tmp_path / "out.csv", "--json").stdout)
    assert [item["n_hits"] for item in output] == [len(rows)]
    assert (tmp_path / "out.csv").read_text() == done.stdout
    scores = run("tracking", "evaluate", shipped_path(0), "-n", "1", "-o", "-")
    assert json.loads(scores.stdout)["finders"][0]["name"] == "module_map", scores.stderr
    assert {load["task"] for load in json.loads(run("analysisops", "tasks", "--json").stdout)} >= {"zmumu"}


def test_efficiency_counts_particles_of_the_beam_line(tmp_path: Path) -> None:
    events = [about_beam_spot(event, BeamSpot(-4.0, 0.0)) for event in shipped_events(0)]
    write_events(tmp_path / "moved.parquet", events)
    on_axis = run("tracking", "evaluate", shipped_path(0), "-o", "-")
    moved = run("tracking", "evaluate", tmp_path / "moved.parquet", "--beam-spot", "4,0", "-o", "-")
    for scores in (on_axis, moved):
        assert scores.returncode == 0, scores.stderr
    counts = [json.loads(scores.stdout)["finders"][0]["double"]["efficiency"] for scores in (on_axis, moved)]
    assert counts[0] == counts[1]


def test_more_than_one_text_has_no_standard_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (
        ["track", "a", "b", "-o", "-"],
        ["serving", "export", "-o", "-"],
        ["calibration", "demo", "-o", "-"],
    ):
        done = run(*command)
        assert done.returncode == 2
        assert re.search(r"got (--output )?-[, ]", done.stderr), done.stderr
        assert not any(tmp_path.iterdir())


def test_the_command_loads_nothing_heavy() -> None:
    # The command answers at once only while what is slow to import waits until it is needed.
    code = "import sys, beampipe.cli; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "typer" in loaded
    assert not loaded & {"torch", "scipy", "matplotlib", "mplhep", "pyarrow", "acts", "pythia8mc", "tritonclient"}
