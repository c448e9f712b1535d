"""Wrong usages of all commands: each ends with a line that says what is wrong, and with an exit code that is not 0."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from beampipe.tracking.data import shipped_path
from tests.in_process import Done, run

FILES: Final[dict[str, str]] = {
    "empty.parquet": "",
    "text.parquet": "years of work",
    "text.csv": "years of work",
    "text.root": "years of work",
    "text.toml": "years of work = [",
    "text.json": "years of work",
    "text.txt": "years of work",
    "other.toml": "colour = 'blue'",
    "other.json": '{"colour": "blue"}',
    "metres.csv": "0.032,0.1,0.001\n0.072,0.1,0.002\n",
    "metres_with_names.csv": "x,y,z\n0.032,0.1,0.001\n0.072,0.1,0.002\n",
    "words.csv": "r,phi,z\n32,north,1\n",
    "short.csv": "r,phi,z\n32,0.1\n",
    "not_finite.csv": "r,phi,z\n32,nan,1\n",
    "two_columns.csv": "32,0.1\n72,0.1\n",
    "other_columns.csv": "price,colour\n1,blue\n",
    "folder/text.txt": "years of work",
}
"""Files that each usage finds in its folder, beside ``events.parquet``: events as shipped, without pile-up."""

USAGES: Final = {
    # The command itself.
    "trak": "no such command 'trak'",
    "--nonsense": "no such option: --nonsense",
    "tracking nonsense": "no such command",
    "tracking track": "Did you mean 'beampipe track'",
    "tracking trai": "Did you mean 'train'",
    "serving nonsense": "no such command",
    "fleet nonsense": "no such command",
    "calibration nonsense": "no such command",
    "analysisops nonsense": "no such command",
    # Tracks of files.
    "track": "missing argument",
    "track events.parquet": "missing option",
    "track nothing.parquet -o out.csv": "nothing.parquet",
    "track empty.parquet -o out.csv": "empty.parquet",
    "track text.parquet -o out.csv": "text.parquet",
    "track text.csv -o out.csv": "text.csv",
    "track text.root -o out.csv": "text.root",
    "track text.json -o out.csv": "text.json",
    "track text.txt -o out.csv": "text.txt",
    "track folder -o out.csv": "folder",
    "track metres.csv -o out.csv": "no tracks, and 2 of 2 hits lie on no layer",
    "track metres_with_names.csv -o out.csv": "no tracks, and 2 of 2 hits lie on no layer",
    "track words.csv -o out.csv": "words.csv",
    "track short.csv -o out.csv": "short.csv",
    "track not_finite.csv -o out.csv": "not_finite.csv",
    "track two_columns.csv -o out.csv": "two_columns.csv",
    "track other_columns.csv -o out.csv": "other_columns.csv",
    "track events.parquet -o out.xlsx": "expected .parquet or .csv",
    "track events.parquet -o nowhere/out.csv": "no folder nowhere",
    "track events.parquet -o events.parquet": "is the input",
    "track events.parquet -o text.txt/out.csv": "text.txt",
    "track events.parquet -o text.csv": "did not write",
    "track events.parquet -o /dev/null": "/dev/null",
    "track events.parquet -o /proc/out.csv": "/proc",
    "track events.parquet text.csv -o -": "got --output -",
    "track events.parquet --parameters -o -": "got --output -",
    "track events.parquet -o out.csv -p modul_map": "did you mean 'module_map'",
    "track events.parquet -o out.csv --threads 0": "--threads",
    "track events.parquet -o out.csv --threads 1000": "--threads",
    "track events.parquet -o out.csv --threads many": "--threads",
    "track events.parquet -o out.csv --device gpu": "device",
    "track events.parquet -o out.csv --scale metres": "scale",
    "track events.parquet -o out.csv --scale exatrkx": "scale",
    "track events.parquet -o out.csv --format nonsense": "format",
    "track events.parquet -o out.csv --format trackml": "events.parquet",
    "track events.parquet -o out.csv --as nonsense": "nonsense",
    "track events.parquet -o out.csv --as trackml": "hit ids",
    "track events.parquet -o out.csv --beam-spot here": "beam",
    "track events.parquet -o out.csv --tracker-model nowhere": "nowhere",
    "track events.parquet -o out.csv --tracker-model folder": "folder",
    "track events.parquet -o out.csv --model exatrkx": "without --url",
    "track events.parquet -o out.csv --url http://127.0.0.1:1 --force": "--force",
    "track events.parquet -o out.csv --url nonsense": "nonsense",
    "track events.parquet -o out.csv --timeout soon": "--timeout",
    # Tracking: example, simulation.
    "tracking example out.csv": "expected .parquet",
    "tracking example out.parquet --mu 140": "140",
    "tracking example out.parquet --mu 60 --for-training": "--for-training",
    "tracking example text.parquet": "did not write",
    "tracking example folder": "folder",
    "tracking simulate": "missing option",
    "tracking simulate -o out.parquet -n -1": "--events",
    "tracking simulate -o out.parquet --mu -5": "--mu",
    "tracking simulate -o out.parquet --hard higgs": "higgs",
    "tracking simulate -o out.parquet --species neutrino": "species",
    "tracking simulate -o out.parquet --pt 1 5": "--hard gun",
    "tracking simulate -o out.parquet --hard gun --pt 5 1": "pt",
    "tracking simulate -o out.parquet --workers 0": "--workers",
    "tracking simulate -o out.parquet --beam-spot 1": "beam",
    "tracking simulate -o out.parquet --detector nowhere.toml": "nowhere.toml",
    "tracking simulate -o out.parquet --detector text.toml": "text.toml",
    "tracking simulate -o out.parquet --detector other.toml": "other.toml",
    "tracking simulate -o text.parquet": "did not write",
    # Tracking: training, scores, pictures.
    "tracking train events.parquet -o model --quick": "add about",
    "tracking train events.parquet -o model --quick --full": "--quick and --full",
    "tracking train events.parquet -o model --soft-events events.parquet": "--soft",
    "tracking train events.parquet -o model --only nonsense": "nonsense",
    "tracking train events.parquet -o model --only exatrkx": "without module_map",
    "tracking train events.parquet -o folder": "folder",
    "tracking train metres.csv -o model": "training",
    "tracking train nothing.parquet -o model": "nothing.parquet",
    "tracking validate nothing.parquet": "nothing.parquet",
    "tracking validate events.parquet --tracker-model nowhere": "nowhere",
    "tracking demo --mu 20": "20",
    "tracking demo -p nonsense": "nonsense",
    "tracking demo -o text.txt": "text.txt",
    "tracking models nowhere": "nowhere",
    "tracking evaluate nothing.parquet": "nothing.parquet",
    "tracking evaluate metres.csv": "truth",
    "tracking evaluate events.parquet --by colour": "colour",
    "tracking evaluate events.parquet --degradation severe": "severe",
    "tracking evaluate events.parquet -n 0": "--events",
    "tracking evaluate events.parquet -p nonsense": "nonsense",
    "tracking evaluate events.parquet -o text.json": "did not write",
    "tracking display events.parquet": "missing option",
    "tracking display events.parquet -o out.bmp": "expected .png",
    "tracking display events.parquet -o out.png --event 999": "999",
    "tracking display events.parquet -o out.png --event -1": "--event",
    "tracking display events.parquet -o out.png --min-pt -1": "--min-pt",
    # Serving.
    "serve --model nonsense": "nonsense",
    "serve --instances 0": "--instances",
    "serve --threads 1000": "--threads",
    "serve --device gpu": "device",
    "serve --repository nowhere": "nowhere",
    "serve --triton nowhere": "nowhere",
    "serve --http-port 99999": "99999",
    "serving export": "missing option",
    "serving export -o folder": "folder",
    "serving export -o out --model nonsense": "nonsense",
    "serving export -o out --model x=nothing.py:Class": "nothing.py",
    "serving demo --model nonsense": "nonsense",
    "serving engine show --triton nowhere": "nowhere",
    # Fleet.
    "fleet example moon": "'moon' is not one of",
    "fleet up -f nowhere.toml": "nowhere.toml",
    "fleet up -f text.toml": "text.toml",
    "fleet up -f other.toml": "other.toml",
    "fleet status -f nowhere.toml": "nowhere.toml",
    "fleet scale many": "'COUNT'",
    "fleet k8s -f nowhere.toml -o out": "nowhere.toml",
    "fleet compose -f other.toml -o out": "other.toml",
    "fleet slurm -f text.toml -o out": "text.toml",
    "fleet plan nowhere.json --clients 1 --rate 1 --p95 1": "",
    "fleet plan other.json --clients 1 --p95 1": "",
    "fleet member nowhere.json": "nowhere.json",
    "fleet token revoke nobody --tokens nowhere": "",
    "fleet certificate client me --authority nowhere": "nowhere",
    # Calibration.
    "calibration init text.toml": "did not write",
    "calibration run nowhere.toml": "nowhere.toml",
    "calibration run text.toml": "text.toml",
    "calibration run other.toml": "other.toml",
    "calibration run other.toml --executor foo": "foo",
    "calibration train-tagger other.toml --executor foo": "foo",
    "calibration simulate nonsense": "nonsense",
    "calibration simulate -n 0": "--events",
    "calibration inspect nowhere.root": "nowhere.root",
    "calibration inspect text.root": "text.root",
    "calibration explain nowhere.toml SF_q": "nowhere.toml",
    "calibration combine nowhere": "nowhere",
    "calibration inject nowhere.root -o out": "nowhere.root",
    # AnalysisOps.
    "analysisops check nowhere": "nowhere",
    "analysisops check folder": "folder",
    "analysisops sample nonsense -o out": "nonsense",
    "analysisops sample zmumu -o out --hidden text.json": "did not write",
    "analysisops run -t nonsense -a scripted -o out": "nonsense",
    "analysisops run -t zmumu -a nonsense -o out": "nonsense",
    "analysisops run -t zmumu -a scripted -o out --judge nowhere.toml": "nowhere.toml",
    "analysisops report nowhere": "nowhere",
    "analysisops report folder -o text.txt": "did not write",
    "analysisops rescore folder": "folder",
    "analysisops agent nonsense": "nonsense",
    "analysisops tools nowhere": "nowhere",
}
"""Wrong usage -> what the message must contain."""


@pytest.mark.parametrize(("usage", "text"), USAGES.items())
def test_a_wrong_usage_is_told_in_a_line(
    usage: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    (tmp_path / "events.parquet").symlink_to(shipped_path(0))
    before = shipped_path(0).stat()
    words = usage.split()
    if words[0] == "serve":  # it forks
        command = [sys.executable, "-m", "beampipe", *words]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        done = Done(ended.returncode, ended.stdout, ended.stderr)
    else:
        done = run(*words)
    printed = done.stderr
    assert done.returncode in (1, 2), printed
    assert "Traceback" not in printed
    assert any(line.startswith("beampipe: ") for line in printed.splitlines()), printed
    assert text in printed
    assert os.path.samestat(before, shipped_path(0).stat())
    for name, content in FILES.items():
        assert (tmp_path / name).read_text() == content, f"{name} was changed"
