"""Operations of a running fleet: find out why its latency rose, repair it by its settings and commands, and prove that.

The hidden seed chooses the names of three groups of servers, their settings, and one fault: a process that works slowly
(`slow_process`), a weight of 200 (`wrong_weight`), a group without server (`missing_server`), one request at once to
each server (`few_slots`), or one instance of the model (`few_instances`). ``system.py`` runs the fleet of an attempt.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean, median
from typing import Any, Final

from beampipe.analysisops.agents.analysis import Analysis, AnalysisResult
from beampipe.analysisops.samples.dataset import Instance, RandomParameters

CAUSES: Final = ("slow_process", "wrong_weight", "missing_server", "few_slots", "few_instances")
"""The faults that occur."""

_NAMES: Final = ("amber", "basalt", "cobalt", "dune", "ember", "flint", "garnet", "heath")
_SERVERS: Final = 3
_REQUESTS: Final = 12


def make(random: RandomParameters) -> Instance:
    """The fleet and the fault of an instance."""
    cause = CAUSES[random.choice("cause", len(CAUSES))]
    servers = [str(name) for name in random.generator("names").choice(_NAMES, _SERVERS, replace=False)]
    component = servers[random.choice("server", _SERVERS)]
    component = {"few_slots": "gateway", "few_instances": "all_servers"}.get(cause, component)
    return Instance(
        words={"cause": cause, "component": component},
        public={"servers": servers, "clients": 9, "interval_s": 1},
        analysis={
            "servers": servers,
            "in_flight": (10, 12, 16)[random.choice("in_flight", 3)],
            "queue": (64, 96, 128)[random.choice("queue", 3)],
            "weight": (10, 16, 20)[random.choice("weight", 3)],
        },
    )


def analyse(analysis: Analysis) -> AnalysisResult:
    """Compare the groups, settings first; repair what differs; measure the latency before and after."""
    settings = analysis.call("show_specification_tool")["specification"]
    cause, component = diagnose(analysis, settings)
    before = analysis.call("send_requests_tool", number=_REQUESTS)
    mend(analysis, settings, cause, component)
    after = analysis.call("send_requests_tool", number=_REQUESTS)
    return AnalysisResult(
        {
            "latency_before": (before["latency_ms"], before["latency_error_ms"]),
            "latency_after": (after["latency_ms"], after["latency_error_ms"]),
        },
        {"cause": cause, "component": component},
        method={
            "diagnosis": "settings of the groups compared, then times of model and queue of each server",
            "repair": "the setting as in the other groups, or a new process; nothing else",
            "proof": f"mean latency of {_REQUESTS} test requests before the change and after it",
        },
    )


def diagnose(analysis: Analysis, settings: Mapping[str, Any]) -> tuple[str, str]:
    """Cause and component."""
    groups = analysis.public["servers"]
    weights = {name: settings[f"servers.{name}.weight"] for name in groups}
    for name in groups:
        if settings[f"servers.{name}.count"] == 0:
            return "missing_server", name
        if weights[name] > 3 * median(weights.values()):
            return "wrong_weight", name
    if settings["gateway.in_flight"] < settings["model.instances"]:
        return "few_slots", "gateway"
    series = analysis.call("query_metrics_tool", name="model_ms")["series"]
    times = {str(curve["labels"]["server"]): fmean(curve["values"][-5:]) for curve in series}
    slowest = max(times, key=lambda server: times[server])
    if times[slowest] > 2 * median(times.values()):
        return "slow_process", slowest.rpartition("-")[0]
    return "few_instances", "all_servers"


def mend(analysis: Analysis, settings: Mapping[str, Any], cause: str, component: str) -> None:
    """Change the one thing that is wrong."""
    if cause == "slow_process":
        analysis.call("command_server_tool", command="restart", server=f"{component}-0")
        return
    weights = [settings[f"servers.{name}.weight"] for name in analysis.public["servers"]]
    changes: dict[str, dict[str, int]] = {
        "wrong_weight": {f"servers.{component}.weight": int(min(weights))},
        "missing_server": {f"servers.{component}.count": 1},
        "few_slots": {"gateway.in_flight": 12},
        "few_instances": {"model.instances": 3},
    }
    analysis.call("change_specification_tool", changes=changes[cause])
