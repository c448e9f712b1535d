"""An agent without beampipe: tasks come by A2A, tools are at MCP. Usage: python examples/analysisops_agent.py PORT"""

import json
import sys

import uvicorn
from mcp import Client
from starlette.responses import JSONResponse
from starlette.routing import Route, Router


async def solve(file, bins, call):
    """Fit the mass of the two leading leptons of each event."""
    [(tree, schema)] = (await call("inspect_root_schema_tool", {"file_path": file})).structured_content["trees"].items()
    short = {name.lower().rpartition("_")[2]: name for name, one in schema["branches"].items() if one["jagged"]}
    p4 = {one: short.get(one) or short.get("energy") or short["en"] for one in ("pt", "eta", "phi", "e")}
    kin = await call("load_kinematics_tool", {"file_path": file, "tree_name": tree, "branches": p4})
    two = await call("calc_dilepton_mass_tool", {"events": kin.structured_content["handle"], **{c: c for c in p4}})
    gev = {"events": two.structured_content["handle"], "name": "mass", "expression": "mass / where(mass > 1e3, 1e3, 1)"}
    mass = {"events": (await call("derive_tool", gev)).structured_content["handle"], "column": "mass"}
    filled = (await call("histogram_tool", {**mass, **bins})).structured_content["handle"]
    fit = (await call("fit_peak_tool", {**mass, "window": [75, 107], "model": "voigt_plus_linear"})).structured_content
    mass = {"value": fit["mu"], "from": fit["call"] + ".mu"}
    mass |= {"uncertainty": fit["mu_error"], "uncertainty_from": fit["call"] + ".mu_error"}
    return {"status": "ok", "answers": {"mass": mass}, "histograms": {"mass": filled}}


async def answer(request):
    """The task is the text of a message, and so is the submission."""
    task = json.loads((call := await request.json())["params"]["message"]["parts"][0]["text"])
    async with Client(task["tools"]["mcp"]) as tools:
        found = await solve(task["data"]["files"][0], task["data"]["histograms"]["mass"], tools.call_tool)
    said = {"messageId": "answer", "role": "ROLE_AGENT", "parts": [{"text": json.dumps(found)}]}
    return JSONResponse({"jsonrpc": "2.0", "id": call["id"], "result": {"message": said}})


where = {"url": f"http://127.0.0.1:{sys.argv[1]}/", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
card = JSONResponse({"name": "own", "description": "An agent.", "version": "1", "supportedInterfaces": [where]})
app = Router([Route("/.well-known/agent-card.json", card), Route("/", answer, methods=["POST"])])
uvicorn.run(app, port=int(sys.argv[1]))
