"""All attackers."""

from __future__ import annotations

from tests.analysisops.redteam import distortion, forgery, memory, silence
from tests.analysisops.redteam.attack import ATTACKS

__all__ = ["ATTACKS"]

assert all(room.__name__ for room in (distortion, forgery, memory, silence)), "each room registers its attackers"
