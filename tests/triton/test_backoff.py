from __future__ import annotations

from pathlib import Path

from beampipe.processes import ManagedProcess
from beampipe.triton.backoff import RestartedProgram, RestartPause


def pauses_of(pause: RestartPause, lived: float, count: int) -> list[float]:
    """The pauses of something that lives for a time [s] after each start."""
    now, result = 0.0, []
    for _ in range(count):
        now += lived
        result.append(pause.before_next(now))
        now += result[-1]
        pause.started(now)
    return result


def test_pauses_double_and_are_bounded() -> None:
    assert pauses_of(RestartPause(free=2, longest=5.0), 0.1, 8) == [0.0, 0.0, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert pauses_of(RestartPause(), 0.1, 2000)[-1] == 30.0, "for ever"


def test_what_has_held_is_forgiven() -> None:
    pause = RestartPause(free=1)
    assert pauses_of(pause, 0.1, 3)[-1] == 1.0
    assert pause.before_next(1e6) == 0.0


def test_a_program_is_started_again_and_killed_if_it_hangs(tmp_path: Path) -> None:
    process, output, hung = ManagedProcess(tmp_path / "log"), list[str](), list[int | None]()
    command = ["sh", "-c", "echo begun; exec sleep 100"]
    program = RestartedProgram(
        "it", process, lambda: process.start(command), lambda: process.pid in hung, output.append, RestartPause(free=5)
    )
    program.update()  # the first start is no incident
    first = process.pid
    program.update()
    assert (first is not None, process.pid, output) == (True, first, [])
    while process.last_lines() != ["begun"]:
        pass
    hung.append(first)
    program.update()
    assert process.wait(60.0)
    program.update()
    assert process.pid not in (None, first)
    assert output == [f"it: hangs; killing process {first}", "it: has ended (begun); starting another"]
    process.kill()
    process.wait()
