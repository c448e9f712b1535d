"""A fleet of real models as a site has it for its experiments: TLS and certificates, and a door for Athena."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from beampipe.events import Hits
from beampipe.fleet.certificates import make_authority, make_client, make_server
from beampipe.serving.models import ServingSettings, named_models
from beampipe.tracking.data import shipped_events
from beampipe.tracking.loading import load_pipeline
from beampipe.triton.engine import Engine
from beampipe.triton.model.repository import export_repository
from tests.fleet.conftest import RunningFleet, running_fleet

__all__ = ["MODELS", "few_hits", "labels_here", "papers", "site"]

MODELS = ("module_map", "module_map_ragged", "module_map_athena")


@pytest.fixture(scope="package")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with an authority, a gateway's certificate and a client's."""
    folder = tmp_path_factory.mktemp("papers")
    make_authority(folder)
    make_server(folder, ["localhost"])
    make_client(folder, "cms")
    return folder


@pytest.fixture(scope="package")
def site(engine: Engine, papers: Path) -> Iterator[RunningFleet]:
    """The fleet, of two servers."""
    gateway = "compressed = true\n[gateway.athena]\nport = 0\n"
    gateway += f'[gateway.tls]\ncertificate = "{papers}/gateway.pem"\nclient_ca = "{papers}/ca.pem"\n'
    models = partial(export_repository, models=named_models(ServingSettings(tuple(MODELS), threads=1)))
    with running_fleet(2, gateway, models=models) as running:
        yield running


def few_hits() -> list[Hits]:
    """No hit, one, and some events without pile-up."""
    events = [event.hits for event in list(shipped_events(0))[:4]]
    return [*(events[0].take(np.arange(n, dtype=np.int64)) for n in (0, 1)), *events]


def labels_here() -> list[ndarray]:
    """What is found in those here."""
    pipeline = load_pipeline("module_map", threads=1)
    labels = [pipeline.find(hits).track_id for hits in few_hits()]
    assert max(each.max(initial=-1) for each in labels) > 5
    return labels
