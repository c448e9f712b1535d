from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from beampipe.errors import ServiceUnavailableError
from beampipe.triton.server import management
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.management import HttpModelProbe
from beampipe.triton.server.server import TritonServer
from beampipe.triton.supervision.interfaces import Placement
from tests.triton.doublers import ask
from tests.triton.waiting import wait_until


@pytest.mark.parametrize(
    ("config", "home"),
    [
        ({"backend": "python", "instance_group": [{"count": 2}]}, Placement(2)),
        ({"backend": "beampipe", "instance_group": [{"count": 2}]}, Placement(0)),
        ({"ensemble_scheduling": {"step": [{"model_name": "a"}, {"model_name": "b"}]}}, Placement(0, ("a", "b"))),
    ],
)
def test_only_models_of_the_python_backend_have_processes(
    config: dict[str, Any], home: Placement, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(management, "model_config", lambda url, model, timeout: config)
    assert HttpModelProbe(ServerSettings(Path()), "here:1", "here:2").placement("one") == home


def test_what_a_server_says_of_its_models(doubler_server: TritonServer) -> None:
    models = HttpModelProbe(doubler_server.settings, doubler_server.http_url, doubler_server.metrics_url)
    assert models.states() == {"one": "READY", "two": "READY"}
    assert models.placement("two") == Placement(2)
    before = models.loads()["one"]
    assert ask(doubler_server.http_url, "one", 0.0)[0] == 200
    # Triton counts a request shortly after it has sent the answer.
    wait_until(lambda: models.loads()["one"].answered == before.answered + 1.0)
    assert models.loads()["one"].waiting == 0.0
    assert not models.probe_canary("one"), "it has none"


def test_a_server_that_is_not_there() -> None:
    models = HttpModelProbe(ServerSettings(Path()), "127.0.0.1:1", "127.0.0.1:2")
    for question in (models.states, models.loads):
        with pytest.raises(ServiceUnavailableError):
            question()
