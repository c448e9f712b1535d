from __future__ import annotations

import threading
import time

from beampipe.errors import ConfigError
from beampipe.triton.supervision.supervisor import CanaryProbes
from tests.triton.waiting import wait_until


def test_one_question_for_each_model_waits_for_its_answer() -> None:
    request: list[str] = []
    free = threading.Event()

    def ask(model: str) -> bool:
        request.append(model)
        if model == "slow":
            free.wait(20)
        return True

    answers = CanaryProbes(ask, period=0.05)
    begin = time.monotonic()

    def quick_was_asked_again_and_again() -> bool:
        answers.send(["quick", "slow"])
        return request.count("quick") > 2

    wait_until(quick_was_asked_again_and_again)
    wait_until(lambda: "quick" not in answers.waiting())
    assert request.count("slow") == 1
    assert answers.waiting()["slow"] >= begin
    answers.forget("slow")
    assert answers.waiting() == {}, "asked anew, when that is due"
    answers.send(["slow"])
    assert answers.waiting()["slow"] > begin
    answers.send([])
    assert answers.waiting() == {}, "it was unloaded"
    free.set()


def test_bad_answers_in_a_row_are_told_once() -> None:
    output: list[str] = []

    def ask(model: str) -> bool:
        raise ConfigError("another TRACK_ID")

    answers = CanaryProbes(ask, output.append, period=0.0)

    def again() -> bool:
        answers.send(["one"])
        return bool(output)

    wait_until(again)
    for _ in range(10):
        again()
        time.sleep(0.01)
    assert output == ["another TRACK_ID"]
