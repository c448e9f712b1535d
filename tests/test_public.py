"""The public names of the package: which there are, and that a module has the names that it lists."""

from __future__ import annotations

import importlib

import pytest

import beampipe
from tests.test_imports import MODULES, name_of

SURFACE = {
    "beampipe": [
        "__version__",
        "analysisops",
        "calibration",
        "compare",
        "evaluate",
        "fleet",
        "load_pipeline",
        "open_events",
        "serving",
        "shipped_events",
        "simulation",
        "tracking",
        "triton",
        "workflow",
    ],
    "beampipe.analysisops": [
        "Quantity",
        "Reference",
        "Seeds",
        "Task",
        "TaskRequest",
        "evaluate",
        "grade",
        "load_task",
        "rescore",
        "serve_agent",
        "serving_agent",
        "shipped_tasks",
        "submission",
        "write_report",
    ],
    "beampipe.calibration": [
        "Bootstrap",
        "Configuration",
        "DEMO_CONFIGURATION",
        "DijetSelection",
        "Energy",
        "FactorInBin",
        "Factors",
        "InputSample",
        "Inspection",
        "Regions",
        "RunSettings",
        "ScaleFactor",
        "ShiftSettings",
        "Systematic",
        "Tagger",
        "explain",
        "inspect_ntuple",
        "is_calibrated",
        "load_configuration",
        "plan_calibration",
        "run_calibration",
        "run_demo",
    ],
    "beampipe.fleet": ["Fleet", "read_fleet"],
    "beampipe.serving": [
        "DEFAULT_MODELS",
        "MODELS",
        "DirectTrackFinder",
        "FallbackTrackFinder",
        "ServedVariant",
        "ServingSettings",
        "TrackingServer",
        "TritonTrackFinder",
        "export_repository",
        "named_models",
        "serve",
    ],
    "beampipe.tracking": [
        "DEFAULT_PIPELINE",
        "NO_TRACK",
        "PIPELINES",
        "Components",
        "Evaluation",
        "Event",
        "Events",
        "FitStatus",
        "FittedFinder",
        "Hits",
        "InOneThread",
        "Particles",
        "Pipeline",
        "PipelineSpec",
        "Selection",
        "Stage",
        "TrackFinder",
        "TrackFitter",
        "TrackParameters",
        "TrackerModel",
        "Tracks",
        "Truth",
        "Walk",
        "build_pipeline",
        "compare",
        "draw_event",
        "evaluate",
        "load_model",
        "load_pipeline",
        "load_track_fitter",
        "named_finders",
        "open_events",
        "pipeline_weights",
        "print_evaluation",
        "shipped_events",
        "shipped_models",
        "track_files",
        "write_events",
        "write_html",
        "write_phoenix",
        "write_tracks",
    ],
    "beampipe.tracking.data": ["SHIPPED", "shipped_events", "shipped_path", "write_example"],
    "beampipe.tracking.formats": [
        "EVENT_FORMATS",
        "TRACK_FORMATS",
        "SCALES",
        "TRACK_COLUMNS",
        "Scale",
        "ReadOptions",
        "check_options",
        "track_format",
        "event_format",
        "input_files",
        "open_events",
        "open_with",
        "scale_named",
        "write_events",
        "write_tracks",
    ],
    "beampipe.tracking.display": ["draw_event", "estimate_pt", "write_html", "write_phoenix"],
    "beampipe.tracking.evaluation": [
        "DISPLACED",
        "HEADLINE",
        "MIN_TRACK_HITS",
        "Candidates",
        "Evaluation",
        "Matches",
        "Selection",
        "compare",
        "contributions",
        "evaluate",
        "match",
        "plot_stages",
        "print_evaluation",
        "read_evaluation",
        "select_particles",
        "write_evaluation",
    ],
    "beampipe.triton.client": ["FakeTransport", "ModelClient", "Transport"],
    "beampipe.triton": [
        "EnsembleSettings",
        "FakeTransport",
        "Instance",
        "Model",
        "ModelAnswer",
        "ModelClient",
        "ModelRequest",
        "ModelSettings",
        "ServerSettings",
        "TensorSpec",
        "Transport",
        "TritonServer",
        "export_repository",
    ],
    "beampipe.workflow": [
        "POOLS",
        "Artifact",
        "EventLog",
        "FileDigests",
        "Input",
        "FileStamp",
        "Pool",
        "Provenance",
        "Recipe",
        "SlurmOptions",
        "Store",
        "Task",
        "canonical",
        "code_digest",
        "content_digest",
        "digest_of",
        "file_digest",
        "fork_processes",
        "installed",
        "installed_version",
        "leased",
        "open_pool",
        "prepare_processes",
        "remembering_code",
        "run",
    ],
}
"""Public API: user code may depend on these names, so a change belongs in CHANGELOG.md."""


@pytest.mark.parametrize(("module", "names"), SURFACE.items())
def test_the_public_surface_is_this(module: str, names: list[str]) -> None:
    found = importlib.import_module(module)
    assert sorted(found.__all__) == sorted(names)
    assert all(hasattr(found, name) for name in names)


def test_listed_names_are_there() -> None:
    """What ``__all__`` lists exists, once; only modules with such a list are imported."""
    listing = [name_of(path) for path in MODULES if "\n__all__" in path.read_text(encoding="utf-8")]
    assert {"beampipe.tracking", "beampipe.calibration"} <= set(listing)
    for name in listing:
        module = importlib.import_module(name)
        names = getattr(module, "__all__", [])  # none where only the text of a generated module has one
        assert len(names) == len(set(names)), name
        assert not [each for each in names if not hasattr(module, each)], name


def test_version_is_of_the_installed_package() -> None:
    assert beampipe.__version__.count(".") >= 2
