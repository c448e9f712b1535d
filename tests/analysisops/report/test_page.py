"""What is in the page, and what must not be."""

from __future__ import annotations

import base64
import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beampipe.analysisops.report import write_report
from beampipe.analysisops.report.page import RunData, labels_and_pulls, read_run_data, templates
from beampipe.analysisops.runs.engine import RunFolder
from beampipe.analysisops.seeds import Seeds
from beampipe.errors import FileError, InputError
from tests.analysisops.report.made_up import HOSTILE, make_run

AGENTS = ("scripted", "llm", "recall", "nop", HOSTILE)


class Read(HTMLParser):
    """The elements of a page, and the text outside of its scripts and its style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.texts.append(data)


def unpacked(page: str) -> list[dict[str, Any]]:
    """The details that a page carries."""
    (packed,) = re.findall(r'<script type="text/plain" id="details">([^<]*)</script>', page)
    details: list[dict[str, Any]] = json.loads(gzip.decompress(base64.b64decode(packed)))
    return details


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run") / "first", AGENTS, families=("zmumu", "hyy"), levels=(1, 3))


@pytest.fixture(scope="module")
def run(folder: Path) -> RunData:
    return read_run_data(folder)


@pytest.fixture(scope="module")
def page(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(folder, tmp_path_factory.mktemp("page") / "new/index.html").read_text()


def test_the_page_needs_nothing_and_asks_for_nothing(page: str) -> None:
    read = Read(page)
    assert {attributes.get("type") for tag, attributes in read.elements if tag == "script"} == {
        "application/json",
        "text/plain",
        None,
    }
    for tag, attributes in read.elements:
        assert not {"src", "style", "srcset", "action"} & attributes.keys(), tag
        assert not [name for name in attributes if name.startswith("on")], tag
        assert attributes.get("href") in (None, "data:,")
    policy = next(item["content"] for tag, item in read.elements if item.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_what_an_agent_wrote_is_no_markup(page: str, run: RunData) -> None:
    assert HOSTILE in run.agents, "an agent may choose its name, too"
    assert not {"img", "b1"} & {tag for tag, _ in Read(page).elements}
    assert sum(tag == "script" for tag, _ in Read(page).elements) == 3
    assert page.count("window.hacked=2</script>") == 0
    assert "{{" not in "".join(Read(page).texts).replace("{{rows}}", ""), "each place of the page is filled, once"
    assert HOSTILE in "".join(Read(page).texts)
    assert any(issue["message"] == HOSTILE for detail in unpacked(page) for issue in detail["issues"])


def test_the_leaderboard_tells_means_errors_and_failures(run: RunData) -> None:
    tables = templates().get_template("tables.html").module
    text = str(getattr(tables, "leaderboard")(run))  # noqa: B009 - the type of a template has no macros
    assert run.agents[0] == "scripted"
    scripted, llm = run.by_agent["scripted"], run.by_agent["llm"]
    assert scripted.error is not None
    assert f"{scripted.mean:.3f} ± {scripted.error:.3f}" in text
    assert llm.errors > 0
    assert f"{llm.errors} × agent failed" in text
    assert text.count("8 × gate closed") == 2
    mean, error = run.behind("llm")
    assert f"{mean:.3f} ± {error:.3f}" in text
    assert str(getattr(tables, "families")(run)).count('class="cell') == len(AGENTS) * 2  # noqa: B009


def test_pulls_and_origins_are_those_of_the_records(run: RunData, folder: Path) -> None:
    assert run.origins["scripted"] == {"traceable": 8}
    assert run.origins["recall"] == {"no_reference": 8}
    assert run.origins["nop"] == {}
    expected = []
    for record in RunFolder(folder).records():
        if record["assessment"]["agent"] == "scripted":
            answer, truth = record["submission"]["answers"]["mass"], record["reference"]["instance"]["truth"]["mass"]
            expected.append((answer["value"] - truth) / answer["uncertainty"])
    assert list(run.pulls["scripted"]) == pytest.approx(expected)


def test_details_say_where_points_were_lost(run: RunData) -> None:
    place = next(i for i, row in enumerate(run.rows) if row["agent"] == "llm" and row["status"] == "ok")
    gate, mass, *_ = run.details[place]["checks"]
    assert (gate["id"], gate["max"], gate["passed"]) == ("traceable", 0.0, True)
    assert 0 <= mass["points"] < mass["max"] == 60.0
    assert mass["reason"] == f"pull {float(dict(mass['evidence'])['pull']):.2f}"
    failed = next(i for i, row in enumerate(run.rows) if row["status"] == "error")
    assert run.details[failed]["error"] == "no answer within 600 s"


def test_secret_seeds_keep_their_references(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of many more bytes than thirty-two bytes")
    folder = make_run(tmp_path / "run", ("scripted",), families=("zmumu",), seeds=Seeds.first(1, secret), levels=(1,))
    page = write_report(folder, tmp_path / "kept.html").read_text()
    kept = page + json.dumps(unpacked(page))
    output = write_report(folder, tmp_path / "told.html", references="all").read_text()
    output = output + json.dumps(unpacked(output))
    [record] = RunFolder(folder).records()
    best = record["reference"]["instance"]["quantities"]["mass"]
    pull = record["grade"]["checks"][1]["evidence"]["pull"]
    for number in (best["value"], best["uncertainty"], pull):
        assert str(number)[:7] in output
        assert str(number)[:7] not in kept
    assert str(record["reference"]["instance"]["truth"]["mass"])[:7] not in kept
    assert "expected about" in output
    for words in ("expected about", str(record["submission"]["answers"]["mass"]["value"])):
        assert words not in kept
    assert '"reference"' not in json.dumps(unpacked(page))
    score = record["grade"]["final"]["normalized_score"]
    assert f"{round(score, 2):.3f}" in kept
    assert f"{score:.3f}" not in kept
    assert "Secret seeds, fingerprint" in kept
    assert "not in this page" in kept
    plain = write_report(make_run(tmp_path / "dev", ("scripted",), levels=(1,)), tmp_path / "d.html", references="none")
    assert '"reference"' not in json.dumps(unpacked(plain.read_text()))


def test_what_is_missing_is_said(folder: Path, tmp_path: Path) -> None:
    broken = make_run(tmp_path / "run", ("scripted", "nop"), families=("zmumu",), levels=(1,))
    place = RunFolder(broken)
    for path in place.store.root.rglob("*.about.json"):
        if "nop" in path.read_text():
            path.unlink()
    page = write_report(broken, tmp_path / "index.html").read_text()
    assert "2 assessments are missing" in page
    assert "2 × missing" in page
    assert read_run_data(broken).agents == ("scripted", "nop")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=8), inside, max_size=4),
    max_leaves=20,
)
SECTIONS = st.sampled_from(["answers", "words", "histograms", "method", "comments", "status", "mass", "value"])


@given(st.dictionaries(SECTIONS, st.dictionaries(SECTIONS, VALUES, max_size=4) | VALUES) | VALUES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_submitted_can_be_counted(folder: Path, submission: object) -> None:
    record = {**next(RunFolder(folder).records()), "submission": json.loads(json.dumps(submission), parse_constant=str)}
    numbers = labels_and_pulls(record, record["grade"])
    json.dumps(numbers, allow_nan=False).encode()


def test_no_run_and_no_place_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="expected the plan of a run"):
        write_report(tmp_path, tmp_path / "index.html")
    with pytest.raises(FileError, match="expected a file to write"):
        write_report(folder, tmp_path)
    empty = RunFolder(tmp_path / "empty")
    (tmp_path / "empty").mkdir()
    empty.write_plan([])
    with pytest.raises(InputError, match="of which nothing is done yet"):
        write_report(empty.path, tmp_path / "index.html")
