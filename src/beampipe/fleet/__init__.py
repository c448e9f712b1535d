"""Many Tritons as one service: servers, gateway and monitoring; on one machine, on Slurm, or on Kubernetes.

from beampipe.fleet import read_fleet

fleet = read_fleet(Path("fleet.toml"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.fleet.specification import Fleet as Fleet
    from beampipe.fleet.specification import read_fleet as read_fleet

__getattr__, __dir__, __all__ = loader(__name__)
