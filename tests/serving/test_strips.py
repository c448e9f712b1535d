"""Double-sided strips at served models: labels and fits of the pipeline here, for hits with or without measurements."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from beampipe.errors import InputError
from beampipe.events import Event
from beampipe.serving.finders import DirectTrackFinder, TritonTrackFinder
from beampipe.serving.models import ServingSettings, named_models
from beampipe.simulation.detector import read_layout
from beampipe.triton.engine import Engine
from beampipe.triton.model.contract import EnsembleSettings, ModelSettings
from beampipe.triton.server.server import TritonServer
from tests.serving.conftest import served
from tests.simulation.layouts import shot

# The muons leave the discs at the ends empty.
pytestmark = [pytest.mark.acts, pytest.mark.filterwarnings("ignore::beampipe.errors.LayoutWarning")]


@pytest.fixture(scope="module")
def muons() -> Event:
    return shot(read_layout(Path("odd")), 3, 400, (1.0, 10.0), 2.5)


@pytest.fixture(scope="module")
def server(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """Two models of the native backend, one of Python's."""
    models: list[ModelSettings | EnsembleSettings] = []
    for backend, names in (("native", ("module_map", "module_map_ragged")), ("python", ("module_map_ragged",))):
        made = named_models(ServingSettings(names, threads=1, tracker_model="odd", backend=backend))
        models += [replace(model, name=f"{model.name}_python") if backend == "python" else model for model in made]
    with served(engine, tmp_path_factory.mktemp("strips"), models) as running:
        yield running


@pytest.mark.parametrize("model", ["module_map", "module_map_ragged", "module_map_ragged_python"])
def test_measurements_are_compared_with_tracks_as_here(server: TritonServer, muons: Event, model: str) -> None:
    bare = replace(muons.hits, local=None, variance=None)
    with DirectTrackFinder("module_map", model="odd", threads=1, parameters=True) as here:
        expected, by_position = here.find(muons), here.find(bare)
    assert (expected.track_id != by_position.track_id).any()
    with TritonTrackFinder(server.grpc_url, model, parameters=True, stages=True) as finder:
        for event, direct in ((muons, expected), (bare, by_position)):
            tracks = finder.find(event)
            assert tracks.track_id.tobytes() == direct.track_id.tobytes()
            assert tracks.parameters is not None
            assert direct.parameters is not None
            np.testing.assert_array_equal(tracks.parameters.values, direct.parameters.values)
            assert tracks.seconds["strips"] > 0
        assert muons.hits.geometry_id is not None
        with pytest.raises(InputError, match="expected one of the 18824 modules"):
            finder.find(replace(muons.hits, geometry_id=muons.hits.geometry_id + np.uint64(1 << 56)))


def test_measurements_are_one_per_hit(server: TritonServer, muons: Event) -> None:
    hits = muons.hits
    assert hits.geometry_id is not None
    arrays = {"FEATURES": hits.position, "GEOMETRY_ID": hits.geometry_id[1:]}
    tensors = []
    for name, array in arrays.items():
        tensors.append(grpcclient.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)))
        tensors[-1].set_data_from_numpy(array)
    with (
        grpcclient.InferenceServerClient(server.grpc_url) as client,
        pytest.raises(InferenceServerException, match=f"{len(hits) - 1}.*expected.*{len(hits)}"),
    ):
        client.infer("module_map", tensors)
