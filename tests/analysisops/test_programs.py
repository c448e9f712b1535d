"""Programs that bring their own code: what they are given, and what they may leave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from beampipe.analysisops.artifacts import ask_program
from beampipe.analysisops.assessment import assess
from beampipe.analysisops.instances import PreparedInstance
from beampipe.analysisops.registry import agent_choice
from tests.analysisops.redteam.target import SEED
from tests.analysisops.test_artifacts import HONEST


@pytest.fixture(scope="module")
def prepared(instance: Callable[[str], PreparedInstance]) -> PreparedInstance:
    return instance("hyy")


@pytest.mark.parametrize(
    ("program", "lowest", "highest", "said"),
    [
        (HONEST.replace('os.environ["DATA"]', 'os.environ["BEAMPIPE_DATA"]'), 0.95, 1.0, ""),
        ("raise SystemExit(3)", 0.0, 0.0, "exit status 3"),
        ("print('done')", 0.0, 0.0, "artifacts.json"),
        ("import socket; socket.create_connection(('127.0.0.1', 1))", 0.0, 0.0, "exit status"),
    ],
    ids=["honest", "fails", "leaves nothing", "wants the network"],
)
def test_a_program_is_graded_by_what_it_leaves(
    prepared: PreparedInstance, tmp_path: Path, program: str, lowest: float, highest: float, said: str
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(program)
    record = assess(prepared, 2, SEED, ask_program(file, prepared), tmp_path / "ledger")
    assert lowest <= record.grade["final"]["normalized_score"] <= highest, record.error
    assert said in record.error


def test_a_program_is_told_the_task_and_nothing_hidden(prepared: PreparedInstance, tmp_path: Path) -> None:
    file = tmp_path / "spy.py"
    file.write_text(
        "import os, json\n"
        "told = json.load(open(os.environ['BEAMPIPE_REQUEST']))\n"
        "files = sorted(os.listdir(os.environ['BEAMPIPE_DATA']))\n"
        "print(files, 'artifacts.json' in told['prompt'], sorted(os.environ))\n"
        "raise SystemExit(1)\n"
    )
    record = assess(prepared, 2, SEED, ask_program(file, prepared), tmp_path / "ledger")
    assert "['data.root', 'manifest.json'] True" in record.error
    assert "BEAMPIPE_DATA" in record.error
    assert "USER" not in record.error


@pytest.mark.parametrize(
    ("text", "name", "url"),
    [
        ("http://127.0.0.1:9019/", "http://127.0.0.1:9019/", "http://127.0.0.1:9019/"),
        ("mine v2=http://127.0.0.1:9019/a?b=c", "mine v2", "http://127.0.0.1:9019/a?b=c"),
        (
            "http://127.0.0.1:9019/?x=http://y/",
            "http://127.0.0.1:9019/?x=http://y/",
            "http://127.0.0.1:9019/?x=http://y/",
        ),
    ],
)
def test_an_agent_at_an_address_may_have_a_name(text: str, name: str, url: str) -> None:
    choice = agent_choice(text)
    assert (choice.name, choice.settings) == (name, {"url": url})


def test_a_program_is_chosen_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("one")
    one = agent_choice(str(file))
    file.write_text("two")
    assert one.name == "mine"
    assert one.settings["digest"] != agent_choice(str(file)).settings["digest"]
