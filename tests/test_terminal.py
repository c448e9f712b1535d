"""Tables and bars: on a terminal, and in a file."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner

from beampipe import terminal
from beampipe.terminal.commands import Commands, options_of, with_options

BARS = """
import time
from beampipe.terminal import bar
with bar("events", 3) as step:
    for _ in range(2):
        step()
    time.sleep(0.5)  # a bar is drawn ten times a second
"""


@pytest.fixture(autouse=True)
def _no_wishes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


def test_a_log_on_a_full_disk_loses_lines_and_goes_on() -> None:
    code = (
        "import sys; from beampipe import terminal\nfor _ in range(3): terminal.log('text')\nsys.stderr.write('5\\n')"
    )
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr.startswith("5\n")
    assert "Traceback" not in done.stderr


def on_a_terminal(code: str) -> str:
    """What a program writes if output and errors go to a terminal."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm"}
    subprocess.run([sys.executable, "-c", code], stdout=theirs, stderr=theirs, env=environ, check=True)
    os.close(theirs)
    result = b""
    try:
        while chunk := os.read(ours, 1 << 16):
            result += chunk
    except OSError:  # how Linux says that nobody holds the other end
        pass
    os.close(ours)
    return result.decode()


def printed(table: Table) -> list[str]:
    console = terminal.console()
    with console.capture() as captured:
        console.print(table)
    return captured.get().splitlines()


def test_lines_in_a_file_are_wide_and_plain(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.console().print("[red]" + "x" * terminal.WIDTH + "[/red]")
    terminal.console(10).print("y" * 11)
    assert capsys.readouterr().out == "x" * terminal.WIDTH + "\n" + "y" * 10 + "\ny\n"


def test_a_terminal_has_its_own_width() -> None:
    code = "import os, fcntl, termios, struct; fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 9, 33, 0, 0));"
    assert on_a_terminal(f"{code} from beampipe.terminal import console; print(console().width)") == "33\r\n"


def test_a_table_has_text_on_the_left_and_numbers_on_the_right() -> None:
    table = terminal.make_table("sizes", ("finder",), ("hits", "tracks"), caption="medians")
    table.add_row("a", "1", "2")
    title, _, head, _, row, _, caption = printed(table)
    assert (title.strip(), caption.strip()) == ("sizes", "medians")
    assert head == "┃ finder ┃ hits ┃ tracks ┃"
    assert row == "│ a      │    1 │      2 │"


def test_units_in_heads_are_no_markup() -> None:
    table = terminal.make_table("", ("finder",), ("p50 [ms]", "time [s]"))
    table.add_row("a", "1", "2")
    assert "┃ finder ┃ p50 [ms] ┃ time [s] ┃" in printed(table)
    assert "not shown in this width: time [s]" in " ".join(" ".join(fitted(table, 26)).split())


def test_a_table_without_title_and_caption_has_no_empty_lines() -> None:
    lines = printed(terminal.make_table("", ("a",)))
    assert lines
    assert all(line.strip() for line in lines)


def fitted(table: Table, width: int) -> list[str]:
    """Lines of a table on a terminal of that width."""
    console = Console(width=width, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return captured.get().splitlines()


@pytest.fixture
def rates() -> Table:
    table = terminal.make_table("", ("finder", "what it is"), ("hits", "fakes", "time"), importance=("time", "fakes"))
    table.add_row("a_finder", "windows and no networks", "1000", "0.1234 ± 0.0012", "12")
    return table


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (160, ["finder", "what it is", "hits", "fakes", "time"]),
        (64, ["finder", "what it is", "hits", "fakes", "time"]),
        (50, ["finder", "hits", "fakes", "time"]),
        (42, ["finder", "fakes", "time"]),
        (36, ["finder", "time"]),
        (12, ["finder"]),
    ],
)
def test_a_narrow_terminal_gets_fewer_columns_and_whole_numbers(rates: Table, width: int, columns: list[str]) -> None:
    lines = fitted(rates, width)
    assert max(map(len, lines)) <= width
    assert [head.strip() for head in lines[1].strip("┃").split("┃")][: len(columns)] == columns
    text = " ".join(lines)
    for head, number in {"hits": "1000", "fakes": "0.1234 ± 0.0012", "time": "12"}.items():
        assert (f" {number} │" in text) == (head in columns)
        assert (head in columns) or head in text.split("not shown")[1]
    assert ("not shown" in text) == (len(columns) < 5)


def test_text_is_wrapped_between_words_before_a_column_is_left_out(rates: Table) -> None:
    text = "\n".join(fitted(rates, 64))
    assert "windows" in text
    assert "networks" in text


