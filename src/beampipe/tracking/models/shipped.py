"""The tracker models that come with the package, by name; and what commands say and complete of models and pipelines.

Imports nothing but the table of pipelines: a command line needs it before anything is loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from beampipe.tracking.pipelines.specs import PIPELINES

__all__ = [
    "CARD",
    "DEFAULT_MODEL",
    "MODEL_HELP",
    "complete_model",
    "complete_pipeline",
    "model_names",
    "shipped_models",
]

CARD: Final = "model.json"
"""Name of the file that says what a folder of weights is."""

DEFAULT_MODEL: Final = "generic"
"""Name of the tracker model that is meant where none is named."""

_FOLDER: Final = Path(__file__).parent


def shipped_models() -> dict[str, Path]:
    """Name of each tracker model that comes with the package -> its folder."""
    return {card.parent.name: card.parent for card in sorted(_FOLDER.glob(f"*/{CARD}"))}


def model_names() -> str:
    """The names of the shipped models in one line, for texts of help."""
    return ", ".join(shipped_models())


MODEL_HELP: Final = (
    f"Tracker model that knows the detector: {model_names()}, or a folder that `beampipe tracking train` wrote."
)
"""Help of an option that takes a tracker model."""


def complete_model(incomplete: str) -> list[str]:
    """What a shell may complete to a tracker model: names of shipped ones, and folders on the way to others."""
    start = Path(incomplete)
    parent = start if incomplete.endswith("/") else start.parent
    beginning = "" if incomplete.endswith("/") else start.name
    try:
        folders = sorted(path for path in parent.iterdir() if path.name.startswith(beginning) and path.is_dir())
    except OSError:
        folders = []
    visible = [f"{path}/" for path in folders if not path.name.startswith(".")]
    return [name for name in shipped_models() if name.startswith(incomplete)] + visible


def complete_pipeline(incomplete: str) -> list[str]:
    """What a shell may complete to the name of a pipeline."""
    return [name for name in PIPELINES if name.startswith(incomplete)]
