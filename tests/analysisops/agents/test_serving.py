"""An agent as a server: it gets its tools by their address, and a stream that is silent is kept alive."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from beampipe.analysisops import http_server
from beampipe.analysisops.a2a.client import send_document
from beampipe.analysisops.agents.agent import Tools, submission
from beampipe.analysisops.agents.analysis import NopAgent
from beampipe.analysisops.agents.serving import serving_agent
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.ledger import Ledger
from beampipe.analysisops.tools.mcp import serving_tools
from beampipe.analysisops.tools.session import Session, tools_for
from beampipe.errors import BeampipeError


class Looks:
    """Lists the files, and calls what is not there."""

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        listed = tools.call("list_local_root_files_tool")
        with pytest.raises(BeampipeError, match="no_such_tool"):
            tools.call("no_such_tool")
        return submission(request.task_id, words={"files": str(len(listed["files"])), "tools": str(len(tools.names()))})


def test_an_agent_calls_the_tools_of_its_request(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"files": [], "public": {}}))
    ledger = Ledger(tmp_path / "ledger.jsonl", b"key")
    with serving_tools(Session(folder, ledger)) as tools, serving_agent(Looks()) as url:
        answer = send_document(url, TaskRequest("t1", "zmumu", 1, "?", tools).to_json())
    assert answer["status"] == "ok", answer["comments"]
    assert answer["words"]["files"] == "0"
    assert int(answer["words"]["tools"]) == len(tools_for([]))
    assert ledger.entries[0].tool == "list_local_root_files_tool"


def test_an_agent_is_asked_from_a_notebook_too() -> None:
    """A kernel runs an event loop in the thread of its cells."""

    async def cell(url: str) -> dict[str, Any]:
        return send_document(url, TaskRequest("t1", "zmumu", 1, "?").to_json())

    with serving_agent(NopAgent()) as url:
        assert asyncio.run(cell(url))["task_id"] == "t1"


def test_a_public_benchmarks_request_is_taken() -> None:
    request = {"role": "task_request", "task_id": "t001", "task_type": "zpeak_fit", "prompt": "Fit.", "data": {}}
    with serving_agent(NopAgent()) as url:
        assert send_document(url, request)["task_id"] == "t001"


def test_a_silent_stream_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    from sse_starlette.sse import EventSourceResponse

    assert EventSourceResponse.DEFAULT_PING_INTERVAL == 15, (
        "the gateway and its proxy cut streams after 300 s of silence"
    )
    monkeypatch.setattr(EventSourceResponse, "DEFAULT_PING_INTERVAL", 1)
    pinged = threading.Event()

    class Waits:
        def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
            return submission(request.task_id, status="ok" if pinged.wait(120) else "error")

    text = json.dumps(TaskRequest("t1", "zmumu", 1, "?").to_json())
    message = {"role": "user", "parts": [{"kind": "text", "text": text}], "messageId": "1", "kind": "message"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "message/stream", "params": {"message": message}}
    with serving_agent(Waits()) as url, httpx.stream("POST", url, json=body, timeout=120) as answer:
        lines = []
        for line in answer.iter_lines():
            lines.append(line)
            if line.startswith(": ping"):
                pinged.set()
    assert pinged.is_set()
    assert '\\"status\\": \\"ok\\"' in "".join(lines)


def test_answers_are_sent_at_once() -> None:
    """Nagle's algorithm would wait 40 ms for the acknowledgement of the headers before it sends the rest."""

    async def nodelay_of_connections() -> int:
        accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = http_server.listen("127.0.0.1", 0)
        async with await asyncio.start_server(connected, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            nodelay = await accepted
            writer.close()
        return nodelay

    assert asyncio.run(nodelay_of_connections()) != 0
