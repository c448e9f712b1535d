"""What holds where a configuration does not say it, and is needed before it is read whole."""

from typing import Final

__all__ = ["OUTPUT"]

OUTPUT: Final = "calibration"
"""Folder of the results, beside the configuration."""
