"""Installs packages by uv, which resolves in seconds, with the indexes, folders and constraints of pip.

    python release/install.py -e ".[all,dev]"

The environment is that of the interpreter. Where uv has no wheel, pip does the work.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from typing import Final

OF_UV: Final = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
    "no-index": "UV_NO_INDEX",
    "cert": "SSL_CERT_FILE",
}
"""Settings of pip that decide what is installed -> variables of uv, which reads none of pip's."""


def variables(configured: str) -> dict[str, str]:
    """The variables of uv that say what pip's settings say.

    Args:
        configured: output of `pip config list`.
    """
    settings = {}
    for line in sorted(configured.splitlines(), key=lambda line: line.startswith(":env:")):  # these take precedence
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = str(ast.literal_eval(value))
    result = {"UV_INDEX_STRATEGY": "unsafe-best-match"}  # of all indexes, as pip does
    for name, variable in OF_UV.items():
        if name in settings:
            result[variable] = ("," if name == "find-links" else " ").join(settings[name].split())
    return result


def main(words: list[str]) -> int:
    """Install; returns the exit code."""
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "install", "-q", "uv"], check=False).returncode != 0:
        return subprocess.run([*pip, "install", "-q", "--no-compile", *words], check=False).returncode
    configured = subprocess.run([*pip, "config", "list"], capture_output=True, text=True, check=True).stdout
    # uv takes what it built before for the same as long as the version is; the kernels may be others.
    uv = [sys.executable, "-m", "uv", "pip", "install", "-q", "--python", sys.executable]
    return subprocess.run(
        [*uv, "--reinstall-package", "beampipe", *words], env=variables(configured) | os.environ, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
