"""Installs by uv take what pip would: its indexes, folders and constraints."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

INSTALL: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "release/install.py"))

CONFIGURED = """\
:env:.index-url='https://index.test/simple'
:env:.timeout='180'
global.constraint='/etc/pip/constraints.txt'
global.index-url='https://other.test/simple'
install.find-links='/opt/wheels https://links.test/'
"""


def test_settings_of_pip_are_those_of_uv() -> None:
    assert INSTALL["variables"](CONFIGURED) == {
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_DEFAULT_INDEX": "https://index.test/simple",
        "UV_CONSTRAINT": "/etc/pip/constraints.txt",
        "UV_FIND_LINKS": "/opt/wheels,https://links.test/",
    }
