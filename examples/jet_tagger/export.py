"""Writes a model repository with the jet tagger, one request at a time and in batches: export.py FOLDER."""

import sys
from pathlib import Path

from beampipe.triton import ModelSettings, export_repository

here = Path(__file__).parent
model, weights = f"{here}/jet_tagger.py:JetTagger", (here / "jet_tagger.safetensors",)

models = [
    ModelSettings("jet_tagger", model, weights=weights),
    ModelSettings("jet_tagger_batched", model, weights=weights, max_batch_size=64),
]
print("written:", *export_repository(Path(sys.argv[1]), models))
