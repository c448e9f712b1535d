"""From hits to physics: pipelines, services, workflows and tasks for particle-physics events."""

from beampipe.extras import name_missing_extras

__all__ = ["__version__"]

name_missing_extras()


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> str:
    """The version, looked up on first use: this module is imported before Ctrl-C is handled."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        version = str(import_module("beampipe._version").version)  # written by the build
    except ModuleNotFoundError:  # run from a source tree that was never installed
        version = "0.0.0"
    globals()[name] = version
    return version
