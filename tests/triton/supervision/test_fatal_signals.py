from __future__ import annotations

from pathlib import Path

import pytest

from beampipe.triton.supervision.hangs import FatalSignalLog


@pytest.mark.parametrize("number", [6, 11])
def test_the_line_is_found_even_in_parts(tmp_path: Path, number: int) -> None:
    log = tmp_path / "log"
    log.write_text("Signal (6) received.\n")
    signals = FatalSignalLog(log)
    assert not signals.seen(), "that was another server"
    with log.open("a", buffering=1) as stream:
        stream.write("I1125 started\nSig")
        stream.flush()
        assert not signals.seen()
        stream.write(f"nal ({number}) rec")
        stream.flush()
        assert not signals.seen()
        stream.write("eived.\n 0# 0x00005C in tritonserver\n")
        assert signals.seen()
        assert not signals.seen(), "told once"


def test_the_line_is_found_in_a_log_that_has_begun_anew(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(1000 * "x")
    signals = FatalSignalLog(log)
    log.write_text("Signal (11) received.\n")
    assert signals.seen()


@pytest.mark.parametrize("line", ["Signal (15) received.", "Signal (2) received.", "hits: Signal (6) received."])
def test_other_lines_are_none(tmp_path: Path, line: str) -> None:
    signals = FatalSignalLog(tmp_path / "log")
    assert not signals.seen(), "no log yet"
    (tmp_path / "log").write_text(f"{line}\n" + 100 * "x")
    assert not signals.seen()
