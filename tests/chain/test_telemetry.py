"""One trace of a chain: in its file, at a collector, and through a fleet to the stages of a server."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from beampipe.calibration import RunSettings
from beampipe.chain.recipes import Plan, make_chunk
from beampipe.chain.report import write_report
from beampipe.chain.run import ChainResult, run_chain, store_of
from beampipe.chain.settings import ChainSettings, TraceSettings, load_settings
from beampipe.chain.telemetry import TRACE, RecordedSpan, TraceTarget, read_trace, recorded, trace_target
from beampipe.errors import ConfigError
from beampipe.events import Event
from beampipe.serving.models import ServingSettings, named_models
from beampipe.simulation.degradation import degrade
from beampipe.tracking.kernels import native
from beampipe.tracking.loading import load_pipeline
from beampipe.triton import export_repository
from beampipe.triton.engine import Engine
from beampipe.triton.server.launch import free_port
from beampipe.workflow import EventLog, Store
from tests.chain.test_chain import digest, small
from tests.fleet.conftest import running_fleet
from tests.fleet.control.test_commands import kill_server, tritons
from tests.triton.collector import Span, collecting
from tests.triton.waiting import wait_until


def traced_by(output: Path, traces: str | None) -> ChainSettings:
    return replace(small(output), telemetry=None if traces is None else TraceSettings(traces))


def test_one_trace_of_all_processes_in_the_file_and_at_a_collector(tmp_path: Path, made: ChainResult) -> None:
    without = made.settings
    assert without.telemetry is None
    with collecting() as collector:
        settings = traced_by(tmp_path / "on", collector.url)
        result = run_chain(settings, RunSettings("processes", 2))
        again = run_chain(settings, RunSettings("inline"))  # nothing is left to do
    # Two workers, and traces, change no byte.
    assert digest(settings) == digest(without)
    for name, path in made.ntuples.items():
        assert result.ntuples[name].name == path.name  # the key
        assert result.ntuples[name].read_bytes() == path.read_bytes()
        for chunk in made.plan.chunks[name]:
            for stage in ("generate", "simulate", "jets"):
                ours, theirs = (store_of(each).find(chunk.recipes[stage]) for each in (settings, without))
                assert ours is not None
                assert theirs is not None
                assert ours.digest == theirs.digest, (name, stage)
    assert not (without.output / TRACE).exists()
    assert not (settings.output / "traces").exists()
    # Another run has another trace, and its file.
    assert [each.name for each in read_trace(settings.output / TRACE, again.trace)][:2] == ["chain", "calibration"]
    assert again.trace != result.trace
    assert read_trace(settings.output / TRACE, result.trace) == []
    sent = [each for each in collector.spans if each.trace == result.trace]
    by_id = {each.span: each for each in sent}
    assert len(by_id) == len(sent)
    assert {each.resource["service.name"] for each in sent} == {"chain"}
    assert [each.name for each in sent if each.parent not in by_id] == ["chain"]
    parents = {(each.name, by_id[each.parent].name) for each in sent if each.parent in by_id}
    stages = {(stage, "chunk") for stage in ("generate", "simulate", "towers", "tracks", "jets")}
    inside = {("chunk", "chunks"), ("event", "tracks"), ("find", "event")}
    after = {(stage, "chain") for stage in ("chunks", "scale", "performance", "ntuple", "calibration", "result")}
    assert parents == stages | inside | after | {("jets of the fit", "chain")}
    assert sum(each.name == "event" for each in sent) == 65
    assert sum(each.name == "tracks" for each in sent) == 7
    for each in sent:
        if each.parent in by_id:
            assert by_id[each.parent].begin <= each.begin <= each.end <= by_id[each.parent].end
    # The report draws the last run.
    assert 'id="trace"' in write_report(again).read_text()
    assert 'id="trace"' not in write_report(replace(again, trace="")).read_text()


def of_two(output: Path) -> ChainSettings:
    """Without telemetry, and with two collisions in a chunk."""
    return replace(small(output), chunk_events=2)


def spans_of_task(folder: Path, target: TraceTarget) -> list[RecordedSpan]:
    (path,) = (folder / "traces").glob("*.jsonl")
    return read_trace(path, target.trace)


def test_spans_are_written_when_a_task_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no hits")

    monkeypatch.setattr("beampipe.chain.stages.simulate", fail)
    target = TraceTarget(tmp_path, "", f"00-{1:032x}-{2:016x}-01")
    with pytest.raises(ValueError, match="no hits"):
        make_chunk(Store(tmp_path / "store"), Plan(of_two(tmp_path)).chunks["data"][0], trace=target)
    spans = spans_of_task(tmp_path, target)
    assert [each.name for each in spans] == ["chunk", "generate", "towers", "simulate"]
    assert spans[0].parent == f"{2:016x}"
    assert {each.parent for each in spans[1:]} == {spans[0].identity}


def test_a_collector_that_does_not_answer_is_reported_before_any_work(tmp_path: Path) -> None:
    with collecting() as collector:
        settings = traced_by(tmp_path / "run", collector.url)
        assert trace_target(settings) == TraceTarget(settings.output, f"{collector.url}/v1/traces")
    with pytest.raises(ConfigError, match=f"no collector answers at {collector.url}/v1/traces"):
        run_chain(settings, RunSettings("inline"))
    assert not settings.output.exists()


def test_a_collector_that_goes_away_stops_no_run(tmp_path: Path) -> None:
    with collecting() as collector:
        target = TraceTarget(tmp_path, collector.url)
    with recorded(target, "chain"):
        pass
    assert "chain" in (tmp_path / TRACE).read_text()


def test_without_telemetry_nothing_is_imported(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from beampipe.chain.recipes import Plan, make_chunk\n"
        "from beampipe.chain.run import store_of; from tests.chain.test_telemetry import of_two\n"
        "for name in [name for name in sys.modules if name.startswith('opentelemetry')]: del sys.modules[name]\n"
        f"settings = of_two(Path({str(tmp_path)!r}))\n"
        "make_chunk(store_of(settings), Plan(settings).chunks['data'][0])\n"
        "print(sorted(name for name in sys.modules if name.startswith('opentelemetry')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_settings_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "chain.toml"
    samples = "".join(f'[samples.{role}]\nrole = "{role}"\nevents = 1\n' for role in ("nominal", "data", "measured"))
    path.write_text(f'output = "x"\n{samples}')
    assert load_settings(path).telemetry is None
    path.write_text(f'output = "x"\n{samples}[telemetry]\n')
    assert load_settings(path).telemetry == TraceSettings()
    path.write_text(f'output = "x"\n{samples}[telemetry]\ntraces = "localhost:4318"\n')
    with pytest.raises(ConfigError, match="expected the URL of a collector"):
        load_settings(path)


@pytest.mark.skipif(native() is None, reason="the package was installed without a compiler")
def test_the_trace_leads_through_a_fleet_and_states_that_a_server_was_killed(
    engine: Engine, tmp_path: Path, made: ChainResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only server of the fleet is killed: the next event waits at the gateway for its successor, none is lost.

    The other address has no server; the span of an event that was sent there says so.
    """
    models = named_models(ServingSettings(("module_map_soft",), backend="native"))
    target = Plan(made.settings).chunks["data"][0].recipes["jets"]
    with collecting() as collector:

        def of_trace(name: str) -> list[Span]:
            return [each for each in collector.spans if (each.trace, each.name) == (trace, name)]

        telemetry = f'[telemetry]\ntraces = "{collector.url}"'
        with running_fleet(1, telemetry, models=lambda folder: export_repository(folder, models)) as fleet:
            events: list[Event] = []
            first = tritons(fleet)

            def degraded(event: Event, *arguments: Any, **options: Any) -> Event:
                events.append(event)
                if len(events) == 5:
                    wait_until(lambda: len(of_trace("compute")) == 4)
                    kill_server(fleet)
                return degrade(event, *arguments, **options)

            monkeypatch.setattr("beampipe.chain.tracks.degrade", degraded)
            settings = traced_by(tmp_path / "run", None)
            # Over gRPC, Triton 2.51 loses some headers.
            urls = (f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{fleet.port}")
            settings = replace(settings, tracks=replace(settings.tracks, servers=urls))
            store = Store(tmp_path / "run/store", log=EventLog(tmp_path / "run/log.jsonl"))
            with recorded(TraceTarget(tmp_path / "run", f"{collector.url}/v1/traces"), "chain") as below:
                assert below is not None
                trace = below.trace
                make_chunk(store, Plan(settings).chunks["data"][0], trace=below)
            wait_until(lambda: len(of_trace("compute")) == 10)
            assert tritons(fleet) not in ([], first)
    finds = [each for each in read_trace(tmp_path / "run" / TRACE, trace) if each.name == "find"]
    assert len(finds) == 10
    assert any(urls[0].removeprefix("http://") in each.attributes.get("repeated", "") for each in finds)
    assert {each.parent for each in of_trace("InferRequest")} == {each.identity for each in finds}
    parents = {each.span for each in of_trace("module_map_soft")}
    for step in load_pipeline("module_map_soft").steps:
        assert {each.parent for each in of_trace(step)} == parents, step
    assert store.require(target).read_bytes() == store_of(made.settings).require(target).read_bytes()
