"""coffea's wrapper of Triton's clients, unchanged, through a gateway."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.fleet.clients.conftest import few_hits, labels_here
from tests.fleet.conftest import RunningFleet

ml_tools = pytest.importorskip("coffea.ml_tools", reason="pip install coffea")
awkward = pytest.importorskip("awkward")


class FindTracks(ml_tools.triton_wrapper):  # type: ignore[misc]
    """What an analysis writes: how its arrays become those of the model."""

    def prepare_awkward(self, hits: Any) -> tuple[list[Any], dict[str, Any]]:
        return [["LABELS"], {"FEATURES": hits}], {}


def finder(site: RunningFleet, model: str, batch_size: int, credentials: dict[str, Any]) -> FindTracks:
    return FindTracks(f"triton+grpc://localhost:{site.port}/{model}/1", credentials, batch_size)


@pytest.mark.parametrize("model", ["module_map", "module_map_ragged"])
def test_it_gets_the_labels_that_are_found_here(site: RunningFleet, papers: Any, model: str) -> None:
    client = {
        "ssl": True,
        "root_certificates": str(papers / "ca.pem"),
        "private_key": str(papers / "cms.pem"),
        "certificate_chain": str(papers / "cms.pem"),
    }
    ragged = model.endswith("_ragged")
    for hits, labels in zip(few_hits()[1:], labels_here()[1:], strict=True):
        # The whole event in one request, never a part of it.
        position = hits.position[None] if ragged else hits.position
        wrapper = finder(site, model, 1 if ragged else len(hits), client)
        result = wrapper(awkward.from_numpy(position))["LABELS"]
        assert np.asarray(result).reshape(-1).tolist() == labels.tolist()
