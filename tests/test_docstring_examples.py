"""The docstring of each public function of `beampipe` and `beampipe.tracking` has an example that runs."""

from __future__ import annotations

import doctest
import inspect
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import beampipe
from beampipe import tracking


def functions(module: ModuleType) -> dict[str, Any]:
    """The public functions of a module by their full names."""
    return {
        f"{module.__name__}.{name}": value
        for name in module.__all__
        if inspect.isfunction(value := getattr(module, name))
    }


FUNCTIONS = functions(beampipe) | functions(tracking)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_of_a_function_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, with all public names, `replace` and `Path`."""
    monkeypatch.chdir(tmp_path)
    names = {key: getattr(module, key) for module in (beampipe, tracking) for key in module.__all__}
    examples = doctest.DocTestFinder(recurse=False).find(
        FUNCTIONS[name], name, module=False, globs={**names, "replace": replace, "Path": Path}
    )
    result = doctest.DocTestRunner(verbose=False).run(examples[0])
    assert result.attempted > 0
    assert result.failed == 0
