"""The library for C and C++ programs: the examples, built by CMake against the package, find the labels of Python."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

import beampipe
from beampipe.arrays import Int64
from beampipe.errors import ConfigError, LayoutError
from beampipe.events import BeamSpot, Hits
from beampipe.simulation.detector import read_layout
from beampipe.tracking import PIPELINES, load_model, load_pipeline, open_events, shipped_events
from tests.simulation.layouts import shot

EXAMPLE = Path(__file__).parents[2] / "examples/cpp/tracks"
needs_cmake = pytest.mark.skipif(
    shutil.which("cmake") is None or shutil.which("c++") is None, reason="needs CMake and a C++ compiler"
)


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, capture_output=True, check=False, env=environment or None)


class Options(ctypes.Structure):
    _fields_ = [
        ("threads", ctypes.c_int32),
        ("accept_any_hits", ctypes.c_int32),
        ("beam_line", ctypes.POINTER(ctypes.c_double)),
    ]


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    library = ctypes.CDLL(beampipe.get_library())
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    library.beampipe_version.restype = library.beampipe_last_error.restype = text
    library.beampipe_open.argtypes, library.beampipe_open.restype = [text, text, ctypes.POINTER(Options)], pointer
    library.beampipe_close.argtypes = [pointer]
    find = library.beampipe_find_cylindrical
    find.argtypes, find.restype = [pointer, ctypes.c_int64, pointer, pointer], ctypes.c_int64
    measured = library.beampipe_find_measured
    measured.argtypes, measured.restype = [pointer, ctypes.c_int64, *[pointer] * 5], ctypes.c_int64
    return library


def find(
    library: ctypes.CDLL, hits: Hits, pipeline: str, model: str | Path = "generic", options: Options | None = None
) -> Int64[ndarray, " n_hits"]:
    """Labels by the C interface; its message as a `RuntimeError`."""
    chosen = None if options is None else ctypes.byref(options)
    finder = library.beampipe_open(str(model).encode(), pipeline.encode(), chosen)
    if finder is None:
        raise RuntimeError(library.beampipe_last_error().decode())
    try:
        labels = np.full(len(hits), -7, np.int64)
        columns = (hits.position, hits.geometry_id, hits.local, hits.variance)
        arrays = [array.ctypes.data for array in columns if array is not None]
        call = library.beampipe_find_measured if len(arrays) == 4 else library.beampipe_find_cylindrical
        n_tracks = call(finder, len(hits), *arrays, labels.ctypes.data)
        if n_tracks < 0:
            raise RuntimeError(library.beampipe_last_error().decode())
        assert n_tracks == labels.max(initial=-1) + 1
        return labels
    finally:
        library.beampipe_close(finder)


@pytest.fixture(scope="module")
def muons_in_odd() -> Hits:
    return shot(read_layout(Path("odd")), 3, 400, (1.0, 10.0), 2.5).hits


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both examples, built without warnings."""
    folder = tmp_path_factory.mktemp("build")
    strict = "-Wall -Wextra -Wpedantic -Werror"
    define = {"beampipe_DIR": beampipe.get_cmake_dir(), "BEAMPIPE_LIBRARY": beampipe.get_library()}
    define |= {"CMAKE_C_FLAGS": strict, "CMAKE_CXX_FLAGS": strict, "CMAKE_BUILD_TYPE": "Release"}
    flags = [f"-D{name}={value}" for name, value in define.items()]
    configured = run("cmake", "-S", EXAMPLE, "-B", folder, *flags)
    assert configured.returncode == 0, configured.stderr
    built = run("cmake", "--build", folder)
    assert built.returncode == 0, built.stderr
    return folder


@needs_cmake
@pytest.mark.parametrize("program", ["tracks_in_c", "tracks_in_cpp"])
@pytest.mark.parametrize("pipeline", ["module_map", "exatrkx_walk"])
def test_a_program_prints_the_labels_of_python(program: str, pipeline: str, programs: Path, tmp_path: Path) -> None:
    file = tmp_path / "event.csv"
    np.savetxt(file, shipped_events(60)[0].hits.xyz, fmt="%.17g", delimiter=",", header="x,y,z", comments="")
    tracks = load_pipeline(pipeline).find(open_events(file)[0])
    assert tracks.n_tracks > 300
    # No Python can be found by the program.
    done = run(programs / program, "generic", pipeline, file, PATH="", OMP_WAIT_POLICY="passive")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(f"{label}\n" for label in tracks.track_id).encode()
    assert done.stderr == f"{len(tracks.track_id)} hits, {tracks.n_tracks} tracks\n".encode()


@needs_cmake
def test_the_lines_for_a_compiler_on_the_page_give_a_program_that_runs(tmp_path: Path) -> None:
    page = (EXAMPLE.parents[2] / "docs/cpp_and_acts.md").read_text(encoding="utf-8")
    (lines,) = (block for block in re.findall(r"(?:^    [^\n]+\n)+", page, re.M) if "c++ -std" in block)
    (tmp_path / "examples").symlink_to(EXAMPLE.parents[1])
    np.savetxt(tmp_path / "event.csv", shipped_events(0)[0].hits.xyz, delimiter=",", header="x,y,z", comments="")
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", textwrap.dedent(lines)],
        cwd=tmp_path,
        env={"PATH": programs},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(shipped_events(0)[0].hits)


