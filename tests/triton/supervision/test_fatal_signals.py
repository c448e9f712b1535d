from __future__ import annotations

from pathlib import Path

from beampipe.triton.supervision.hangs import FatalSignalLog


def test_the_line_is_found_even_in_parts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("Signal (6) received.\n")
    signals = FatalSignalLog(log)
    assert not signals.seen(), "that was another server"
    with log.open("a", buffering=1) as stream:
        stream.write("I1125 started\nSig")
        stream.flush()
        assert not signals.seen()
        stream.write("nal (6) rec")
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
