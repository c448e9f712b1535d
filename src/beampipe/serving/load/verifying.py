"""Before anything is timed: are the labels right?"""

from __future__ import annotations

from beampipe.errors import DeadlineError, WrongLabelsError
from beampipe.serving.load.sending import Sender, Workload

__all__ = ["verify"]


def verify(sender: Sender, workload: Workload, *, patience: float = 300.0) -> None:
    """Send each event once, one after the other, and compare its labels byte for byte.

    Raises:
        WrongLabelsError: labels differ, or there are none.
        DeadlineError: no answer came for `patience` seconds.
    """
    for event in range(len(workload)):
        sender.send(event, event)
        answers = sender.answers(patience)
        if not answers:
            raise DeadlineError(f"load: got no answer to event {event} for {patience:g} s")
        fault = answers[0].error
        if answers[0].labels is not None:
            fault = workload.difference(event, answers[0].labels)
        if fault is not None:
            raise WrongLabelsError(fault)