@needs_cmake
@pytest.mark.parametrize("program", ["tracks_in_c", "tracks_in_cpp"])
def test_a_program_prints_what_is_wrong(program: str, programs: Path, tmp_path: Path) -> None:
    file = tmp_path / "event.csv"
    file.write_text("x,y,z\n1,2,3\n1,nan,3\n")
    done = run(programs / program, "generic", "module_map", file)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{program}: hits: got [nan, nan, 3.0] at row 1, expected finite".encode())
    for text in ("1,2,3\n4,5,6\n", "x,y,z\n1,2\n4,5,6\n", "r,phi,z\n1,2,3\n", ""):  # no hit is left out silently
        file.write_text(text)
        done = run(programs / program, "generic", "module_map", file)
        assert (done.returncode, b"expected" in done.stderr) == (1, True), text


@pytest.mark.parametrize("pipeline", sorted(PIPELINES))
def test_each_pipeline_gives_the_labels_of_python(library: ctypes.CDLL, pipeline: str) -> None:
    hits = shipped_events(60)[1].hits
    expected = load_pipeline(pipeline, threads=1).find(hits).track_id
    assert find(library, hits, pipeline).tobytes() == expected.tobytes()
    assert find(library, hits, pipeline, options=Options(threads=2)).tobytes() == expected.tobytes()


@pytest.mark.acts
@pytest.mark.filterwarnings("ignore::beampipe.errors.LayoutWarning")
@pytest.mark.parametrize("pipeline", load_model("odd").pipelines)
def test_measurements_of_strips_are_compared_as_in_python(
    library: ctypes.CDLL, pipeline: str, muons_in_odd: Hits
) -> None:
    hits = muons_in_odd
    bare = Hits(hits.position)
    by_position = find(library, bare, pipeline, "odd")
    labels = find(library, hits, pipeline, "odd")
    assert not np.array_equal(labels, by_position)
    finder = load_pipeline(pipeline, threads=1, model="odd")
    assert labels.tobytes() == finder.find(hits).track_id.tobytes()
    assert by_position.tobytes() == finder.find(bare).track_id.tobytes()


def test_options_are_those_of_python(library: ctypes.CDLL) -> None:
    hits = shipped_events(60)[0].hits
    on_axis = load_pipeline().find(hits).track_id
    options = Options(beam_line=(ctypes.c_double * 4)(0.2, -0.1, 0.0005, 0.0))
    expected = load_pipeline(beam_spot=BeamSpot(0.2, -0.1, 0.0005)).find(hits).track_id
    assert not np.array_equal(expected, on_axis)
    assert find(library, hits, "module_map", options=options).tobytes() == expected.tobytes()
    # Hits of another detector are refused, with the message of Python, unless they are accepted.
    other = Hits(hits.position * np.array([1.3, 1, 1], np.float32))
    with pytest.raises(LayoutError) as refused:
        load_pipeline().find(other)
    with pytest.raises(RuntimeError) as refused_by_library:
        find(library, other, "module_map")
    assert str(refused_by_library.value) == str(refused.value)
    expected = load_pipeline(check=False).find(other).track_id
    assert find(library, other, "module_map", options=Options(accept_any_hits=1)).tobytes() == expected.tobytes()


def test_a_model_of_ones_own_requires_no_more_hits_than_its_tracks_have(library: ctypes.CDLL, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(load_model("generic").path, folder)
    card = json.loads((folder / "model.json").read_text())
    card["crossing"]["min_layers"] = 4
    card["layout"]["beam_spot"]["x"] = 0.05
    (folder / "model.json").write_text(json.dumps(card))
    hits = shipped_events(60)[0].hits
    expected = load_pipeline("module_map_soft", model=folder).find(hits).track_id
    assert not np.array_equal(expected, load_pipeline("module_map_soft").find(hits).track_id)
    assert find(library, hits, "module_map_soft", folder).tobytes() == expected.tobytes()
    # A specification in place of a name is taken as it is.
    spec = PIPELINES["module_map"].with_min_hits_up_to(5)
    expected = beampipe.tracking.build_pipeline(spec, 1).find(hits).track_id
    assert find(library, hits, spec.to_json()).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("pipeline", "model", "options", "message"),
    [
        ("module_mapp", "generic", None, "unknown pipeline: got 'module_mapp', expected one of all, exatrkx, "),
        ("exatrkx", "nowhere", None, "nowhere: got no model.json there, expected a folder that"),
        ("exatrkx_soft", "odd", None, "got no weights for pipeline exatrkx_soft, expected one of "),
        ("module_map", "generic", Options(threads=-1), "threads: got -1, expected 1 or more"),
        ("{}", "generic", None, "name"),
    ],
)
def test_what_cannot_be_opened_is_refused(
    library: ctypes.CDLL, pipeline: str, model: str, options: Options | None, message: str
) -> None:
    with pytest.raises(RuntimeError) as refused:
        find(library, shipped_events(0)[0].hits, pipeline, model, options)
    assert message in str(refused.value)


def test_a_beam_line_outside_of_the_beam_pipe_is_refused_as_in_python(library: ctypes.CDLL) -> None:
    options = Options(beam_line=(ctypes.c_double * 4)(30.0, 0.0, 0.0, 0.0))
    with pytest.raises(RuntimeError) as refused:
        find(library, shipped_events(0)[0].hits, "module_map", options=options)
    with pytest.raises(ConfigError) as expected:
        BeamSpot(30.0)
    assert str(refused.value) == str(expected.value)


def test_the_card_of_another_format_is_refused(library: ctypes.CDLL, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text('{"format": "beampipe tracker model 9"}')
    with pytest.raises(RuntimeError, match="got another format, expected 'beampipe tracker model 1'"):
        find(library, shipped_events(0)[0].hits, "module_map", tmp_path)
