"""The pipeline in Ray Serve.

Written as its documentation advises: one replica per core (`num_cpus` 1 each), the body read raw from the Starlette
request, computing in a thread of its own so that the replica's event loop keeps taking requests, `serve.batch` with
a limit on the number of events, `max_ongoing_requests` above the load so that batches can fill, no access log. Who
starts it chooses by environment variables between the proxy in Python and HAProxy.
"""

from __future__ import annotations

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from hosting import MAX_BATCH, PATH, Hosted, options
from ray import serve
from starlette.requests import Request
from starlette.responses import Response


class OneByOne:
    """A replica that runs one event at a time."""

    def __init__(self, pipeline: str) -> None:
        self._hosted, self._pool = Hosted(pipeline), ThreadPoolExecutor(1)

    async def __call__(self, request: Request) -> Response:
        body = await request.body()
        labels = await asyncio.get_running_loop().run_in_executor(self._pool, self._hosted.find, body)
        return Response(labels, media_type="application/octet-stream")


class Batching:
    """A replica that runs what has come meanwhile as one batch."""

    def __init__(self, pipeline: str) -> None:
        self._hosted, self._pool = Hosted(pipeline), ThreadPoolExecutor(1)

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=0.0)
    async def find_many(self, bodies: list[bytes]) -> list[bytes]:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._hosted.find_many, bodies)

    async def __call__(self, request: Request) -> Response:
        labels: Any = await self.find_many(await request.body())
        return Response(labels, media_type="application/octet-stream")


def main() -> None:
    request = options(__doc__)
    # The workers find `hosting` on the path of the driver.
    folder = os.path.dirname(os.path.abspath(__file__))
    ray.init(
        address="local",
        include_dashboard=False,
        num_cpus=request.replicas,
        object_store_memory=256 << 20,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])}},
    )
    serve.start(http_options={"host": "127.0.0.1", "port": request.port})
    kind = Batching if request.batching else OneByOne
    deployment = serve.deployment(
        num_replicas=request.replicas,
        max_ongoing_requests=2 * MAX_BATCH,
        ray_actor_options={"num_cpus": 1},
        logging_config={"enable_access_log": False},
    )(kind)
    serve.run(deployment.bind(request.pipeline), route_prefix=PATH)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    ray.shutdown()


if __name__ == "__main__":
    main()
