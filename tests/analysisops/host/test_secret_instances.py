"""Nothing of a secret instance leaves its host, unless the owner exports it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from beampipe.analysisops.agents.serving import serving_agent
from beampipe.analysisops.evaluation import Conditions, host_assess
from beampipe.analysisops.host import HostSettings, parse_request, shown
from beampipe.analysisops.registry import make_agent
from beampipe.analysisops.report import write_report
from beampipe.analysisops.runs.engine import RunFolder
from beampipe.analysisops.seeds import Seeds
from tests.analysisops.report.test_page import unpacked

from .test_assessment import request_text


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Seeds:
    file = tmp_path_factory.mktemp("secret") / "secret"
    file.write_text("a secret of more than thirty-two bytes, of this test")
    return Seeds.first(1, file)


@pytest.fixture(scope="module")
def records(secret: Seeds, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The records of a host after one assessment of a secret instance."""
    folder = tmp_path_factory.mktemp("host")
    work = host_assess(["zmumu"], folder / "records", conditions=Conditions(folder / "instances"))
    with serving_agent(make_agent("scripted")) as url:
        assert work(url, "zmumu", 3, secret)["final"]["normalized_score"] > 0.95
    return folder / "records"


def test_records_and_logs_of_a_host_hold_no_secret_seed(records: Path, secret: Seeds) -> None:
    (seed,) = secret.of("zmumu", 3)
    texts = [path.read_text(errors="replace") for path in records.rglob("*") if path.is_file()]
    assert any("eval-1" in text for text in texts)
    assert not [text for text in texts if str(seed.value) in text or "dev-" in text]
    (record,) = RunFolder(records).records()
    assert record["assessment"]["secret"] == seed.secret
    assert record["grade"]["seed"] == "eval-1"


def test_the_page_of_a_host_shows_scores_of_secret_instances_alone(records: Path, tmp_path: Path) -> None:
    (record,) = RunFolder(records).records()
    best, truth = (record["reference"]["instance"][name]["mass"] for name in ("quantities", "truth"))
    answer = record["submission"]["answers"]["mass"]
    shown = [f"{number:.6g}" for number in (best["value"], best["uncertainty"], answer["value"])]
    hidden = [*shown, f"{truth:.6g}", record["ledger"][-1]["tool"], "mass of"]
    page, private = (
        write_report(records, tmp_path / f"{references}.html", references=references).read_text()
        for references in ("development", "all")
    )
    kept, told = (json.dumps(unpacked(text)) for text in (page, private))
    assert not [text for text in hidden if text in kept]
    assert not [text for text in hidden[:4] if text in page]
    assert not [text for text in shown if text not in told]
    assert '"mass"' in kept, "the checks are there, with their points"


def test_results_that_are_sent_hold_nothing_of_a_secret_instance(records: Path, secret: Seeds) -> None:
    settings = HostSettings(("zmumu",), seeds=secret, levels={"zmumu": 3})
    (assessment,) = parse_request(request_text("http://127.0.0.1:1/"), settings).assessments
    (record,) = RunFolder(records).records()
    sent = json.dumps(shown(record["grade"], assessment))
    best = record["reference"]["instance"]["quantities"]["mass"]
    assert not [number for number in best.values() if isinstance(number, float) and f"{number:.6g}" in sent]
