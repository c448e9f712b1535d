"""A stand-in for a server of OpenAI's protocol: no model, but answers that a test has written down."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = dict[str, Any] | str | int
"""A JSON answer; or text that is sent as it is; or a status without content."""

Script = Sequence[Answer] | Callable[[dict[str, Any]], Answer]


class StandIn:
    """What it was asked, and where it is."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.base_url = ""


@contextmanager
def stand_in(script: Script) -> Iterator[StandIn]:
    """A server that gives the answers of a script, the last one again and again; or what a function gives."""
    seen = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.asked.append(request)
            seen.headers.append({name.title(): value for name, value in self.headers.items()})
            number = len(seen.asked) - 1
            answer = script(request) if callable(script) else script[min(number, len(script) - 1)]
            status = answer if isinstance(answer, int) else 200
            body = (
                b"" if isinstance(answer, int) else (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            )
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    seen.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def completion(text: str = "", *calls: tuple[str, dict[str, Any] | str], **more: Any) -> dict[str, Any]:
    """A chat completion with words or calls of tools; it costs 100 tokens to read and 10 to write."""
    message: dict[str, Any] = {"role": "assistant", "content": text or None, **more}
    if calls:
        message["tool_calls"] = [
            {
                "id": f"call_{number}",
                "type": "function",
                "function": {"name": name, "arguments": item if isinstance(item, str) else json.dumps(item)},
            }
            for number, (name, item) in enumerate(calls)
        ]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    return completed(choice)


def completed(choice: dict[str, Any]) -> dict[str, Any]:
    """A chat completion of one choice."""
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    about = {"id": "1", "object": "chat.completion", "created": 1, "model": "stand-in"}
    return {**about, "choices": [choice], "usage": usage}
