"""The pipeline in LitServe.

Written as its documentation advises: one worker per core (`workers_per_device`), as many HTTP processes
(`num_api_servers` left alone), the ZeroMQ queue (`fast_queue`, "for more than 100 requests per second"). The body comes
raw by a FastAPI dependency, as LitServe itself reads JSON or forms only.
"""

# No `from __future__ import annotations`: LitServe reads the types below when it runs.

from typing import Annotated

import litserve
from fastapi import Depends, Request, Response
from hosting import MAX_BATCH, PATH, Hosted, options


async def raw_body(request: Request) -> bytes:
    """The body as it came."""
    return await request.body()


class OneByOne(litserve.LitAPI):
    """A worker that runs one event at a time."""

    pipeline = ""

    def setup(self, device: str) -> None:
        self._hosted = Hosted(self.pipeline)

    def decode_request(self, request: Annotated[bytes, Depends(raw_body)]) -> bytes:
        return request

    def predict(self, body: bytes) -> bytes:
        return self._hosted.find(body)

    def encode_response(self, labels: bytes) -> Response:
        return Response(labels, media_type="application/octet-stream")


class Batching(OneByOne):
    """A worker that runs what has come meanwhile as one batch."""

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def predict(self, bodies: list[bytes]) -> list[bytes]:
        return self._hosted.find_many(bodies)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        return output


def main() -> None:
    request = options(__doc__)
    if request.batching:
        # A batch is what comes within this time. With 0 idle workers ask without pause, on cores that compute.
        api = Batching(max_batch_size=MAX_BATCH, batch_timeout=0.001, api_path=PATH)
    else:
        api = OneByOne(api_path=PATH)
    api.pipeline = request.pipeline
    server = litserve.LitServer(
        api, accelerator="cpu", devices=1, workers_per_device=request.replicas, fast_queue=True, timeout=False
    )
    server.run(host="127.0.0.1", port=request.port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
