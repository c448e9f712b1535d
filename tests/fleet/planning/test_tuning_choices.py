"""Choices are data: combined, read from a file, and refused where they mean nothing."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from beampipe.errors import BeampipeError
from beampipe.fleet.planning.tuning import Choices, Configuration, choices_here, read_choices


def read(folder: Path, text: str) -> Choices:
    path = folder / "choices.toml"
    path.write_text(text)
    return read_choices(path)


def test_all_combinations_once_and_the_server_changes_seldom(tmp_path: Path) -> None:
    choices = read(tmp_path, 'instances = [2, 1, 2]\nbatch = [0, 8]\nprotocol = ["http", "grpc"]\n')
    results = choices.all()
    assert len(results) == 8
    assert results[:2] == [Configuration(1, 1, 0, "grpc"), Configuration(1, 1, 0, "http")]
    servers = [(result.instances, result.threads, result.batch) for result in results]
    assert sum(item != before for before, item in pairwise(servers)) == 3


def test_choices_fit_the_machine() -> None:
    choices = choices_here()
    assert choices.instances[-1] == 2 * choices.threads[-1]
    assert len(choices.all()) <= 128


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("instances = [0]", "from 1 on"),
        ("batch = [-1]", "from 0 on"),
        ("threads = []", "one or more"),
        ("protocol = []", "one or more"),
        ('protocol = ["gprc"]', "did you mean 'grpc'"),
        ("instance = [1]", "did you mean 'instances'"),
    ],
)
def test_what_means_nothing_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BeampipeError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
