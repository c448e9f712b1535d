"""An agent without beampipe: tasks come by A2A, tools are at MCP. Usage: python examples/analysisops_agent.py PORT"""

import json
import sys

import uvicorn
from mcp import Client
from starlette import responses, routing

NAMES = {"q": "charge", "id": "type", "pdgid": "type", "flavour": "type", "iso20": "ptcone20", "trackiso": "ptcone20"}
NAMES |= {"istightid": "tight", "passestight": "tight", "tightid": "tight"}  # files differ in their names
GOOD = "count(pt) == 2 and sum(charge) == 0 and all(type == 13 and tight and ptcone20 < 0.1 * pt)"
MASS = "sqrt(2 * pt[0] * pt[1] * (cosh(eta[0] - eta[1]) - cos(phi[0] - phi[1]))) / where(max(pt) > 1e3, 1e3, 1)"


async def solve(request):
    """Fit the mass of two tight, isolated muons of opposite charge: the task comes as text, and the answer is text."""
    task = json.loads((call := await request.json())["params"]["message"]["parts"][0]["text"])
    file = {"file_path": task["data"]["files"][0]}
    async with Client(task["tools"]["mcp"]) as mcp:
        [(tree, seen)] = (await mcp.call_tool("inspect_root_schema_tool", file)).structured_content["trees"].items()
        leptons = {name.lower().split("_")[-1]: name for name, kind in seen["branches"].items() if kind["jagged"]}
        file |= {"tree_name": tree, "branches": {NAMES.get(short, short): name for short, name in leptons.items()}}
        made = await mcp.call_tool("load_kinematics_tool", file)
        made = await mcp.call_tool("select_tool", {"events": made.structured_content["handle"], "expression": GOOD})
        gev = {"events": made.structured_content["handle"], "name": "mass", "expression": MASS}
        mass = {"events": (await mcp.call_tool("derive_tool", gev)).structured_content["handle"], "column": "mass"}
        spectrum = await mcp.call_tool("histogram_tool", mass | task["data"]["histograms"]["mass"])
        fit = await mcp.call_tool("fit_peak_tool", mass | {"window": [75, 107], "model": "voigt_plus_exponential"})
    stated = {"value": (fit := fit.structured_content)["mu"], "from": fit["call"] + ".mu"}
    stated |= {"uncertainty": fit["mu_error"], "uncertainty_from": fit["call"] + ".mu_error"}
    reply = {"status": "ok", "answers": {"mass": stated}, "histograms": {"mass": spectrum.structured_content["handle"]}}
    message = {"messageId": "answer", "role": "ROLE_AGENT", "parts": [{"text": json.dumps(reply)}]}
    return responses.JSONResponse({"jsonrpc": "2.0", "id": call["id"], "result": {"message": message}})


where = {"url": f"http://127.0.0.1:{sys.argv[1]}/", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
card = responses.JSONResponse({"name": "own", "description": "Muons.", "version": "1", "supportedInterfaces": [where]})
app = routing.Router([routing.Route("/.well-known/agent-card.json", card), routing.Route("/", solve, methods=["POST"])])
uvicorn.run(app, port=int(sys.argv[1]))
