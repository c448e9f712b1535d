"""An agent without beampipe: tasks come by A2A, tools are at MCP. Usage: python examples/analysisops_agent.py PORT"""

import json
import sys

import uvicorn
from mcp import Client
from starlette.responses import JSONResponse
from starlette.routing import Route, Router


async def solve(file, call):
    """Fit the mass of the two leading leptons of each event, in the unit of the file."""
    [(tree, schema)] = (await call("inspect_root_schema_tool", {"file_path": file})).structured_content["trees"].items()
    short = {name.lower().rpartition("_")[2]: name for name, one in schema["branches"].items() if one["jagged"]}
    p4 = {one: short.get(one) or short.get("energy") or short["en"] for one in ("pt", "eta", "phi", "e")}
    events = await call("load_kinematics_tool", {"file_path": file, "tree_name": tree, "branches": p4})
    names = {"events": events.structured_content["handle"], "pt": "pt", "eta": "eta", "phi": "phi", "e": "e"}
    pairs = (await call("calc_dilepton_mass_tool", names)).structured_content
    gev = 0.001 if pairs["columns"]["mass"]["mean"] > 1000 else 1.0
    peak = {"window": [75 / gev, 107 / gev], "column": "mass", "model": "voigt_plus_exponential"}
    fit = (await call("fit_peak_tool", {"events": pairs["handle"], **peak})).structured_content
    return {"status": "ok", "answers": {"mass": {"value": fit["mu"] * gev, "uncertainty": fit["mu_error"] * gev}}}


async def answer(request):
    """The task is the text of a message, and so is the submission."""
    call = await request.json()
    task = json.loads(call["params"]["message"]["parts"][0]["text"])
    async with Client(task["tools"]["mcp"]) as tools:
        found = await solve(task["data"]["files"][0], tools.call_tool)
    said = {"messageId": "answer", "role": "ROLE_AGENT", "parts": [{"text": json.dumps(found)}]}
    return JSONResponse({"jsonrpc": "2.0", "id": call["id"], "result": {"message": said}})


where = {"url": f"http://127.0.0.1:{sys.argv[1]}/", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
card = JSONResponse({"name": "own", "description": "An agent.", "version": "1", "supportedInterfaces": [where]})
paths = Route("/.well-known/agent-card.json", card), Route("/", answer, methods=["POST"])
uvicorn.run(Router(paths), port=int(sys.argv[1]))
