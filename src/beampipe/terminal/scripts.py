"""For a script that is no part of the package: what it lacks is said in one line, as commands say it.

It is imported for that, before what may be missing::

    import beampipe.terminal.scripts  # noqa: F401

Then an error of `beampipe.errors` ends the script with its message and code 2, and a package that the script itself
imports, and that is not there, is a `MissingExtraError` like one that beampipe imports.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import Final

from beampipe.errors import BeampipeError, MissingExtraError
from beampipe.extras import extra_of, importer

__all__: list[str] = []

_BRINGS: Final = {
    "tracking": ("matplotlib", "mplhep", "pyarrow", "safetensors", "scipy"),
    "serving": ("google", "grpc", "prometheus_client", "tritonclient"),
    "fleet": ("cryptography", "simpy", "yaml"),
    "calibration": ("awkward", "correctionlib", "hist", "lightgbm", "numba", "uproot"),
    "analysisops": ("httpx", "iminuit", "mcp", "uvicorn"),
    "bench": ("ROOT", "bentoml", "coffea", "fastapi", "litserve", "psutil", "ray", "starlette"),
    "test": ("grimp", "playwright"),
}
"""Extra -> packages that scripts import themselves, by the first extra that brings them; beside those of `extras`."""

_OF: Final = {package: extra for extra, packages in _BRINGS.items() for package in packages}


class _Missing:
    """The last finder that is asked, for packages that extras bring."""

    @staticmethod
    def find_spec(name: str, path: object, target: object = None) -> None:
        """Raises a `MissingExtraError` if a statement imports such a package; a question for it is answered."""
        extra = extra_of(name, "") or _OF.get(name)
        if path is None and extra is not None and importer() not in ("", "importlib.util"):
            raise MissingExtraError(name, extra, "this script")


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What Python calls for an error that ends a script."""
    if not isinstance(error, BeampipeError):
        sys.__excepthook__(kind, error, trace)
        return
    print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
    raise SystemExit(2)


sys.meta_path.append(_Missing)
sys.excepthook = _tell
