"""Every module says what is public, and what it says is there."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import beampipe
from tests.test_imports import MODULES, name_of

SURFACE = {
    "beampipe": ["__version__"],
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
        "shipped_tasks",
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
        "Regions",
        "RunSettings",
        "ScaleFactor",
        "ShiftSettings",
        "Systematic",
        "Tagger",
        "explain",
        "is_calibrated",
        "load_configuration",
        "plan_calibration",
        "run_calibration",
        "run_demo",
    ],
    "beampipe.fleet.monitoring.prometheus": [
        "Prometheus",
        "WatchServer",
        "find_prometheus",
        "fleet_metrics",
        "grafana_dashboard",
        "prometheus_pids",
        "prometheus_settings",
        "rules_text",
        "wanted_prometheus",
        "write_targets",
    ],
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
        "draw_png",
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
    "beampipe.serving.finders": ["DirectTrackFinder", "FallbackTrackFinder", "TrackFinder", "TritonTrackFinder"],
    "beampipe.tracking.data": ["SHIPPED", "shipped_events", "shipped_path", "write_example"],
    "beampipe.tracking.formats": [
        "FORMATS",
        "FORMS",
        "SCALES",
        "TRACK_COLUMNS",
        "Scale",
        "Told",
        "check_told",
        "count_events",
        "form_named",
        "format_named",
        "input_files",
        "open_events",
        "open_told",
        "read_events",
        "scale_named",
        "write_events",
        "write_tracks",
    ],
    "beampipe.tracking.display": ["draw_png", "estimate_pt", "write_html", "write_phoenix"],
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
        "plot_efficiency",
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
        "Looks",
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
    "beampipe.events": [
        "NOISE",
        "NO_TRACK",
        "Event",
        "FitStatus",
        "HitColumns",
        "Hits",
        "Particles",
        "TrackParameters",
        "Tracks",
        "Truth",
    ],
}
"""What others build upon: a change here is a change for them, and belongs in CHANGELOG.md."""


@pytest.mark.parametrize(("module", "names"), SURFACE.items())
def test_the_public_surface_is_this(module: str, names: list[str]) -> None:
    found = importlib.import_module(module)
    assert sorted(found.__all__) == sorted(names)
    assert all(hasattr(found, name) for name in names)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_lists_its_public_names(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if all(isinstance(node, ast.Expr) for node in tree.body):
        return  # a package of nothing but a docstring
    names = listed(tree)
    assert names is not None, f"{path} has no __all__"
    assert len(names) == len(set(names))
    bound = {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    bound |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    bound |= {name.id for node in tree.body for name in ast.walk(node) if isinstance(name, ast.Name)}
    if "__getattr__" in bound:
        module = importlib.import_module(name_of(path))  # names that are loaded when they are asked for
        bound |= {name for name in names if getattr(module, name, None) is not None}
    assert set(names) <= bound, f"{path}: {set(names) - bound} are listed but not there"


def listed(tree: ast.Module) -> list[str] | None:
    """The names in `__all__`, None if there is none."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            assert node.value is not None
            return list(ast.literal_eval(node.value))
    return None


def test_version_is_of_the_installed_package() -> None:
    assert beampipe.__version__.count(".") >= 2
