"""`named_triton.py --headers`: the backend is compiled against Triton's headers in a folder, here ones of our own."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "tests/triton/named_triton.py"
OURS = ROOT / "src/beampipe/triton/native/triton.h"

pytestmark = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")


def headers(folder: Path, old: str = "", new: str = "") -> Path:
    """A folder of headers with our own declarations, one of them changed."""
    text = OURS.read_text()
    assert old in text
    text = text.replace(old, new).replace("BEAMPIPE_TRITON_", "THEIR_")
    (folder / "triton/core").mkdir(parents=True)
    (folder / "triton/core/tritonbackend.h").write_text(text)
    (folder / "triton/core/tritonserver.h").write_text("")
    return folder


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, "--headers", folder], capture_output=True, text=True, check=False, timeout=300
    )


def test_the_same_declarations_are_accepted(tmp_path: Path) -> None:
    done = check(headers(tmp_path))
    assert done.returncode == 0, done.stderr
    values = runpy.run_path(str(SCRIPT))["enumerators"](OURS.read_text())
    assert values["TRITONSERVER_TYPE_FP32"] == 11
    assert values["TRITONSERVER_RESPONSE_COMPLETE_FINAL"] == 1
    assert f"and {len(values)} enumerators are as declared" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("uint32_t flags);", "uint64_t flags);", "TRITONBACKEND_RequestRelease"),
        ("TRITONSERVER_ERROR_UNKNOWN,\n  ", "", "TRITONSERVER_ERROR_INTERNAL: expected 1"),
    ],
)
def test_another_declaration_is_refused_and_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    done = check(headers(tmp_path, old, new))
    assert done.returncode == 1
    assert "got other declarations than the backend's" in done.stderr
    assert message in done.stderr
