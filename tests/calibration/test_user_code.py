"""What a user's function is made of: every module that it imports counts, whichever way it is imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from beampipe.calibration.config import Systematic
from beampipe.calibration.jet_changes import JetFunction, function_digest, load_function
from beampipe.calibration.layout import preset_layout
from beampipe.calibration.run import run_calibration
from beampipe.calibration.tasks.plan import run_chunk
from beampipe.errors import ConfigError, FileError
from beampipe.identity import user_code
from beampipe.workflow import Store
from tests.calibration.campaign import INLINE, Toys, configuration_of, counts, made

FILES = {
    "mine/__init__.py": "",
    "mine/jets.py": "from . import scales\nfrom .deep.numbers import ONE\n\n"
    "def shift(jets):\n    import aside\n    return {'pt': jets['pt'] * scales.factor() * ONE * aside.one()}\n",
    "mine/scales.py": "import numpy as np\n\ndef factor():\n    return np.float64(1.01)\n",
    "mine/deep/__init__.py": "from importlib import import_module\n",
    "mine/deep/numbers.py": "try:\n    import absent_package\nexcept ImportError:\n    pass\nONE = 1.0\n",
    "mine/unused.py": "",
    "aside.py": "def one():\n    return 1.0\n",
}
CALL = "mine.jets:shift"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder where a command runs, with a package of a user."""
    before = set(sys.modules)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("mine", "aside"):
            del sys.modules[name]


def change(path: Path, text: str) -> None:
    """Another text, of another length: the system's clock may be too slow to tell two edits apart."""
    assert len(text) != path.stat().st_size
    path.write_text(text)
    importlib.invalidate_caches()


@pytest.mark.parametrize("name", [name for name in FILES if name != "mine/unused.py"])
def test_every_module_that_is_imported_counts(folder: Path, name: str) -> None:
    before = user_code("mine.jets")
    assert before.modules == {"mine", "mine.jets", "mine.scales", "mine.deep", "mine.deep.numbers", "aside"}
    assert "mine.scales" not in sys.modules  # nothing is imported to tell it
    change(folder / name, FILES[name] + "# changed\n")
    assert user_code("mine.jets").digest != before.digest


def test_other_files_do_not_count(folder: Path) -> None:
    before = user_code("mine.jets")
    change(folder / "mine/unused.py", "ONE = 2\n")
    assert user_code("mine.jets") == before


def test_a_function_whose_helper_changes_is_loaded_again(folder: Path) -> None:
    jets = {"pt": np.array([100.0])}
    assert load_function(CALL, folder)(jets)["pt"] == 101.0
    change(folder / "mine/scales.py", "def factor():\n    return 1.25\n")
    assert load_function(CALL, folder)(jets)["pt"] == 125.0


def test_files_that_a_function_reads_count(folder: Path) -> None:
    (folder / "numbers.txt").write_text("1")
    function = JetFunction(CALL, files=(folder / "numbers.txt",))
    before = function_digest(function, ())
    (folder / "numbers.txt").write_text("22")
    assert function_digest(function, ()) != before
    with pytest.raises(FileError, match=r"none\.txt: cannot be read"):
        function_digest(replace(function, files=(folder / "none.txt",)), ())


def test_a_module_that_cannot_be_imported_is_one_error(folder: Path) -> None:
    change(folder / "mine/scales.py", "raise RuntimeError('broken')\n")
    with pytest.raises(ConfigError, match=r"'mine\.jets:shift', which cannot be imported \(broken\)"):
        load_function(CALL, folder)
    change(folder / "mine/scales.py", "def factor(:\n")
    with pytest.raises(ConfigError, match="which cannot be imported"):
        load_function(CALL, folder)


def test_a_changed_helper_makes_the_stage_run_again(folder: Path, toys: Toys) -> None:
    layout = preset_layout("beampipe", {"variations": {"mine_up": {"function": {"call": CALL}}}})
    plain = configuration_of(toys, folder / "output", layout=layout)
    energy = Systematic("energy", "difference", kinematics=("mine_*",))
    result = replace(plain, taggers=plain.taggers[:1], systematics=(*plain.systematics[:1], energy))
    plan = run_calibration(result, INLINE)
    before = made(result.output)
    run_calibration(result, INLINE)
    assert made(result.output) == before
    change(folder / "mine/scales.py", "def factor():\n    return 1.02\n")
    chunk = next(chunk for chunk in plan.chunks if chunk.settings.functions)
    with pytest.raises(ConfigError, match=r"what changes its jets \(mine\.jets:shift\) is not what this run was plan"):
        run_chunk(Store(folder / "other"), chunk, "fill")
    run_calibration(result, INLINE)
    n_varied = sum(bool(chunk.settings.functions) for chunk in plan.chunks)
    assert n_varied > 0
    after = made(result.output)
    assert {stage: after[stage] - before[stage] for stage in ("select", "fill")} == dict.fromkeys(
        ("select", "fill"), n_varied
    )
    assert counts(result.output)["factors"] == 2
