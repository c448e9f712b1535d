"""Opens tracker models: by the name of a shipped one, or by their folder."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from beampipe.errors import ConfigError, FileError, UnknownNameError
from beampipe.settings import build
from beampipe.tracking.models.model import FORMAT, TrackerModel
from beampipe.tracking.models.shipped import CARD, DEFAULT_MODEL, model_names, shipped_models

__all__ = ["load_model"]


def load_model(model: str | Path | TrackerModel = DEFAULT_MODEL) -> TrackerModel:
    """A tracker model. Its weights are looked at when a pipeline is loaded.

    Args:
        model: name of a shipped model, or the folder of one; a name goes before a folder of the same name, which is
            meant by ``./NAME``. A model that is loaded stays as it is.

    Raises:
        UnknownNameError: it is no name of a shipped model, and no folder.
        FileError: the folder holds no readable model.
        ConfigError: a key of its card is unknown or missing, or a value is of another kind.
    """
    if isinstance(model, TrackerModel):
        return model
    shipped = shipped_models()
    if isinstance(model, str) and model in shipped:
        return _read(shipped[model], (shipped[model] / CARD).stat().st_mtime_ns)
    folder = Path(model)
    if isinstance(model, str) and not folder.exists() and folder.name == model:
        raise UnknownNameError("tracker model (nor is it a folder)", model, shipped)
    card = folder / CARD
    if not card.is_file():
        raise FileError(
            f"{folder}: got no {CARD} there, expected a folder that `beampipe tracking train` wrote, or one of"
            f" {model_names()}",
            path=folder,
        )
    return _read(folder.resolve(), card.stat().st_mtime_ns)


@cache
def _read(folder: Path, changed_ns: int) -> TrackerModel:
    """The model of a folder; a card that is touched is read again."""
    card = folder / CARD
    try:
        table: Any = json.loads(card.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"{card}: cannot be read ({error.strerror})", path=card) from error
    except ValueError as error:
        raise FileError(f"{card}: got no JSON ({error}), expected the card of a tracker model", path=card) from error
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        got = table.get("format") if isinstance(table, dict) else table
        raise FileError(
            f"{card}: got format {got!r}, expected {FORMAT!r}; learn the model again, or update beampipe", path=card
        )
    fields = {key: value for key, value in table.items() if key != "format"}
    if "path" in fields:
        raise ConfigError(f"{card}: unknown key 'path', expected none: it is the folder")
    return build(TrackerModel, {**fields, "path": folder}, str(card))
