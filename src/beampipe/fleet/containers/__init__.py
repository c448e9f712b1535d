"""Files for containers: an image with Triton and beampipe, a fleet by Docker Compose, the same image for Apptainer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.fleet.containers.folder import compose_files, write_compose

__all__ = ["compose_files", "write_compose"]

__getattr__ = loader(__name__, {"folder": ("compose_files", "write_compose")})
