"""Files for Kubernetes: values for SuperSONIC's chart with an Envoy that checks and retries, and plain manifests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.fleet.kubernetes.folder import kubernetes_files, write_kubernetes

__all__ = ["kubernetes_files", "write_kubernetes"]

__getattr__ = loader(__name__, {"folder": ("kubernetes_files", "write_kubernetes")})
