"""A decision as people see it, and as it travels from the keeper of a fleet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from beampipe.fleet.gateway.asking import Replies
from beampipe.fleet.releases.answers import AnswersOfModel
from beampipe.fleet.releases.measured import Measured, ModelTimes
from beampipe.fleet.releases.rule import Decision
from beampipe.terminal import make_table

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["decision_of", "decision_tables"]


def decision_of(table: Mapping[str, Any]) -> Decision:
    """The decision of a table, as `dataclasses.asdict` and JSON have made it."""
    return Decision(
        table["promoted"],
        tuple(table["reasons"]),
        table["compared"],
        tuple(AnswersOfModel(**{**one, "outputs": tuple(one["outputs"])}) for one in table["answers"]),
        tuple(ModelTimes(one["model"], Measured(**one["old"]), Measured(**one["new"])) for one in table["times"]),
        Replies(**table["old"]),
        Replies(**table["new"]),
        table["seconds"],
    )


def decision_tables(decision: Decision) -> tuple[Table, Table]:
    """The evidence of a decision: the answers that were compared, and the times of clients' requests."""
    answers = make_table(f"answers to {decision.compared}", ("model", "outputs"), ("requests", "different"))
    for one in decision.answers:
        answers.add_row(one.model, ", ".join(one.outputs) or "all", str(one.requests), str(one.different))
    title = f"requests of clients: {100 * decision.sent:.1f} % to the new models, for {decision.seconds:.0f} s"
    heads = ("old", "new", "new / old")
    times = make_table(title, ("model", ""), heads)
    times.add_row("all", "replies to clients", str(decision.old.given), str(decision.new.given))
    times.add_row("", "of these, failed", str(decision.old.failed), str(decision.new.failed))
    for found in decision.times:
        old, new = found.old, found.new
        times.add_row(found.model, "answered", str(old.answered), str(new.answered))
        times.add_row("", "in the server [ms]", *_cells(old.latency, new.latency))
        times.add_row("", "in the model [ms]", *_cells(old.compute, new.compute))
        for stage in sorted({*old.stages, *new.stages}):
            times.add_row("", f"stage {stage} [ms]", *_cells(old.stages.get(stage), new.stages.get(stage)))
    return answers, times


def _cells(old: float | None, new: float | None) -> tuple[str, str, str]:
    ratio = "-" if not old or new is None else f"{new / old:.2f}"
    return *("-" if time is None else f"{time:.3g}" for time in (old, new)), ratio  # type: ignore[return-value]