def test_a_row_may_depend_on_a_column() -> None:
    table = terminal.make_table("", ("finder", "majority"), ("efficiency",), importance=("efficiency",))
    table.add_row("a", "double", "0.9")
    table.add_row("", "single", "0.8", only_with="majority")
    assert "0.8" in "".join(fitted(table, 80))
    assert "0.8" not in "".join(fitted(table, 30))


def test_a_file_gets_all_columns(rates: Table) -> None:
    console = Console(width=40, file=io.StringIO())
    with console.capture() as captured:
        console.print(rates)
    assert "not shown" not in captured.get()


def test_an_unknown_column_is_not_important() -> None:
    with pytest.raises(ValueError, match="is not in"):
        terminal.make_table("", ("finder",), ("hits",), importance=("tracks",))


def test_a_bar_is_drawn_on_a_terminal_only() -> None:
    drawn = on_a_terminal(BARS)
    assert "events" in drawn
    assert "2/3" in drawn
    done = subprocess.run([sys.executable, "-c", BARS], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_bars_may_follow_each_other_and_need_no_total() -> None:
    with terminal.bars() as progress:
        for total in (2, None):
            with progress("files", total) as step:
                step()


def test_an_overall_bar_advances_with_the_bars_below_it() -> None:
    steps = dict.fromkeys(("all [%]", "a", "b"), 0)

    @contextmanager
    def record(what: str, total: int | None) -> Iterator[Callable[[], None]]:
        def step() -> None:
            steps[what] += 1

        yield step

    token = terminal._OVERALL.set(record)
    with terminal.overall_bar("all", [("a", 0.5), ("a", 0.5), ("b", 3.0)]):
        for _ in range(2):
            with terminal.bar("a"):
                pass
        assert steps == {"all [%]": 25, "a": 0, "b": 0}
        with terminal.bar("b", 3) as step:
            step()
            assert steps == {"all [%]": 50, "a": 0, "b": 1}
            step()
        assert steps == {"all [%]": 100, "a": 0, "b": 2}  # one that ends early has used up its share
    terminal._OVERALL.reset(token)


def test_an_overall_bar_is_drawn_above_the_others() -> None:
    code = "from beampipe.terminal import bar, overall_bar\nwith overall_bar('all', [('a', 1.0)]), bar('a', 3): pass"
    drawn = on_a_terminal(code)
    assert "all [%]" in drawn
    assert "0/3" in drawn


def test_rich_is_not_loaded_before_something_is_drawn() -> None:
    code = "import sys, beampipe.terminal; assert not [name for name in sys.modules if name.split('.')[0] == 'rich']"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_live_takes_the_place_of_the_last() -> None:
    code = """
from beampipe.terminal import console, live
with live(console(), transient=True) as show:
    show("first")
    show("second")
print("after")
"""
    output = on_a_terminal(code)
    assert "first" in output
    assert "second" in output
    assert output.index("\x1b[2K", output.index("second")) < output.index("after"), "the line is erased at the end"


@dataclass(frozen=True)
class Beam:
    """A beam.

    Attributes:
        energy: energy of a proton [GeV].
        spot: coordinates in the transverse plane [mm]; several lines of help
            are one.
        filled: numbers of filled bunches. [default: all]
        label: text that is no option.
    """

    energy: float
    spot: tuple[float, float] = (0.0, 0.0)
    filled: tuple[int, ...] = ()
    label: str = "fill"


def test_options_are_the_fields_of_a_dataclass() -> None:
    app, seen = Commands("Beams."), []

    @app.command()
    @with_options(beam=options_of(Beam, without=("label",)))
    def show(beam: Beam, *, twice: bool = False) -> None:
        """Show the beam."""
        seen.append((beam, twice))

    runner = CliRunner()
    words = ["--energy", "6800", "--spot", "0.1", "-0.2", "--filled", "1", "--filled", "5", "--twice"]
    assert runner.invoke(app, words).exit_code == 0
    assert runner.invoke(app, ["--energy", "450"]).exit_code == 0
    assert seen == [(Beam(6800.0, (0.1, -0.2), (1, 5)), True), (Beam(450.0), False)]
    assert runner.invoke(app, []).exit_code == 2
    shown = " ".join(runner.invoke(app, ["--help"]).output.split())
    for text in (
        "Energy of a proton [GeV].",
        "several lines of help are one.",
        "Numbers of filled bunches; may be given several times.",
        "[default: (all)]",
    ):
        assert text in shown
    assert "--label" not in shown
