"""From hits to physics: pipelines, services, workflows and tasks for particle-physics events."""

from beampipe.extras import name_missing_extras

TYPE_CHECKING = False  # that of `typing`, which is not imported here: this module runs before Ctrl-C is handled
if TYPE_CHECKING:
    from typing import Any

    from beampipe import analysisops, calibration, fleet, serving, simulation, tracking, triton, workflow
    from beampipe.tracking import (
        Event,
        Events,
        Hits,
        Particles,
        Tracks,
        compare,
        compare_plot,
        evaluate,
        find_tracks,
        load_pipeline,
        open_events,
        open_tracks,
        shipped_events,
    )

    __version__: str

__all__ = [
    "Event",
    "Events",
    "Hits",
    "Particles",
    "Tracks",
    "__version__",
    "analysisops",
    "calibration",
    "compare",
    "compare_plot",
    "evaluate",
    "find_tracks",
    "fleet",
    "get_cmake_dir",
    "get_include",
    "get_library",
    "load_pipeline",
    "open_events",
    "open_tracks",
    "serving",
    "shipped_events",
    "show_versions",
    "simulation",
    "tracking",
    "triton",
    "workflow",
]

_FOLDER = __file__.rpartition("/")[0]  # of the sources; in an editable install, __path__ begins with compiled files
_AREAS = ("analysisops", "calibration", "fleet", "serving", "simulation", "tracking", "triton", "workflow")

name_missing_extras()


def get_cmake_dir() -> str:
    """Folder for CMake: ``-Dbeampipe_DIR=...`` lets ``find_package(beampipe)`` find the package.

    >>> Path(get_cmake_dir(), "beampipe-config.cmake").is_file()
    True
    """
    return f"{_FOLDER}/native"


def get_include() -> str:
    """Folder of the headers for C and C++ programs, ``beampipe/track_finder.h`` and ``.hpp``.

    >>> sorted(path.name for path in Path(get_include(), "beampipe").iterdir())
    ['track_finder.h', 'track_finder.hpp']
    """
    return f"{_FOLDER}/tracking/include"


def get_library() -> str:
    """Path of the library for C and C++ programs.

    >>> Path(get_library()).name
    'libbeampipe.so'

    Raises:
        FileError: it was not built: the package was installed without a C++ compiler.
    """
    from beampipe.errors import FileError
    from beampipe.files import HOW_TO_BUILD, built

    library = built("beampipe.tracking.kernels", "libbeampipe.so")
    if library is None:
        raise FileError(f"libbeampipe.so: it was not built; {HOW_TO_BUILD}")
    return str(library)


def show_versions() -> None:
    """Print the versions of Python, of this package and of the packages that it uses, and the instruction sets of its
    kernels, for a report of a fault.

    >>> show_versions()  # doctest: +ELLIPSIS
    python 3...
    """
    import platform
    from importlib import import_module

    from beampipe.errors import BeampipeError
    from beampipe.provenance import installed

    print(f"python {platform.python_version()} on {platform.platform()}")
    for name in ("beampipe", "numpy", "scipy", "pyarrow", "pandas", "awkward", "uproot", "matplotlib", "torch"):
        print(name, installed(name) or "not installed")
    try:
        kernels = import_module("beampipe.tracking.kernels").native()
    except (ImportError, BeampipeError) as error:
        print("kernels cannot be used:", error)
    else:
        print(f"kernels for {', '.join(kernels.compiled_isas())}; {kernels.isa()} is used")


def __dir__() -> list[str]:
    special = (name for name in globals() if name.startswith("__"))
    return sorted({*special, *__all__})


def __getattr__(name: str) -> "Any":
    """An area, a name of `beampipe.tracking` or the version, looked up on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    if name in _AREAS:
        return import_module(f"beampipe.{name}")
    if name != "__version__":
        return getattr(import_module("beampipe.tracking"), name)
    try:
        version = str(import_module("beampipe._version").version)  # written by the build
    except ModuleNotFoundError:  # run from a source tree that was never installed
        version = "0.0.0"
    globals()[name] = version
    return version
