"""Operators of the running fleet: sound ones with other repairs than the reference, and ones with a mistake.

`RANK` is the order that their scores should have, stated before anything is graded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from beampipe.analysisops.agents.agent import Tools, submission
from beampipe.analysisops.agents.analysis import Analysis, open_files
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.tasks.load import load_program, program_file

_TASK: Final[Any] = load_program(program_file("fleet"))

Settings = Mapping[str, Any]
Repair = Callable[[Analysis, Settings, str, str], None]
"""Mends cause and component with the tools of an analysis, from the settings."""


def setting(name: str, value: int | str) -> Repair:
    """Change one setting; COMPONENT in its name stands for the faulty group."""

    def repair(analysis: Analysis, settings: Settings, cause: str, component: str) -> None:
        analysis.call("change_specification_tool", changes={name.replace("COMPONENT", component): value})

    return repair


def drain(analysis: Analysis, settings: Settings, cause: str, component: str) -> None:
    """Take the server out of service."""
    analysis.call("command_server_tool", command="drain", server=f"{component}-0")


def raise_others(analysis: Analysis, settings: Settings, cause: str, component: str) -> None:
    """Give all groups the largest weight."""
    groups = analysis.public["servers"]
    analysis.call("change_specification_tool", changes={f"servers.{name}.weight": 200 for name in groups})


def other_server(analysis: Analysis, settings: Settings, cause: str, component: str) -> None:
    """Start another server in a group that has one."""
    other = next(name for name in analysis.public["servers"] if name != component)
    analysis.call("change_specification_tool", changes={f"servers.{other}.count": 2})


def nothing(analysis: Analysis, settings: Settings, cause: str, component: str) -> None:
    """Change nothing."""


def wrong_server(analysis: Analysis, settings: Settings, cause: str, component: str) -> None:
    """Restart a healthy server."""
    other = next(name for name in analysis.public["servers"] if name != component and settings[f"servers.{name}.count"])
    analysis.call("command_server_tool", command="restart", server=f"{other}-0")


def restart_all(analysis: Analysis, settings: Settings, cause: str, component: str) -> None:
    """Restart every server."""
    for server in analysis.call("list_members_tool")["servers"]:
        analysis.call("command_server_tool", command="restart", server=str(server["server"]))


def restore_all(analysis: Analysis, settings: Settings, cause: str, component: str) -> None:
    """Give every setting a usual value, and restart every server."""
    usual: dict[str, int | str] = {"gateway.in_flight": 12, "model.instances": 3}
    for name in analysis.public["servers"]:
        usual |= {f"servers.{name}.count": 1, f"servers.{name}.weight": 10}
    analysis.call("change_specification_tool", changes=usual)
    restart_all(analysis, settings, cause, component)


def drain_healthy(analysis: Analysis, settings: Settings, cause: str, component: str) -> None:
    """Take a healthy server out of service, which makes it worse."""
    other = next(name for name in analysis.public["servers"] if name != component and settings[f"servers.{name}.count"])
    analysis.call("command_server_tool", command="drain", server=f"{other}-0")


SOUND: Final[Mapping[str, Mapping[str, Repair]]] = {
    "slow_process": {
        "drained": drain,
        "hardly any weight": setting("servers.COMPONENT.weight", 1),
        "least connections": setting("gateway.balancing", "least_connections"),
        "removed": setting("servers.COMPONENT.count", 0),
    },
    "wrong_weight": {"the others raised": raise_others, "drained": drain},
    "missing_server": {"another server": other_server},
    "few_slots": {"as many as instances": setting("gateway.in_flight", 3)},
    "few_instances": {"one more than before": setting("model.instances", 4)},
}
"""Sound repairs of each cause, other than the reference's."""


@dataclass(frozen=True)
class Operator:
    """The reference analysis with another repair, other words, or another proof.

    Attributes:
        repair: mends; None for that of the reference.
        words: whether cause and component are named right.
        proof: what is stated: latencies before and after, only before, both measured after the repair, or numbers that
            no tool gave.
    """

    repair: Repair | None = None
    words: Literal["right", "wrong component", "wrong cause", "wrong"] = "right"
    proof: Literal["measured", "only before", "too late", "invented", "none"] = "measured"

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        """The submission."""
        analysis = open_files(request, tools)
        settings = analysis.call("show_specification_tool")["specification"]
        cause, component = _TASK.diagnose(analysis, settings)
        first = self._latency(analysis) if self.proof != "too late" else None
        (self.repair or _TASK.mend)(analysis, settings, cause, component)
        last = self._latency(analysis)
        before, after = first or self._latency(analysis), last
        answers = {"latency_before": before, "latency_after": after}
        if self.proof == "invented":
            answers["latency_after"] = (200.0, 5.0)
        elif self.proof in ("only before", "none"):
            del answers["latency_after"]
        if self.proof == "none":
            del answers["latency_before"]
        if self.words in ("wrong component", "wrong"):
            component = "heath" if component != "heath" else "gateway"
        if self.words in ("wrong cause", "wrong"):
            cause = "small_queue"
        method = {"diagnosis": "settings and times compared", "repair": "one change", "proof": "test requests"}
        return submission(
            request.task_id, answers=answers, words={"cause": cause, "component": component}, method=method
        )

    def _latency(self, analysis: Analysis) -> tuple[float, float]:
        sent = analysis.call("send_requests_tool", number=10)
        return sent["latency_ms"], sent["latency_error_ms"]


MISTAKES: Final[Mapping[str, Operator]] = {
    "none": Operator(),
    "mended without proof": Operator(proof="none"),
    "proof of before only": Operator(proof="only before"),
    "before measured after the repair": Operator(proof="too late"),
    "named, nothing changed": Operator(nothing),
    "all restored, nothing named": Operator(restore_all, words="wrong"),
    "right place, wrong cause, nothing changed": Operator(nothing, words="wrong cause"),
    "healthy server restarted, wrong place": Operator(wrong_server, words="wrong component"),
    "healthy server drained, all wrong": Operator(drain_healthy, words="wrong"),
    "nothing changed, all wrong": Operator(nothing, words="wrong"),
    "invented latency": Operator(proof="invented"),
}

RANK: Final[Mapping[str, int]] = {
    "none": 5,
    "mended without proof": 4,
    "proof of before only": 4,
    "before measured after the repair": 4,
    "named, nothing changed": 3,
    "all restored, nothing named": 3,
    "right place, wrong cause, nothing changed": 2,
    "healthy server restarted, wrong place": 1,
    "healthy server drained, all wrong": 1,
    "nothing changed, all wrong": 1,
    "invented latency": 0,
}
"""Order of the scores: whole work, mended, half of the work, a part of the diagnosis, nothing, a forged answer."""
