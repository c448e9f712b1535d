"""Kernels for some instruction sets only, as a wheel for the CPU that builds it has."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import beampipe
from beampipe.tracking.kernels import native

SOURCE = Path(beampipe.__file__).parent
PROGRAM = """
#include <cstdio>
#include <stdexcept>
#include "isa.hpp"
int main(int count, char** words) {
  for (int i = 1; i < count; ++i) try {
    std::puts(beampipe::chosen_isa(words[i]).c_str());
  } catch (const std::invalid_argument& error) {
    std::puts(error.what());
  }
}
"""


@pytest.mark.skipif(
    shutil.which("g++") is None or len(native().supported_isas()) < 2, reason="needs g++ and a CPU with two sets"
)
def test_the_best_of_the_sets_that_kernels_were_built_for_is_used(tmp_path: Path) -> None:
    *_, second, best = native().supported_isas()
    (tmp_path / "main.cpp").write_text(PROGRAM)
    kernels = SOURCE / "tracking/kernels/native"
    build = ["g++", "-std=c++17", f'-DBEAMPIPE_COMPILED_ISAS="{second}"', f"-I{SOURCE}", f"-I{kernels}"]
    subprocess.run([*build, "main.cpp", kernels / "isa.cpp", "-ldl", "-o", "main"], cwd=tmp_path, check=True)
    run = [tmp_path / "main", "", second, best, "avx1024"]
    chosen, requested, left_out, unknown = subprocess.run(
        run, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert (chosen, requested) == (second, second)
    assert left_out == f"BEAMPIPE_ISA: got '{best}', for which the kernels were not built; the best here is '{chosen}'"
    assert unknown == f"BEAMPIPE_ISA: got 'avx1024', which this CPU does not have; the best here is '{chosen}'"
