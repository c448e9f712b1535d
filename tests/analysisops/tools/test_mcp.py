"""The same tools in process and over MCP."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from beampipe.analysisops.contract import ToolRefusedError
from beampipe.analysisops.ledger import Ledger, read_ledger
from beampipe.analysisops.tools.mcp import McpTools, serving_tools
from beampipe.analysisops.tools.session import LocalTools, Session
from beampipe.errors import ConfigError, ServiceUnavailableError


def test_over_http_it_is_the_same(data: Path, session: Session, tmp_path: Path) -> None:
    local = LocalTools(Session(data, Ledger(tmp_path / "other.jsonl", b"k")))
    with serving_tools(session) as url, McpTools(url) as remote:
        assert remote.names() == local.names() == session.names()
        assert remote.schemas() == local.schemas()
        arguments = {"file_path": "data.root", "tree_name": "mini", "branches": {"pt": "lep_pt"}}
        assert remote.call("load_kinematics_tool", **arguments) == local.call("load_kinematics_tool", **arguments)
        for wrong in ({"events": "nothing"}, {"event": "events_1"}, {}):
            output = []
            for tools in (remote, local):
                with pytest.raises(ToolRefusedError) as refused:
                    tools.call("count_tool", **wrong)
                output.append(str(refused.value).removeprefix("Error executing tool count_tool: "))
            assert output[0] == output[1]
        with pytest.raises(ToolRefusedError, match="no_tool"):
            remote.call("no_tool")


def test_the_address_is_a_secret_and_ends_with_the_block(session: Session) -> None:
    with serving_tools(session) as url:
        host, path = url.rsplit("/", 1)
        assert host.startswith("http://127.0.0.1:")
        assert len(path) >= 32
        with pytest.raises(ServiceUnavailableError) as refused:
            McpTools(f"{host}/mcp")
        assert path not in str(refused.value)
    with pytest.raises(ServiceUnavailableError):
        McpTools(url)
    assert not [thread for thread in threading.enumerate() if thread.name in ("http server", "mcp")]


def test_it_listens_where_agents_elsewhere_reach_it(session: Session) -> None:
    with serving_tools(session, "127.0.0.2") as url, McpTools(url) as remote:
        assert url.startswith("http://127.0.0.2:")
        assert remote.names() == session.names()
    for nowhere in ("192.0.2.1", "no-such-host.invalid"):
        with pytest.raises(ConfigError, match="of this machine"), serving_tools(session, nowhere):
            pass


def test_each_tool_says_what_it_is_for(session: Session) -> None:
    for schema in LocalTools(session).schemas():
        assert schema["name"].endswith("_tool")
        assert 20 < len(schema["description"]) < 120
        assert schema["parameters"]["additionalProperties"] is False
        explained = session.call("describe_tool", tool=schema["name"])
        assert explained["explanation"].startswith(schema["description"])
        assert list(explained["arguments"]) == list(schema["parameters"].get("properties", {}))
        for name, text in explained["arguments"].items():
            assert len(text) > 8, (schema["name"], name)
    with pytest.raises(ToolRefusedError, match="did you mean 'count_tool'"):
        session.call("describe_tool", tool="count_tol")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


_STDIO = """
import sys
from pathlib import Path
from beampipe.analysisops.ledger import Ledger, read_ledger
from beampipe.analysisops.tools.mcp import serve_stdio
from beampipe.analysisops.tools.session import Session
serve_stdio(Session(Path(sys.argv[1]), Ledger(Path(sys.argv[2]), b"k")))
"""


@pytest.mark.anyio
async def test_over_stdio(data: Path, tmp_path: Path, session: Session) -> None:
    from mcp import Client, StdioServerParameters, stdio_client

    arguments = ["-c", _STDIO, str(data), str(tmp_path / "stdio.jsonl")]
    async with Client(stdio_client(StdioServerParameters(command=sys.executable, args=arguments))) as client:
        assert tuple(tool.name for tool in (await client.list_tools()).tools) == session.names()
        refused = await client.call_tool("count_tool", {"events": "events_1"})
        assert refused.is_error
    assert [entry.tool for entry in read_ledger(tmp_path / "stdio.jsonl", b"k")] == ["count_tool"]
