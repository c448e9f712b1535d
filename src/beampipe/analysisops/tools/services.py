"""Tools for a running service, such as a fleet of servers: its members, its settings, changes, and test requests.

The service is the one that the host runs for this assessment. It refuses what the task does not allow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from beampipe.analysisops.contract import RunningSystem, ToolRefusedError
from beampipe.analysisops.tools.handles import ToolContext


def list_members_tool(context: ToolContext) -> Mapping[str, Any]:
    """List the servers of the running service with their states, and the last incidents."""
    return _system(context).members()


def show_specification_tool(context: ToolContext) -> Mapping[str, Any]:
    """Show the settings of the service that may be changed, with their present values."""
    return {"specification": dict(_system(context).settings)}


def change_specification_tool(context: ToolContext, changes: dict[str, int | str]) -> Mapping[str, Any]:
    """Change settings of the running service; returns when it runs with them.

    Args:
        changes: setting -> value, such as {"gateway.queue": 64}; names as in show_specification_tool.
    """
    return _system(context).change(changes)


def command_server_tool(
    context: ToolContext, command: Literal["drain", "resume", "restart"], server: str
) -> Mapping[str, Any]:
    """Command a server of the service; returns when it is done.

    Args:
        command: drain: it gets no further requests; resume: it gets some again; restart: a new process takes its place.
        server: its name, as list_members_tool gives it.
    """
    return _system(context).command(command, server)


def send_requests_tool(context: ToolContext, number: int) -> Mapping[str, Any]:
    """Send test requests to the service, one after the other; gives latency_ms, their mean, and its error.

    Args:
        number: of requests, 2 to 20.
    """
    return _system(context).send(number)


def _system(context: ToolContext) -> RunningSystem:
    if context.system is None:
        raise ToolRefusedError("service: got none, expected a task with a running service")
    context.used.update(file.name for file in context.folder.files())
    return context.system
