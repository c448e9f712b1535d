"""From hits to physics: pipelines, services, workflows and tasks for particle-physics events."""

from importlib.metadata import PackageNotFoundError, version

from beampipe.extras import name_missing_extras

__all__ = ["__version__"]

name_missing_extras()

try:
    __version__ = version("beampipe")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0.0.0"
