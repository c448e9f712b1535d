"""The pipeline in BentoML.

Written as its documentation advises: one worker per core (`workers`), the service as a class that loads the pipeline
once, a mounted ASGI application for a body that is neither JSON nor a form. Adaptive batching belongs to its own typed
endpoints, which take arrays as JSON (or pickle inside a deployment), so there is no batching here.
"""

# No `from __future__ import annotations`: BentoML reads types when it runs.

import os
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")

import asyncio
import sys

import bentoml
from hosting import PATH, Hosted, options
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

hosted: Hosted | None = None
pool = ThreadPoolExecutor(1)


async def find(request: Request) -> Response:
    """Labels of the event in the body."""
    assert hosted is not None
    body = await request.body()
    labels = await asyncio.get_running_loop().run_in_executor(pool, hosted.find, body)
    return Response(labels, media_type="application/octet-stream")


@bentoml.asgi_app(Starlette(routes=[Route(PATH, find, methods=["POST"])]), path="/")
@bentoml.service(
    workers=int(os.environ.get("HOSTED_REPLICAS", "2")),
    traffic={"timeout": 600},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class OneByOne:
    """A worker that runs one event at a time."""

    def __init__(self) -> None:
        global hosted
        hosted = Hosted(os.environ.get("HOSTED_PIPELINE", "exatrkx"))


def main() -> None:
    request = options(__doc__)
    os.environ |= {"HOSTED_REPLICAS": str(request.replicas), "HOSTED_PIPELINE": request.pipeline}
    folder = os.path.dirname(os.path.abspath(__file__))
    os.chdir(folder)
    serve = ["serve", "on_bentoml:OneByOne", "--host", "127.0.0.1", "--port", str(request.port)]
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", *serve])


if __name__ == "__main__":
    main()
