"""Lazily loaded names are imported from the modules that define them, and listed for Tab completion."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from beampipe.lazy import import_name
from tests.test_imports import MODULES, SOURCE
from tests.test_public import SURFACE


def test_names_are_imported_from_their_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lazy_package.py").write_text(
        """
from __future__ import annotations
from typing import TYPE_CHECKING
from beampipe.lazy import loader
if TYPE_CHECKING:
    from pathlib import Path

    from beampipe.events import NO_TRACK as NO_TRACK
    from beampipe.units import GeV as GeV

__getattr__, __dir__, __all__ = loader(__name__)
""",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    package = import_module("lazy_package")
    assert package.__all__ == ["GeV", "NO_TRACK"]  # what the file imports for itself is no public name
    assert package.NO_TRACK == -1
    assert package.GeV == 1.0
    assert {"NO_TRACK", "GeV", "__name__"} <= set(dir(package))
    assert "Path" not in dir(package)
    with pytest.raises(AttributeError, match=r"module 'lazy_package' has no attribute 'NOISE'"):
        package.NOISE  # noqa: B018 - looked up


def test_all_public_names_are_listed_before_they_are_loaded() -> None:
    code = "\n".join(f"import {module}; print(*dir({module}))" for module in SURFACE)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    for module, line in zip(SURFACE, done.stdout.splitlines(), strict=True):
        listed = set(line.split())
        assert set(SURFACE[module]) <= listed, module
        if "__dir__" in vars(import_module(module)):
            assert {name for name in listed if not name.startswith("__")} <= set(SURFACE[module]), module


def test_names_of_higher_layers_are_there() -> None:
    """Those that a data type imports when a method needs them, which no checker of imports sees."""
    texts = [path.read_text(encoding="utf-8") for path in MODULES]
    names = {name for text in texts for name in re.findall(r'import_name\(\s*"([^"]+)"', text)}
    assert len(names) > 5
    for name in names:
        assert callable(import_name(name))


def test_no_module_hides_a_public_name_of_its_package() -> None:
    """Importing ``package.name`` sets the module as `name` of the package, where its public name is looked up."""
    packages = [
        path for path in MODULES if path.name == "__init__.py" and "loader(__name__)" in path.read_text("utf-8")
    ]
    assert len(packages) > 10
    for path in packages:
        name = ".".join(path.parent.relative_to(SOURCE.parent).parts)
        modules = {each.stem for each in path.parent.glob("*.py")} | {
            each.parent.name for each in path.parent.glob("*/*.py")
        }
        assert not modules & set(import_module(name).__all__), name
