"""One-line errors for scripts outside of the package, such as benchmarks and examples.

Import it for its effect, before packages that may be missing::

    import beampipe.terminal.scripts  # noqa: F401

An error of `beampipe.errors` then ends the script with its message and code 2, and a missing package that the script
itself imports raises a `MissingExtraError`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import Final

from beampipe.errors import BeampipeError, MissingExtraError
from beampipe.extras import extra_of, importer

_BRINGS: Final = {
    "tracking": ("PIL", "matplotlib", "mplhep", "pyarrow", "safetensors", "scipy"),
    "serving": ("google", "grpc", "prometheus_client", "tritonclient"),
    "fleet": ("cryptography", "yaml"),
    "calibration": ("awkward", "correctionlib", "hist", "lightgbm", "numba", "uproot"),
    "analysisops": ("httpx", "iminuit", "mcp", "uvicorn"),
    "dev": ("envoy", "grimp", "playwright"),
}
"""Extra -> packages that scripts import directly, in addition to those in `beampipe.extras`."""

_OF: Final = {package: extra for extra, packages in _BRINGS.items() for package in packages}


class _Missing:
    """The last finder on ``sys.meta_path``: raises an error for packages that an extra installs."""

    @staticmethod
    def find_spec(name: str, path: object, target: object = None) -> None:
        """Raise a `MissingExtraError` if an ``import`` statement asked for such a package."""
        extra = _OF.get(name, extra_of(name, ""))
        if path is None and extra is not None and importer() not in ("", "importlib.util"):
            raise MissingExtraError(name, extra, "this script")


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print our errors on one line; replaces `sys.excepthook`."""
    if not isinstance(error, BeampipeError):
        sys.__excepthook__(kind, error, trace)
        return
    print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
    raise SystemExit(2)


sys.meta_path.append(_Missing)
sys.excepthook = _report
