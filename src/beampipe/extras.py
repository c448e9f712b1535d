"""Optional packages: importing one that is missing raises an error that names the extra which installs it.

`name_missing_extras` is called once, when beampipe is imported. From then on, an ``import`` statement in a module of
beampipe that does not find such a package raises a `MissingExtraError`. Imports in other packages and calls of
`importlib.util.find_spec` are not affected.

This module imports only what Python has loaded already, not even `typing`: it runs before Ctrl-C is handled.
"""

import sys

_OF_PACKAGE = {
    "acts": "simulation",
    "coffea": "",
    "dask": "calibration",
    "dask_jobqueue": "calibration",
    "distributed": "calibration",
    "fastjet": "simulation",
    "inspect_ai": "analysisops",
    "onnxscript": "train",
    "pandas": "tracking",
    "pythia8mc": "simulation",
    "torch": "train",
    "xxhash": "calibration",
}
"""Package -> the extra that installs it, whichever area imports it; empty if it is installed by its own name."""

_OF_AREA = {
    "events": "tracking",
    "tables": "tracking",
    "tracking": "tracking",
    "simulation": "simulation",
    "jets": "calibration",
    "figures": "tracking",
    "notebook": "tracking",
    "serving": "serving",
    "triton": "serving",
    "fleet": "fleet",
    "calibration": "calibration",
    "analysisops": "analysisops",
    "chain": "chain",
}
"""Area -> the extra that installs all other packages which it imports."""

_ELSEWHERE = {
    ("analysisops", "pythia8mc"): "analysisops",
    ("simulation", "numba"): "calibration",
}
"""Area and package -> the extra; takes precedence over the tables above."""

_BRINGS = {
    "analysisops": ("tracking", "numba", "pythia8mc", "xxhash"),
    "chain": ("tracking", "simulation", "calibration"),
    "fleet": ("tracking", "serving"),
}
"""Extra of an area -> extras and packages that it installs for the parts of other areas that it uses."""

_MACHINERY = ("importlib._bootstrap", "importlib._bootstrap_external")
"""Modules of Python whose frames lie between an ``import`` statement and a finder."""


def extra_of(package: str, module: str) -> str | None:
    """The extra that installs a package; empty if it is installed by its own name, None if beampipe does not use it.

    Args:
        package: import name of the top-level package.
        module: full name of the module of beampipe that imports it.

    >>> extra_of("uproot", "beampipe.tracking.formats.format")
    'tracking'
    """
    area = module.split(".")[1] if "." in module else ""
    return _ELSEWHERE.get((area, package)) or _OF_PACKAGE.get(package, _OF_AREA.get(area))


class _Missing:
    """The last finder on ``sys.meta_path``: it is called for packages that no other finder has found."""

    @staticmethod
    def find_spec(name: str, path: object, target: object = None) -> None:
        """Raises a `MissingExtraError` if a statement in a module of beampipe imports the package `name`."""
        if path is not None or name in sys.stdlib_module_names or name == "beampipe":
            return
        module, *callers = [*importers(), ""]
        if module.startswith("beampipe.") and (extra := extra_of(name, module)) is not None:
            from beampipe.errors import MissingExtraError

            # What a user runs is the outermost area: the demo of the chain needs its extra, not that of the simulation.
            for caller in callers:
                area = "fleet" if caller == "beampipe.serving.fleet_demo" else caller.removeprefix("beampipe.")
                outer = area.partition(".")[0]
                if {extra, name} & {*_BRINGS.get(outer, ())}:
                    extra = outer
            raise MissingExtraError(name, extra, ".".join(module.split(".")[:3]))


def importer() -> str:
    """Name of the module whose ``import`` statement called this finder; empty if there was no such statement."""
    return next(iter(importers()), "")


def importers() -> "list[str]":
    """The same, and then the modules that called it, the innermost first."""
    frame, in_machinery, names = sys._getframe(), False, []
    while frame.f_back is not None:  # first this module and its type checks, then the import machinery
        frame = frame.f_back
        name = str(frame.f_globals.get("__name__"))
        if in_machinery and name not in _MACHINERY:
            names.append(name)
        in_machinery = in_machinery or name in _MACHINERY
    return names


def name_missing_extras() -> None:
    """Install the finder; a second call changes nothing."""
    if _Missing not in sys.meta_path:
        sys.meta_path.append(_Missing)
