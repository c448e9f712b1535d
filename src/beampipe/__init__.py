"""From hits to physics: pipelines, services, workflows and tasks for particle-physics events."""

from beampipe.extras import name_missing_extras

__all__ = ["__version__"]

name_missing_extras()


def __getattr__(name: str) -> str:
    """The version, looked up when it is asked for: this module is imported before Ctrl-C can be clean."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        found = str(import_module("beampipe._version").version)  # which a build has written
    except ModuleNotFoundError:  # running from a source tree that was never installed
        found = "0.0.0"
    globals()[name] = found
    return found
