"""From hits to physics: pipelines, services, workflows and tasks for particle-physics events."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]

try:
    __version__ = version("beampipe")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0.0.0"
