"""Renews the digests on the card of a tracker model whose files a test has changed."""

from dataclasses import replace
from pathlib import Path

from beampipe.tracking.models import TrackerModel, load_model
from beampipe.tracking.models.card import weights_of, write_model


def renew_digests(folder: Path) -> TrackerModel:
    """Recompute the digests of a model's files after some were replaced or removed on purpose.

    Args:
        folder: folder of the model; its card is written again. Weights that are gone are no longer listed.

    Returns:
        The model with these digests.

    Raises:
        FileError: there is no readable model.
        ConfigError: no weights are left.
    """
    model = load_model(folder)
    floors = {
        stem: weights.pt_floor
        for stem, weights in model.weights.items()
        if all((folder / name).is_file() for name in weights.files)
    }
    model = replace(model, weights=weights_of(folder, floors))
    write_model(model)
    return model
