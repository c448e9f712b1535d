"""Packages that only parts of beampipe need: where one is missing, its import says which extra brings it.

`name_missing_extras` is called once, when beampipe is imported. From then on an ``import`` statement in any module of
beampipe that finds no such package raises a `MissingExtraError`, in a call from Python as in a command. Imports of
others, and questions whether a package is there (`importlib.util.find_spec`), are answered as ever.

Nothing is imported here but what Python has loaded already, not even `typing`: this module comes before the command
can end cleanly on Ctrl-C.
"""

import sys

__all__ = ["extra_of", "importer", "name_missing_extras"]

_OF_PACKAGE = {
    "acts": "simulation",
    "atlasopenmagic": "opendata",
    "dask": "dask",
    "dask_jobqueue": "dask",
    "distributed": "dask",
    "fastjet": "simulation",
    "pythia8mc": "simulation",
    "torch": "train",
    "xxhash": "calibration",
}
"""Package that an extra of its own brings, whichever area imports it -> that extra."""

_OF_AREA = {
    "tracking": "tracking",
    "simulation": "simulation",
    "figures": "tracking",
    "notebook": "tracking",
    "serving": "serving",
    "triton": "serving",
    "fleet": "fleet",
    "calibration": "calibration",
    "analysisops": "analysisops",
}
"""Area of beampipe -> the extra that brings the packages which it imports."""

_ELSEWHERE = {
    ("tracking", "uproot"): "formats",
    ("tracking", "awkward"): "formats",
    ("analysisops", "pythia8mc"): "analysisops",
}
"""Area and package -> the extra, where neither of the tables above says it."""

_MACHINERY = ("importlib._bootstrap", "importlib._bootstrap_external")
"""Modules whose frames lie between an ``import`` statement and a finder."""


def extra_of(package: str, module: str) -> str | None:
    """The extra that brings a package, None if none does.

    Args:
        package: import name of the package, without what comes after a dot.
        module: full name of the module of beampipe that imports it.

    >>> extra_of("uproot", "beampipe.tracking.formats.format")
    'formats'
    """
    area = module.split(".")[1] if "." in module else ""
    if module.startswith("beampipe.tracking.cuda") and package == "torch":
        return "cuda"
    return _ELSEWHERE.get((area, package)) or _OF_PACKAGE.get(package) or _OF_AREA.get(area)


class _Missing:
    """The last finder that is asked: whatever comes here was found by none."""

    @staticmethod
    def find_spec(name: str, path: object, target: object = None) -> None:
        """Raises a `MissingExtraError` if a statement in a module of beampipe imports the package `name`."""
        if path is not None or name in sys.stdlib_module_names or name == "beampipe":
            return
        module = importer()
        if module.startswith("beampipe.") and (extra := extra_of(name, module)) is not None:
            from beampipe.errors import MissingExtraError

            raise MissingExtraError(name, extra, ".".join(module.split(".")[:3]))


def importer() -> str:
    """For a finder: name of the module whose ``import`` statement has called it; empty if none has."""
    frame, name, below = sys._getframe(), "", False
    while frame.f_back is not None:  # first this module and what checks its types, then the machinery
        frame = frame.f_back
        name = str(frame.f_globals.get("__name__"))
        if below and name not in _MACHINERY:
            return name
        below = below or name in _MACHINERY
    return ""


def name_missing_extras() -> None:
    """Make imports in modules of beampipe say which extra is missing; a second call changes nothing."""
    if _Missing not in sys.meta_path:
        sys.meta_path.append(_Missing)
